"""Acceptance on measured data, by the command line and from Python. Skipped where the data are not there."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxunmix as jxu
from jaxunmix import cli
from jaxunmix.data import io

pytestmark = pytest.mark.slow

SHORT = ["--restarts", "1", "--quiet"]


@pytest.fixture
def unmix(tmp_path, monkeypatch, capsys):
    """Runs `jaxunmix unmix`; gives (result, or None where there is none, and stderr)."""
    monkeypatch.chdir(tmp_path)

    def unmix(*words, code=0):
        found = cli.main(["unmix", *map(str, words), "--out", "out"])
        err = capsys.readouterr().err
        assert found == code, err
        result = tmp_path / "out" / "result.nc"
        return (io.load_dataset(result) if result.exists() else None), err

    return unmix


def highest(spectra, dim):
    """The places of the highest points of the spectra, in order."""
    return np.sort(spectra[dim].values[np.argmax(spectra.values, axis=1)])


def share_near(spectra, dim, place, width):
    """For each component the share of its intensity within `width` of `place`."""
    near = np.abs(spectra[dim].values - place) <= width
    return spectra.values[:, near].sum(axis=1) / spectra.values.sum(axis=1)


def test_sims_poplar_crop(unmix, shared_data):
    path = shared_data / "sims_poplar" / "poplar.npz"
    crop = ["--crop", "y=0:64", "--crop", "x=0:64"]
    result, _ = unmix(path, "-k", 4, "--loss", "poisson", "--max-steps", 100, *crop, *SHORT)
    assert result["maps"].shape == (4, 64, 64)
    assert result["spectra"].mz.attrs["units"] == "m/z"
    # Every ion is explained: under Poisson loss the model's total is that of the data.
    total = jxu.load(path).data.values[:64, :64].sum()
    model = float((result["maps"].sum(("y", "x")) * result["spectra"].sum("mz")).sum())
    assert model == pytest.approx(total, rel=1e-3)


@pytest.mark.slow
def test_sims_poplar_whole(unmix, shared_data):
    result, _ = unmix(shared_data / "sims_poplar" / "poplar.npz", "-k", 4, "--loss", "poisson", "--quiet")
    peaks = highest(result["spectra"], "mz")
    # The component that peaks at m/z 1 is one bright spot.
    np.testing.assert_allclose(peaks, [1, 39, 43, 55], atol=0.1)


@pytest.mark.parametrize(("dose", "cells"), [("low", 4), ("high", 2)])
def test_dacite_has_grains_with_iron_and_magnesium(unmix, shared_data, dose, cells):
    path = shared_data / "eds_sem_dacite" / f"p45_{dose}.npz"
    options = ["--crop", "energy=0.2:10", "--bin", f"energy={cells}", "--max-steps", 100]
    result, _ = unmix(path, "-k", 4, "--loss", "poisson", *options, *SHORT)
    iron = share_near(result["spectra"], "energy", 6.40, 0.1)
    magnesium = share_near(result["spectra"], "energy", 1.25, 0.1)
    assert np.argmax(iron) == np.argmax(magnesium)
    assert iron.max() > 20 * np.median(iron)


@pytest.mark.slow
def test_dacite_low_dose_agrees_with_high_dose(shared_data):
    """At 122 counts a pixel the phases are those found at 617, in the same places."""
    solutions, lines = [], []
    for dose, cells in (("high", 2), ("low", 4)):
        img = jxu.load(shared_data / "eds_sem_dacite" / f"p45_{dose}.npz")
        img = jxu.preprocess.crop(img, energy=(0.2, 10.0))
        img = jxu.preprocess.bin(img, energy=cells, trim=True)
        problem = jxu.Problem(img.matrix(), jxu.losses.Poisson())
        solutions.append(jxu.fit(problem, rank=4, restarts=5, key=jax.random.key(0)))
        spectra = img.to_spectra(solutions[-1].spectra)
        # O, Mg, Al, Si, K, Ca, Fe: the two energy axes differ, so lines are compared and not channels.
        places = (0.525, 1.25, 1.49, 1.74, 3.31, 3.69, 6.40)
        lines.append(np.stack([share_near(spectra, "energy", place, 0.1) for place in places], axis=1))
    found = jxu.metrics.match(lines[1], lines[0])
    assert found.angles.max() < 10
    maps = found.reorder(solutions[1].maps, axis=1)
    assert np.diag(jxu.metrics.cross_correlation(maps, solutions[0].maps)).min() > 0.5


def test_eels_line_scans_ask_for_the_array(unmix, shared_data):
    path = shared_data / "eels_lsmo_lines" / "lsmo_linescans.npz"
    result, err = unmix(path, code=2)
    assert result is None
    assert "LSMO_linescan_core  (40, 586)  float32" in err
    assert "--array" in err
    result, _ = unmix(path, "--array", "LSMO_linescan_core", "-k", 2, *SHORT)
    assert result["maps"].dims == ("component", "x")
    assert result["spectra"].energy.values[[0, -1]].tolist() == [428.5, 721.0]
    # From end to end of the line one component gives way to the other.
    weight = result["maps"] * result["spectra"].sum("energy")
    share = (weight / weight.sum("component")).values
    assert np.abs(share[:, :5].mean(axis=1) - share[:, -5:].mean(axis=1)).max() > 0.1


def test_raman_is_refused_by_poisson_with_the_remedy(unmix, shared_data):
    path = shared_data / "raman_thp1" / "thp1_layer5.npz"
    _, err = unmix(path, "--loss", "poisson", *SHORT, code=2)
    assert "--clip-negative" in err
    assert "wavenumber=520.9898 1/cm" in err
    options = ["-k", 4, "--loss", "poisson", "--max-steps", 100]
    result, _ = unmix(path, *options, "--clip-negative", *SHORT)
    # Lipid droplets: CH2 bending near 1440 1/cm, in a few bright pixels.
    spectra = result["spectra"]
    lipid = int(np.argmax(share_near(spectra, "wavenumber", 1442, 15)))
    assert abs(spectra.wavenumber.values[np.argmax(spectra.values[lipid])] - 1442) < 15
    bright = np.sort(result["maps"][lipid].values.ravel())
    assert bright[-16:].mean() > 10 * bright.mean()


def test_raman_by_least_squares_takes_negative_values(unmix, shared_data):
    result, _ = unmix(shared_data / "raman_thp1" / "thp1_layer5.npz", "-k", 3, "--bin", "wavenumber=2", *SHORT)
    assert float(result["maps"].min()) >= 0


def test_stxm_optical_density_from_counts(shared_data):
    path = shared_data / "xas_stxm_fe2p" / "stxm_71214078.npz"
    with np.load(path) as stored:
        i0, mask = stored["i0_counts"], stored["mask_authors"]
        references = np.stack([stored["ref_oxidized"], stored["ref_reduced"]])
    img = jxu.load(path, array="counts_x100", scale=0.01)
    energy = img.data.energy.values
    assert np.ptp(np.diff(energy)) > 0.1  # finer over the edge
    density = jxu.preprocess.optical_density(img, i0)
    assert density.data.attrs["units"] == "OD"
    iron = jxu.preprocess.mask(density, pixels=mask)
    solution = jxu.fit(jxu.Problem(iron.matrix()), rank=2, restarts=5, key=jax.random.key(0))
    assert min(solution.restarts.objective) > 0.999 * max(solution.restarts.objective)
    # The authors' two spectra are 6.2 degrees apart; one is found to 3.5, the other to 13 only.
    angles = jxu.metrics.match(solution.spectra, references).angles
    assert angles[0] < 5
    assert angles[1] < 15
    peaks = energy[np.argmax(solution.spectra, axis=1)]
    assert ((peaks > 707) & (peaks < 711)).all()
    result = solution.to_xarray(iron)
    assert int(np.isfinite(result["maps"][0]).sum()) == mask.sum()
    back = jxu.preprocess.undo(jxu.preprocess.undo(iron))
    np.testing.assert_allclose(back.data.values, img.data.values, rtol=1e-4)


def test_stxm_maps_of_known_spectra(shared_data):
    path = shared_data / "xas_stxm_fe2p" / "stxm_71214078.npz"
    with np.load(path) as stored:
        i0, references = stored["i0_counts"], np.stack([stored["ref_oxidized_nobg"], stored["ref_reduced_nobg"]])
    density = jxu.preprocess.optical_density(jxu.load(path, array="counts_x100", scale=0.01), i0)
    before = density.data.sel(energy=slice(None, 704)).mean("energy")
    flat = dataclasses.replace(density, data=(density.data - before).transpose(*density.data.dims))
    found = jxu.project(flat.matrix(), references)
    assert found.maps.shape == (125 * 125, 2)
    assert jxu.metrics.explained_variance(flat.live(), found.maps, found.spectra) > 0.5


def normalised_gold(stored, name, degree):
    """A normalised spectrum of the gold series: pre-edge -150..-30 eV, post-edge +50..+950 eV about 11919 eV."""
    i = stored["labels"].tolist().index(name)
    energy = stored[f"energy_{i:02d}"] + stored["eshift"][i]
    img = jxu.SpectrumImage.from_array(stored[f"mu_{i:02d}"], coords={"energy": energy}, units={"energy": "eV"})
    windows = {"pre": (11919 - 150, 11919 - 30), "post": (11919 + 50, 11919 + 950)}
    return jxu.preprocess.normalise_edge(img, **windows, degree=degree, e0=11919)


def test_gold_reduced_by_cyanobacteria(shared_data):
    """The published fractions, by least squares with the sum held at one.

    Athena's manual gives 51 % metal with two standards, and 34 % metal and 18 % sulphide with three.
    """
    names = ["Au foil", "Au3 Cl aq", "Au sulphide"]
    with np.load(shared_data / "xas_au_cyano" / "au_cyano.npz") as stored:
        spectra = {n: [normalised_gold(stored, n, degree) for degree in (2, 1)] for n in ["7.03", *names]}

    def fractions(degree, standards):
        sample = jxu.preprocess.crop(spectra["7.03"][2 - degree], energy=(11919 - 20, 11919 + 30))
        grid = sample.data.energy.values
        parts = np.stack([jxu.preprocess.interpolate(spectra[n][2 - degree], grid).data.values for n in standards])
        y = sample.data.values
        found = np.linalg.lstsq((parts[:-1] - parts[-1]).T, y - parts[-1], rcond=None)[0]
        found = np.append(found, 1 - found.sum())
        return found, np.sum((y - found @ parts) ** 2) / np.sum(y**2)

    two, misfit = fractions(2, names[:2])
    np.testing.assert_allclose(two, [0.517, 0.483], atol=1e-3)
    assert misfit == pytest.approx(1.27e-4, rel=5e-3)
    three, misfit = fractions(2, names)
    np.testing.assert_allclose(three, [0.340, 0.486, 0.173], atol=1e-3)
    assert misfit == pytest.approx(6.4e-5, rel=5e-3)
    # The third fraction hangs on the normalisation.
    assert fractions(1, names)[0][2] > three[2] + 0.08


def test_manganese_oxides_in_the_order_of_their_valence(shared_data):
    half, steepest = {}, {}
    for name in ("MnO", "Mn3O4", "Mn2O3", "MnO2"):
        files = [jxu.load(shared_data / "xas_library" / "Mn" / f"{name}_rt_0{i}.xdi") for i in (1, 2, 3)]
        done = [jxu.preprocess.normalise_edge(f, (None, 6535), (6580, None), degree=1) for f in files]
        half[name] = np.array([float(jxu.preprocess.edge_energy(d, level=0.5)) for d in done])
        steepest[name] = np.array([float(jxu.preprocess.edge_energy(f)) for f in files])
        assert np.ptp(half[name]) < 0.1  # three scans of each
    assert (np.diff(list(half.values()), axis=0) > 1).all()
    # Without Mn2O3, which has two equally steep parts 4 eV apart.
    assert (np.diff([steepest[n] for n in ("MnO", "Mn3O4", "MnO2")], axis=0) > 2).all()


def noise(values):
    """Mean square of the noise, by second differences along the channels: no model, but smooth spectra."""
    return float(np.mean((values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]) ** 2) / 6)


def stxm_iron(shared_data):
    """Optical densities of the pixels rich in iron, (pixels, energies)."""
    path = shared_data / "xas_stxm_fe2p" / "stxm_71214078.npz"
    with np.load(path) as stored:
        i0, mask = stored["i0_counts"], stored["mask_authors"]
    density = jxu.preprocess.optical_density(jxu.load(path, array="counts_x100", scale=0.01), i0)
    return jxu.preprocess.mask(density, pixels=mask).live()


def test_stxm_of_iron_has_more_than_one_component(shared_data):
    """Reduced and oxidised iron (Breier et al. 2012) are two; what is not iron varies as well."""
    values = stxm_iron(shared_data)[::4]
    criteria = (jxu.rank.BiCrossValidation(folds=5), jxu.rank.Elbow())
    scan = jxu.rank.scan(jxu.Problem(values), range(1, 6), criteria, restarts=3, key=jax.random.key(0))
    held_out, error = scan.table["BiCrossValidation"], scan.table["BiCrossValidation_error"]
    # The second spectrum predicts unseen blocks better, far beyond the error of the prediction.
    assert float(held_out[0] - held_out[1]) > 5 * float(error[0])
    assert all(verdict.best >= 2 for verdict in scan.decision.values())
    # Five components have a twentieth of the freedom of the data: they cannot take much of the noise with them.
    assert float(scan.table["best_mse"][-1]) > 0.8 * noise(values)


@pytest.mark.slow
def test_stxm_of_iron_ends_in_noise(shared_data):
    values = stxm_iron(shared_data)
    criteria = (jxu.rank.Plateau(), jxu.rank.Scree(), jxu.rank.Crossing())
    scan = jxu.rank.scan(jxu.Problem(values), range(1, 11), criteria, restarts=8, key=jax.random.key(0))
    # Where the residual meets its plateau, only noise is left; one component earlier there is more.
    plateau = scan.best
    assert 2 <= plateau <= 8
    mse = scan.table["best_mse"]
    assert float(mse.sel(rank=plateau)) == pytest.approx(noise(values), rel=0.25)
    assert float(mse.sel(rank=plateau - 1)) > 1.25 * noise(values)
    # The noise of an optical density is uneven, and images shifted into place share it between neighbours.
    assert scan.decision["Scree"].best is None or scan.decision["Scree"].best > plateau


def test_eels_line_scan_has_more_than_one_component_and_shared_noise(shared_data):
    line = jxu.load(shared_data / "eels_lsmo_lines" / "lsmo_linescans.npz", array="LSMO_linescan_core")
    values = line.live().astype(float)
    # White noise has -2/3 here: the scintillator of the camera shares it between channels.
    step = np.diff(values, n=2, axis=1)
    assert np.mean(step[:, 1:] * step[:, :-1]) / np.mean(step**2) > -0.5
    criteria = (jxu.rank.BIC(), jxu.rank.Malinowski(), jxu.rank.Scree())
    scan = jxu.rank.scan(jxu.Problem(line.matrix()), range(1, 9), criteria, restarts=3, key=jax.random.key(0))
    # The thickness, and with it the background and the plural scattering, changes along the line.
    assert scan.decision["BIC"].best >= 2
    # What is shared stands out of the law of independent noise, so Scree counts noise too.
    assert scan.decision["Scree"].best is None or scan.decision["Scree"].best >= scan.decision["BIC"].best
    # Not more than a few vary smoothly along the line; the others have no order there.
    u = np.linalg.svd(values, full_matrices=False)[0]
    order = np.array([np.corrcoef(u[1:, k], u[:-1, k])[0, 1] for k in range(8)])
    assert 2 <= (order > 0.9).sum() <= scan.decision["BIC"].best + 1
