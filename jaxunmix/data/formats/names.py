"""What the names of arrays say."""

import re

# (what the last part of a name looks like, dim, units unless the name ends in units)
_AXIS_NAMES = (
    (r"wavenumber|raman[_ ]?shift", "wavenumber", None),
    (r"^wavelength", "wavelength", None),
    (r"^(m_?z|mass)$|_m_?z$", "mz", "m/z"),
    (r"^bias|bias(_[a-z]+)?$", "bias", None),
    (r"^energ(y|ies)|energy(_[a-z]+)?$|^k?ev$|_k?ev$", "energy", None),
)
_UNITS = {"kev": "keV", "ev": "eV", "cm1": "1/cm", "nm": "nm", "v": "V", "mv": "mV", "mev": "meV"}


def axis_name(name: str) -> tuple[str, str | None] | None:
    """Dim and units of an array whose name is that of a signal axis, else None.

    >>> axis_name("LSMO_core_energy_eV"), axis_name("wavenumber_cm1"), axis_name("mz"), axis_name("i0")
    (('energy', 'eV'), ('wavenumber', '1/cm'), ('mz', 'm/z'), None)
    """
    last = name.rsplit("/", 1)[-1].lower()
    for pattern, dim, units in _AXIS_NAMES:
        if re.search(pattern, last):
            suffix = _UNITS.get(last.rsplit("_", 1)[-1])
            return dim, units or suffix
    return None
