"""The Typer app: the commands, `--version`, and exit codes for what may go wrong."""

import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from .. import __version__
from . import demo, rank, simulate, spectrum, unmix
from .outputs import COMMAND, say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Remedies that the library's messages give for Python, and what serves on the command line.
_REMEDIES: Mapping[str, str] = {
    "clip_negative": "--clip-negative",
    "preprocess.mask_non_finite": "--mask-non-finite",
    "preprocess.mask": "--mask NAME, or --crop",
    "preprocess.merge_repeated": "--merge-repeated",
    "dims=": "--dims energy,y,x --signal-dims energy",
    "keep_pixels leaves nothing": "--mask NAME of an array that is True where to keep",
    "rank must": "--components K",
    "ranks must": "--ranks LOW:HIGH",
    "ranks or more": "--ranks LOW:HIGH",
    "the ranks above": "--ranks LOW:HIGH",
    "folds=": "--folds N, or --criteria without bcv",
    "folds must": "--folds N",
    "Malinowski:": "--ranks LOW:HIGH, or --criteria without malinowski",
    "Dispersion compares": "--restarts 10",
    "preprocess.poisson_scale": "--normalise poisson",
    "losses.Frobenius()": "--loss frobenius",
    "HALS()": "--update hals",
    "ProjectedGradient()": "--update gradient",
    "FISTA()": "--update fista",
    'how="norm"': "--normalise norm",
    "full matrix instead": "leave out --compress",
    "give the full matrix": "leave out --compress",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        argv: the words after `jaxunmix`; None takes those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    COMMAND.set(shlex.join(["jaxunmix", *argv]))
    try:
        app(argv, prog_name="jaxunmix")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        say("interrupted before there was anything to write")
        return 130
    except FloatingPointError as error:
        say(f"error: {error}")
        return 1
    except (ValueError, OSError, ImportError) as error:
        say(f"error: {_add_remedy(str(error))}")
        return 2
    except Exception:
        traceback.print_exc()
        say("this should not have happened: please report it with the lines above")
        return 1
    return 0


def _add_remedy(message: str) -> str:
    """The library's message, with the option that does what it advises."""
    options = [option for python, option in _REMEDIES.items() if python in message]
    return f"{message}\non the command line: {'; '.join(options)}" if options else message


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"jaxunmix {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Unmix spectrum images: find the spectra that a map is a mixture of, and where each of them is.

    First try `jaxunmix demo`, then `jaxunmix unmix FILE --components 3`, and open the report.html it writes.
    `jaxunmix rank FILE` finds out how many components there are.
    """


# In the order in which help lists them.
app.command("unmix")(unmix.unmix)
app.command("rank")(rank.find_rank)
app.command("spectrum")(spectrum.decompose)
app.command("simulate")(simulate.write_simulated)
app.command("demo")(demo.demonstrate)
