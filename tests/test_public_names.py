"""What users could import, they can still."""

import importlib

import pytest

import jaxunmix

PUBLIC = {
    "jaxunmix": (
        "Bilinear Compressed Counts Dense Deviation Grid Pooled Problem Resolution Solution SpectrumImage Status bayes "
        "constraints eels fit fit_coupled fit_drift fit_pooled fit_tensor initial links load losses metrics minimise "
        "named page penalties physics plots preprocess project quantify rank save simulate tensors tune updates"
    ),
    "jaxunmix.bayes": (
        "Decomposition Decompositions Density Explorer FreeEnergy FunctionDensity HMC Jumps NumpyroDensity Priors "
        "RandomWalk ReplicaExchange Slice decompose_spectrum free_energy replica_exchange results smc "
        "spectrum_model"
    ),
    "jaxunmix.constraints": (
        "AbstractConstraint BLOCKS Box Closure Fixed LocalRank MaxComponents Monotone NonNegative Orthogonal "
        "Proportional Selectivity Simplex SumAtMost Unimodal UnitNorm"
    ),
    "jaxunmix.eels": "ReferenceFit mlls",
    "jaxunmix.initial": (
        "AbstractInitial AbstractPadded Clusters Coarse Given NFINDR NNDSVD Random SUBSPACE_SEED SubspaceSampling "
        "SuccessiveProjection VCA vca"
    ),
    "jaxunmix.links": "AbstractLink Exponential Identity Log Logistic Rounding",
    "jaxunmix.losses": "AbstractLoss Angle Beta FLOOR Frobenius ItakuraSaito Poisson",
    "jaxunmix.metrics": (
        "Match Window best_window correlation cross_correlation deviance explained_variance map_error match "
        "relative_residual spectral_angle"
    ),
    "jaxunmix.named": "bounded nmf pca plsi sparse_nmf svd",
    "jaxunmix.page": "write write_scan",
    "jaxunmix.penalties": (
        "ARD AbstractPenalty AbstractRowPenalty BLOCKS Bound GraphSimilarity L1 Laplacian LogSparsity NOTHING "
        "Reference Ridge Smoothness SoftOrthogonality TotalVariation as_weight similarity_graph"
    ),
    "jaxunmix.physics": "calibration camera diffraction lineshapes xray",
    "jaxunmix.plots": (
        "comparison convergence decomposition decompositions free_energy lines maps methods mse overview rank "
        "relevance residuals restarts spectra tuning white_lines"
    ),
    "jaxunmix.preprocess": (
        "align bin clip_negative crop edge_energy find_spikes fit_peak interpolate log low_rank_background mask "
        "mask_empty mask_non_finite mean_centre measure_shifts merge_repeated normalise normalise_edge normalise_range "
        "optical_density peak_top_energy poisson_scale power_law_background remove_fixed_pattern remove_persistence "
        "remove_spikes shift_to_positive sliding_fft subtract_reference undo weight_channels"
    ),
    "jaxunmix.rank": (
        "AIC AbstractCriterion BIC BiCrossValidation COMPRESS_ABOVE Crossing DEFAULT Dispersion Elbow Evidence "
        "Likeness Malinowski Plateau RESOLVED Scan Scree Verdict WHOLE_SPECTRUM heights_above_noise "
        "marchenko_pastur scan"
    ),
    "jaxunmix.simulate": (
        "Truth battery_xas cathode_oxygen channelling_edx channelling_eels core_shell edge_spectrum edx_phases "
        "eels_oxides line_scan mantle_minerals mixture nanosheets oxide_interface oxide_lattice oxides_and_carbon "
        "patterns rod_scans silicon_diode tof_sims tunnelling_spectroscopy xas_domains zero_loss"
    ),
    "jaxunmix.tensors": "TensorSolution core_consistency fit_tensor scan_ranks",
    "jaxunmix.updates": (
        "ALS AbstractUpdate BoundedHALS FISTA HALS MALS Multiplicative ProjectedGradient ProjectedState Sheared"
    ),
    "jaxunmix.physics.calibration": "Calibration STEPS calibrate",
    "jaxunmix.physics.camera": "Camera",
    "jaxunmix.physics.diffraction": (
        "Crystal GAUSSIANS Spots TI2O3_NANOSHEET TIO2_NANOSHEET paint reciprocal reflections scattering_factor "
        "spots structure_factor wavelength"
    ),
    "jaxunmix.physics.lineshapes": (
        "EDGES arctangent_step erf_step gaussian gaussian_peak lorentzian lorentzian_peak power_law pseudo_voigt "
        "voigt_as_pseudo"
    ),
    "jaxunmix.physics.xray": (
        "Basis Detector EmissionModel FAMILIES Layer LineTable atomic_to_weight attenuation_sd bethe "
        "bremsstrahlung casnati emission_basis load_bote_salvat load_emtables pile_up_column "
        "sensitivity_from_standard slab thin_window weight_to_atomic windowless yield_sd"
    ),
    "jaxunmix.sklearn": "BETAS NMF SOLVERS STARTS",
    "jaxunmix.cli": "main",
}


def module_of(name):
    """A module as users reach it: by import, or as an attribute of the package."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(jaxunmix, name.removeprefix("jaxunmix."))


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_where_users_take_them(module):
    missing = [name for name in PUBLIC[module].split() if not hasattr(module_of(module), name)]
    assert missing == []


def test_the_package_exports_what_it_says():
    assert [name for name in jaxunmix.__all__ if not hasattr(jaxunmix, name)] == []
