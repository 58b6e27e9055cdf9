import base64
import dataclasses
import json
import os
from html.parser import HTMLParser

import jax
import numpy as np
import pytest
import xarray as xr

from jaxunmix import rank, simulate
from jaxunmix.factor.problem import Problem
from jaxunmix.report import page
from jaxunmix.report.page.fit import _component_table, _spread, _status
from jaxunmix.report.page.html import data_rows, provenance
from jaxunmix.report.page.scan import conclusion
from jaxunmix.report.plots.ranks import dataset

KEY = jax.random.key(0)
HOSTILE = "<script>alert('1')</script>\"&"
VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Collects tags, text and pictures, and whether every tag is closed."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.words, self.images = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def scene(shape=(10, 12), channels=60, **attrs):
    img, truth = simulate.eels_oxides(KEY, shape=shape, channels=channels)
    result = xr.Dataset(
        {
            "maps": img.to_maps(truth.maps),
            "spectra": img.to_spectra(truth.spectra),
            "trace": xr.DataArray([5.0, 2.0, 1.0], dims="check", coords={"step": ("check", [0, 10, 20])}),
            "restart_objective": ("restart", np.array([1.02, 1.0, 1.0005])),
            "restart_status": ("restart", np.array(["CONVERGED", "CONVERGED", "MAX_STEPS"])),
        },
        attrs={
            "loss": "Poisson()",
            "update": "Multiplicative()",
            "objective": 1.0,
            "steps": 20,
            "status": "MAX_STEPS",
            "penalties": "[]",
            "constraints": '["NonNegative(maps)", "Fixed"]',
            "jaxunmix_version": "0.1.0",
            "provenance": json.dumps([{"step": "load", "parameters": {"file": "other.hspy"}}]),
            **attrs,
        },
    )
    return img, truth, result


def test_page_tells_what_was_done(tmp_path):
    img, truth, result = scene()
    written = page.write(tmp_path / "a.html", result, img, truth, title="A title", command="jaxunmix unmix a.hspy")
    text = read(written).text
    for words in (
        "A title",
        "y: 10, 0 to 4.5 nm; x: 12, 0 to 5.5 nm",
        "energy: 60, 430 to 780 eV",
        "Poisson()",
        "Multiplicative()",
        "NonNegative(maps), Fixed",
        "Stopped at the step limit",
        "Raise max_steps",
        "2 of 3 within 0.1 % of the best; the farthest 2 % above it",
        "A lower objective is not by itself a better answer",
        "jaxunmix unmix a.hspy",
        "jaxunmix 0.1.0",
        "TiO2, 0.0°",
    ):
        assert words in text
    assert "Penalties" not in text


def with_alternatives(result, tolerance=0.01):
    """The result with one alternative, in which the second spectrum is turned by a known angle."""
    spectra = result["spectra"].values.astype(float)
    others = spectra[None].copy()
    across = np.roll(spectra[1], 7)
    across -= spectra[1] * (across @ spectra[1]) / (spectra[1] @ spectra[1])
    across *= np.linalg.norm(spectra[1]) / np.linalg.norm(across)
    others[0, 1] = np.cos(0.5) * spectra[1] + np.sin(0.5) * across
    angles = np.zeros(len(spectra))
    angles[1] = np.degrees(0.5)
    more = {
        "alternative_spectra": (("alternative", *result["spectra"].dims), others),
        "spread_angle": ("component", angles),
    }
    return result.assign(more).assign_attrs(alternatives_tolerance=tolerance, best_restart=1)


def test_page_tells_what_fits_as_well(tmp_path):
    img, _, result = scene()
    text = read(page.write(tmp_path / "a.html", with_alternatives(result), img)).text
    for words in (
        "1 of 2 other restarts fits as well as the best, within 1 % of its objective; one is kept beside it",
        "Spread angle",
        "28.6°",
        "shaded: the range of the restarts that fit as well",
    ):
        assert words in text
    alone = result.assign_attrs(alternatives_tolerance=0.0001, best_restart=1)
    text = read(page.write(tmp_path / "b.html", alone, img)).text
    assert "No other of 3 restarts fits as well" in text
    assert "Spread angle" not in text
    # Nothing is said of a result that was not asked for them, or has a single restart.
    for silent in (result, alone.isel(restart=[1])):
        assert "fits as well as the best" not in read(page.write(tmp_path / "c.html", silent, img)).text


def test_page_needs_no_other_file(tmp_path):
    img, truth, result = scene()
    written = page.write(tmp_path / "a.html", result, img, truth)
    reader = read(written)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "a", "base"}
    for _, attrs in reader.tags:
        assert "href" not in attrs
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:").startswith("data:")
    html = written.read_text(encoding="utf-8")
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_pictures_are_png_with_alternative_text(tmp_path):
    img, truth, result = scene()
    reader = read(page.write(tmp_path / "a.html", result, img, truth))
    assert len(reader.images) == 4
    for image in reader.images:
        assert len(image["alt"]) > 20
        head, data = image["src"].split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")


def test_hostile_text_is_escaped(tmp_path):
    img, truth, result = scene(loss=HOSTILE, status=HOSTILE, jaxunmix_version=HOSTILE)
    named = img.data.rename(HOSTILE)
    named["energy"].attrs["units"] = HOSTILE
    named.attrs["units"] = HOSTILE
    steps = ({"step": HOSTILE, "parameters": {"file": HOSTILE, HOSTILE: HOSTILE}},)
    img = dataclasses.replace(img, data=named, provenance=steps)
    truth = dataclasses.replace(truth, names=(HOSTILE, "b", "c"))
    result = result.assign_coords(component=[HOSTILE, "b", "c"])
    result["energy"].attrs["units"] = HOSTILE
    written = page.write(tmp_path / "a.html", result, img, truth, command=HOSTILE)
    reader = read(written)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "<script" not in written.read_text(encoding="utf-8")
    assert reader.text.count(HOSTILE) >= 8


