"""The parts that a module offers: how they are found, without a list of them."""

from collections.abc import Sequence
from types import ModuleType


def named_parts(module: ModuleType, base: type, first: Sequence[str] = ()) -> dict[str, type]:
    """The classes of one kind among the public names of a module, by their names on the command line.

    Args:
        module: the module or folder that exports them.
        base: what they are subclasses of; their attribute `command` is their name, None where they are not offered.
        first: the names that come first, in this order; the others follow in that of the module.

    Returns:
        Name -> class. Each class can be made without arguments.
    """
    found = {}
    for name, part in vars(module).items():
        if not name.startswith("_") and isinstance(part, type) and issubclass(part, base):
            command = getattr(part, "command", None)
            if command is not None:
                found[command] = part
    return {name: found[name] for name in [*first, *found] if name in found}
