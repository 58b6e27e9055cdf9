import numpy as np
import pandas as pd
import pytest
import xarray as xr

from jaxunmix.factor.tuning import Curve, Tuning
from jaxunmix.report import plots


def labels(figure):
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")) if t.get_text()]


@pytest.mark.parametrize("weights", [[0.0, 0.001, 0.01], [10.0, 1.0, 0.1]])
def test_tuning_shows_each_penalty_and_its_weight(weights, tmp_path):
    curve = Curve(
        'LogSparsity("maps")', np.array(weights), np.array([30.0, 0.0, 400.0]), np.array([9.0, 0.0, 80.0]), 1.0, 0.5
    )
    figure = plots.tuning(Tuning((curve, curve), 0.5, 8))
    figure.savefig(tmp_path / "tuning.png")
    assert labels(figure).count('LogSparsity("maps"): 0.5') == 2
    assert ("0" in [t.get_text() for t in figure.axes[0].texts]) == (0.0 in weights)


def test_methods_fills_the_start_of_the_lowest_objective(tmp_path):
    scores = pd.DataFrame(
        {"method": ["a", "a", "b"], "angle": [1.0, 2.0, 3.0], "mse": [0.1, 0.2, 0.3], "objective": [5.0, 4.0, 0.0]}
    )
    figure = plots.methods(scores)
    figure.savefig(tmp_path / "methods.png")
    filled = [line.get_xdata() for line in figure.axes[0].lines if line.get_markerfacecolor() != "none"]
    assert np.concatenate([np.atleast_1d(x) for x in filled]).tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="scores has no mse"):
        plots.methods(scores.drop(columns="mse"))


def test_lines_names_those_on_the_axis(tmp_path):
    energy = np.linspace(0.2, 20, 200)
    values = np.exp(-((energy - 6.4) ** 2)) + np.zeros((2, 1))
    result = xr.Dataset({"spectra": (("component", "energy"), values)}, {"energy": energy})
    figure = plots.lines(result, {"Fe Ka": 6.4, "Cu Ka": 8.05, "Ag Ka": 22.1}, (0.2, 10))
    figure.savefig(tmp_path / "lines.png")
    assert {"Fe Ka", "Cu Ka"} <= set(labels(figure))
    assert "Ag Ka" not in labels(figure)
    with pytest.raises(ValueError, match="1-D spectra"):
        plots.lines(xr.Dataset({"spectra": (("component", "ky", "kx"), np.ones((2, 3, 3)))}), {})