def test_page_of_the_result_alone(tmp_path):
    _, _, result = scene()
    reader = read(page.write(tmp_path / "a.html", result[["maps", "spectra"]]))
    assert "Unmixing result" in reader.text
    assert "Restarts" not in reader.text
    assert len(reader.images) == 1
    whole = read(page.write(tmp_path / "b.html", result))
    assert "other.hspy" in whole.text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("CONVERGED", "nothing to do"),
        ("MAX_STEPS", "Raise max_steps"),
        ("INTERRUPTED", "checkpoint"),
        ("NON_FINITE", "should not be used"),
        ("something else", "Something else. In words"),
    ],
)
def test_status_comes_with_advice(status, words):
    assert words in _status({"status": status, "status_meaning": "In words"})


@pytest.mark.parametrize(
    ("objectives", "words"),
    [
        ([1.0], "1 of 1 within"),
        ([-1.0, -0.9995, -0.9], "2 of 3 within 0.1 % of the best; the farthest 10 %"),
        ([0.0, 0.0], "2 of 2 within"),
        ([2.0, np.nan], "1 of 2 within 0.1 % of the best; the farthest 0 % above it; 1 not finite"),
        ([np.nan], "none of 1"),
    ],
)
def test_spread_of_the_restarts(objectives, words):
    assert words in _spread(np.array(objectives))


def test_component_table_has_shares_and_peaks():
    _, _, result = scene()
    result = result.copy(deep=True)
    result["maps"][:] = np.array([3.0, 1.0, 0.0])[:, None, None]
    result["spectra"][:] = 0.0
    result["spectra"][0, 5] = result["spectra"][1, 0] = 1.0
    html = _component_table(result, None)
    energy = result["energy"].values
    for words in ("75.0 %", "25.0 %", f"energy {energy[5]:.6g} eV", "energy 430 eV", "the spectrum is zero"):
        assert words in html


def test_masked_pixels_are_counted():
    _, _, result = scene()
    result["maps"][:, 0, :2] = np.nan
    assert ("Pixels", "118 (2 masked, of 120)") in data_rows(result, None)


def test_page_of_a_large_map_is_small(tmp_path):
    rng = np.random.default_rng(0)
    img, truth = simulate.edx_phases(KEY, shape=(256, 256), channels=20)
    maps = np.hstack([truth.maps, rng.random((65536, 1))]) + rng.random((65536, 4))
    spectra = np.vstack([truth.spectra, rng.random((1, 20))])
    result = xr.Dataset({"maps": img.to_maps(maps), "spectra": img.to_spectra(spectra)})
    assert os.path.getsize(page.write(tmp_path / "a.html", result, img)) < 1_500_000


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    _, _, result = scene()
    target = tmp_path / "a.html"
    target.write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        page.write(target, result[["maps", "spectra"]])
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


def test_provenance_that_is_not_json_is_shown():
    _, _, result = scene(provenance="not json")
    assert "not json" in provenance(result, None)


@pytest.fixture(scope="module")
def scanned():
    img, _ = simulate.line_scan(KEY, length=12, channels=20)
    criteria = (rank.AIC(), rank.Scree())
    scan = rank.scan(Problem(img.matrix()), [2, 3], criteria, restarts=2, max_steps=5, key=KEY)
    return img, scan


def test_page_of_a_scan_tells_what_was_decided(tmp_path, scanned):
    img, scan = scanned
    written = page.write_scan(tmp_path / "a.html", scan, img, "A title", "jaxunmix rank a", "jaxunmix unmix a -k 2")
    reader = read(written)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "a", "base"}
    assert len(reader.images) == 3
    for words in (
        "A title",
        "AIC",
        scan.decision["AIC"].reason,
        "best mse",
        "jaxunmix rank a",
        "jaxunmix unmix a -k 2",
    ):
        assert words in reader.text
    assert f"K = {scan.best} by AIC." in reader.text
    assert "energy: 20" in reader.text
    assert "4 of 4 fits stopped at the limit of steps" in reader.text


def test_page_of_a_scan_alone_and_undecided(tmp_path, scanned):
    _, scan = scanned
    verdict = dataclasses.replace(scan.decision["AIC"], best=None, reason=HOSTILE)
    scan = dataclasses.replace(scan, decision={"AIC": verdict})
    reader = read(page.write_scan(tmp_path / "a.html", scan))
    assert "Number of components" in reader.text
    assert "AIC does not decide" in reader.text
    assert HOSTILE in reader.text


def test_numbers_that_are_not_told_apart_are_named(scanned):
    _, scan = scanned
    errors = np.array([0.0, 1.0])
    for values, words in (
        ([1.0, 2.0], ", which does not tell it apart from 3 (within 2 standard errors)."),
        ([1, 4], "."),
    ):
        verdict = rank.Verdict(2, np.array(values), errors, 1.0, "")
        table = scan.table.assign(Mine=("rank", values), Mine_error=("rank", errors))
        table = dataset(dataclasses.replace(scan, table=table, decision={"Mine": verdict}))
        assert conclusion(table) == f"K = 2 by Mine{words}"
