"""The options offer what the package has, without a list in `cli`."""

import inspect

import pytest

from jaxunmix import rank
from jaxunmix._util.parts import named_parts
from jaxunmix.cli import options, simulate, spectrum, unmix
from jaxunmix.cli import rank as rank_command
from jaxunmix.factor import initial, losses, updates
from jaxunmix.physics import lineshapes

OFFERED = [
    (updates, updates.AbstractUpdate, unmix.UPDATES),
    (initial, initial.AbstractInitial, unmix.STARTS),
    (losses, losses.AbstractLoss, options.LOSSES),
    (rank, rank.AbstractCriterion, rank_command.CRITERIA),
]


@pytest.mark.parametrize(("module", "base", "offered"), OFFERED)
def test_every_part_with_a_name_is_offered_and_is_made_without_arguments(module, base, offered):
    exported = [part for part in vars(module).values() if inspect.isclass(part) and issubclass(part, base)]
    assert set(offered) == {part.command for part in exported} - {None}
    for name, part in offered.items():
        assert part().command == name


@pytest.mark.parametrize(("module", "base", "offered"), OFFERED)
def test_a_new_part_is_offered_last(monkeypatch, module, base, offered):
    """One more line in the folder's `__init__` is all that it takes."""
    new = type("Newest", (base,), {"command": "newest"})
    hidden = type("Hidden", (base,), {})
    monkeypatch.setattr(module, "Newest", new, raising=False)
    monkeypatch.setattr(module, "Hidden", hidden, raising=False)
    found = named_parts(module, base, tuple(offered))
    assert list(found) == [*offered, "newest"]
    assert found["newest"] is new
    assert [word.value for word in options.make_choice("Part", found)] == [*offered, "newest"]


def test_choices_are_the_names():
    assert list(unmix.Update) == ["auto", *unmix.UPDATES]
    assert list(unmix.Start) == ["auto", *unmix.STARTS]
    assert list(options.Loss) == list(options.LOSSES)
    assert list(spectrum.EdgeShape) == list(lineshapes.EDGES)
    assert list(simulate.Kind) == list(simulate.SIMULATIONS)


def test_help_keeps_its_order():
    assert list(unmix.UPDATES)[:5] == ["hals", "multiplicative", "als", "mals", "gradient"]
    assert list(unmix.STARTS)[:4] == ["random", "nndsvd", "vca", "clusters"]
    assert list(options.LOSSES)[:3] == ["frobenius", "poisson", "itakura-saito"]
    assert list(rank_command.CRITERIA)[:5] == ["bcv", "plateau", "elbow", "crossing", "scree"]
