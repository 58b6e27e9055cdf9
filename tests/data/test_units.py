"""Units of axes, however they are written."""

import numpy as np
import pytest

from jaxunmix.data.units import candidates, canonical, convert, tidy


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("eV", "eV"),
        ("ev", "eV"),
        ("EV", "eV"),
        ("kev", "keV"),
        (" KeV ", "keV"),
        ("(eV)", "eV"),
        ("meV", "meV"),
        ("MeV", "MeV"),
        ("mev", None),
        ("MEV", None),
        ("nm", "nm"),
        ("NM", "nm"),
        ("um", "um"),
        ("µm", "um"),
        ("μm", "um"),
        ("Micron", "um"),
        ("cm-1", "1/cm"),
        ("cm^-1", "1/cm"),
        ("1/cm", "1/cm"),
        ("CM-1", "1/cm"),
        ("cm⁻¹", "1/cm"),
        ("1 / nm", "1/nm"),
        ("rad", "rad"),
        ("mRad", "mrad"),
        ("m/z", "m/z"),
        ("M/Z", "m/z"),
        ("Å", "angstrom"),
        ("mv", None),
        ("furlong", None),
        ("", None),
        (None, None),
    ],
)
def test_a_unit_is_read_without_case_where_that_is_clear(text, unit):
    assert canonical(text) == unit


def test_what_is_not_known_stays_as_it_is():
    assert tidy("KEV") == "keV"
    assert tidy("a.u.") == "a.u."
    assert tidy("mev") == "mev"
    assert candidates("mev") == ["meV", "MeV"]


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [
        (7.1, "keV", "eV", 7100),
        (7100, "ev", "KEV", 7.1),
        (250, "meV", "eV", 0.25),
        (0.5, "um", "nm", 500),
        (1000, "cm-1", "1/nm", 1e-4),
        (1, "1/angstrom", "1/nm", 10),
        (2, "mrad", "rad", 0.002),
        (180, "deg", "rad", np.pi),
    ],
)
def test_conversion(value, unit, to, expected):
    np.testing.assert_allclose(convert([value], unit, to), [expected], rtol=1e-14)
    np.testing.assert_allclose(convert(convert(value, unit, to), to, unit), value, rtol=1e-14)


@pytest.mark.parametrize(
    ("unit", "to", "message"),
    [
        ("mev", "eV", "may be meV or MeV"),
        ("eV", "MEV", "may be meV or MeV"),
        ("furlong", "eV", "'furlong' is not known"),
        ("nm", "eV", "'nm' is a unit of length and 'eV' one of energy"),
    ],
)
def test_what_cannot_be_converted_is_refused(unit, to, message):
    with pytest.raises(ValueError, match=message):
        convert([1.0], unit, to)
