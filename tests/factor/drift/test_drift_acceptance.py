"""What a fit of drifting spectra is held to, on five simulated interfaces and one that others have simulated."""

import jax
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix import losses, simulate

pytestmark = [pytest.mark.slow, pytest.mark.optimised]
KEY = jax.random.key(0)


def compared(img, shifts, spectra):
    """(error of the shifts in channels up to a constant, mean angle over that with the true shifts given)."""
    angles = []
    for known in (None, shifts - shifts.mean()):
        fit = jxu.fit_drift(img, 3, losses.Poisson(), key=KEY, shifts=known)
        # The zero of the shifts is that of the truth in both.
        angles.append(np.mean(jxu.metrics.match(fit.spectra_at(-shifts.mean()), spectra).angles))
        if known is None:
            error = np.std(np.asarray(fit.shifts) - shifts) / abs(fit.step)
    return error, angles[0] / angles[1]


@pytest.mark.parametrize("seed", range(5))
def test_acceptance_drift_of_simulated_interfaces(seed):
    img, truth = simulate.oxide_interface(jax.random.key(seed))
    error, ratio = compared(img, truth.shifts, truth.spectra)
    assert error < 0.2
    assert ratio < 1.25


def test_acceptance_drift_of_the_shared_oxides(shared_data):
    with np.load(shared_data / "eels_synth_oxides" / "oxide_interface_d1000.npz", allow_pickle=False) as data:
        img = jxu.SpectrumImage.from_array(
            data["cube"].astype(np.float32), coords={"energy": data["energy_ev"]}, units={"energy": "eV"}
        )
        error, ratio = compared(img, 2.0 * data["drift_channels"].ravel(), data["endmembers"])
    assert error < 0.2
    assert ratio < 1.25
