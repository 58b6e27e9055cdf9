"""What the names of arrays say."""

import re

from ..units import canonical

# (what the last part of a name looks like, dim, units unless the name ends in units)
_AXIS_NAMES = (
    (r"wavenumber|raman[_ ]?shift", "wavenumber", None),
    (r"^wavelength", "wavelength", None),
    (r"^(m_?z|mass)$|_m_?z$", "mz", "m/z"),
    (r"^bias|bias(_[a-z]+)?$", "bias", None),
    (r"^energ(y|ies)|energy(_[a-z]+)?$|^k?ev$|_k?ev$", "energy", None),
)
# Units that names end in; "mev" only by its case, while no one scans millions of volts.
_SAID = ("kev", "ev", "cm1", "nm", "v", "mv", "mev")
_UNITS = {"mv": "mV"}


def axis_name(name: str) -> tuple[str, str | None] | None:
    """Dim and units of an array whose name is that of a signal axis, else None.

    >>> axis_name("LSMO_core_energy_eV"), axis_name("wavenumber_cm1"), axis_name("mz"), axis_name("i0")
    (('energy', 'eV'), ('wavenumber', '1/cm'), ('mz', 'm/z'), None)
    """
    last = name.rsplit("/", 1)[-1].lower()
    for pattern, dim, units in _AXIS_NAMES:
        if re.search(pattern, last):
            suffix = name.rsplit("/", 1)[-1].rsplit("_", 1)[-1]
            said = _UNITS.get(suffix.lower()) or canonical(suffix) if suffix.lower() in _SAID else None
            return dim, units or said
    return None
