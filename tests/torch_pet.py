"""Small metatrain PETs in every variant, for tests of the import."""

import pytest

SPECIES = [1, 6, 8, 29]
SMALL = {
    "d_pet": 8,
    "d_node": 8,
    "d_head": 6,
    "d_feedforward": 10,
    "num_heads": 2,
    "num_attention_layers": 1,
    "num_gnn_layers": 1,
}
DEEP = {"num_attention_layers": 2, "num_gnn_layers": 2}
# Every value of a column meets every value of any other, and every pair of
# transformer and featurizer meets every value (tests/interop/test_metatrain.py checks).
COLUMNS = (
    "transformer_type",
    "featurizer_type",
    "normalization",
    "activation",
    "cutoff_function",
    "d_node",
    "adaptive_cutoff_method",
    "system_conditioning",
    "num_gnn_layers",
    "num_attention_layers",
)
TABLE = """
PostLN feedforward LayerNorm SiLU   Bump   12 grid   plain       3 2
PostLN feedforward RMSNorm   SwiGLU Bump   8  solver plain       2 2
PostLN feedforward RMSNorm   SwiGLU Cosine 12 fixed  conditioned 1 1
PostLN residual    LayerNorm SiLU   Bump   8  fixed  conditioned 1 2
PostLN residual    LayerNorm SwiGLU Cosine 8  grid   plain       2 1
PostLN residual    RMSNorm   SiLU   Cosine 12 solver plain       3 1
PreLN  feedforward LayerNorm SwiGLU Bump   8  solver conditioned 1 1
PreLN  feedforward RMSNorm   SiLU   Cosine 12 grid   plain       1 2
PreLN  feedforward RMSNorm   SiLU   Cosine 8  fixed  conditioned 2 1
PreLN  feedforward RMSNorm   SwiGLU Cosine 12 grid   conditioned 3 1
PreLN  residual    LayerNorm SiLU   Cosine 12 solver plain       1 1
PreLN  residual    LayerNorm SwiGLU Bump   12 grid   conditioned 2 1
PreLN  residual    RMSNorm   SwiGLU Cosine 8  fixed  plain       3 2
"""


def _hypers(row):
    hypers = dict(zip(COLUMNS, row, strict=True))
    if hypers["adaptive_cutoff_method"] == "fixed":
        del hypers["adaptive_cutoff_method"]
    else:
        hypers["num_neighbors_adaptive"] = 4
    hypers["system_conditioning"] = hypers["system_conditioning"] == "conditioned"
    for name in ("d_node", "num_gnn_layers", "num_attention_layers"):
        hypers[name] = int(hypers[name])
    return hypers


ROWS = [row.split() for row in TABLE.strip().splitlines()]
VARIANTS = {
    "default": {"d_node": 12},
    "deep": {"d_node": 12, **DEEP},
    "other targets": {"d_node": 12},
    "other targets, residual": {"featurizer_type": "residual", **DEEP},
    "narrow nodes": {"d_node": 6, **DEEP},
    "temperature": {"attention_temperature": 0.7, **DEEP},
    "wide cutoff": {"cutoff_function": "Cosine", "cutoff_width": 1.0, **DEEP},
    "wide taper": {"num_neighbors_adaptive": 8, "cutoff_width_adaptive": 2.0},
    "one probe": {
        "num_neighbors_adaptive": 4,
        "adaptive_cutoff_method": "grid",
        "cutoff_width_adaptive": 17.0,
        **DEEP,
    },
    "zbl": {"zbl": True},
    **{" ".join(row): _hypers(row) for row in ROWS},
}
# The fixed cutoff, and both ways to find an adaptive one; two layers of each kind.
IN_CI = ("deep", "other targets", "wide taper", " ".join(ROWS[4]))
LONG_RANGE = {
    "enable": True,
    "use_ewald": True,
    "smearing": 1.4,
    "kspace_resolution": 1.33,
    "interpolation_nodes": 5,
}


def generic(name, kind, per_atom, num=1, unit=""):
    from metatrain.utils.data.target_info import get_generic_target_info

    return get_generic_target_info(
        name,
        {
            "quantity": "",
            "unit": unit,
            "sample_kind": "atom" if per_atom else "system",
            "type": kind,
            "num_subtargets": num,
        },
    )


def spherical(*irreps):
    """Type of a target; pairs of a degree and a sigma."""
    irreps = [{"o3_lambda": degree, "o3_sigma": sigma} for degree, sigma in irreps]
    return {"spherical": {"irreps": irreps}}


def energy(unit="eV", name="energy", **gradients):
    from metatrain.utils.data.target_info import get_energy_target_info

    return get_energy_target_info(
        name, {"quantity": "energy", "unit": unit}, **gradients
    )


def targets():
    """Structures and atoms; scalars, vectors, matrices, irreps with both signs."""
    irreps = spherical((0, 1), (2, 1), (1, -1))
    return {
        "energy": energy(),
        "mtt::dipole": generic("mtt::dipole", {"cartesian": {"rank": 1}}, False),
        "mtt::alpha": generic("mtt::alpha", {"cartesian": {"rank": 2}}, True, 2),
        "mtt::density": generic("mtt::density", irreps, True, 3),
    }


def other_targets():
    """An energy with gradients, non-conservative targets, pseudo-tensors, subtargets.

    The order is not the alphabetical one.
    """
    vector, matrix = {"cartesian": {"rank": 1}}, {"cartesian": {"rank": 2}}
    return {
        "non_conservative_stress": generic(
            "non_conservative_stress", matrix, False, unit="eV/A^3"
        ),
        "energy": energy(add_position_gradients=True, add_strain_gradients=True),
        "non_conservative_forces": generic(
            "non_conservative_forces", vector, True, unit="eV/A"
        ),
        "mtt::charges": generic("mtt::charges", "scalar", True),
        "mtt::bands": generic("mtt::bands", "scalar", False, 4),
        "mtt::pseudo": generic(
            "mtt::pseudo", spherical((0, -1), (0, 1), (2, -1)), False, 2
        ),
        "mtt::octupole": generic("mtt::octupole", spherical((3, 1)), False),
    }


def make_torch_model(hypers, seed=0, targets=targets, species=SPECIES):
    """A PET with random weights, scales and baselines, all of which matter."""
    import torch
    from metatrain.pet import PET
    from metatrain.utils.data import DatasetInfo
    from metatrain.utils.hypers import init_with_defaults

    try:
        from metatrain.pet.documentation import ModelHypers
    except ImportError:
        pytest.skip("metatrain has moved its hyperparameters")
    torch.manual_seed(seed)
    defaults = init_with_defaults(ModelHypers)
    info = DatasetInfo("angstrom", list(species), targets())
    model = PET({**defaults, **SMALL, **hypers}, info)
    if model.system_conditioning is not None:
        # Initialised to zero, the branch would not be seen.
        torch.nn.init.normal_(model.system_conditioning.project[2].weight, std=0.5)
    composition = model.additive_models[0]
    for number, weights in enumerate(composition.model.weights.values()):
        for block in weights.blocks():
            block.values[:] = torch.linspace(
                -3 - number, 2, block.values.numel(), dtype=block.values.dtype
            ).reshape(block.values.shape)
    for number, scales in enumerate(model.scaler.model.scales.values()):
        for block in scales.blocks():
            steps = torch.arange(block.values.numel()).reshape(block.values.shape)
            block.values[:] = 0.5 + number + steps / 7
    store_buffers(model)
    return model.eval()


def store_buffers(model):
    """Baselines and scales to buffers, as at the end of their training.

    These are what a checkpoint keeps.
    """
    import metatensor.torch as mts

    for owner, values, suffix in (
        (model.additive_models[0], "weights", "_composition_buffer"),
        (model.scaler, "scales", "_scaler_buffer"),
    ):
        for name, value in getattr(owner.model, values).items():
            stored = mts.save_buffer(mts.make_contiguous(value))
            owner.register_buffer(name + suffix, stored)


def make_variant(name, seed=0):
    """The model of one of the :data:`VARIANTS`."""
    known = other_targets if name.startswith("other targets") else targets
    return make_torch_model(VARIANTS[name], seed, known)


def make_wrapper(model, members, calibrated, seed=0):
    """An uncertainty model around a PET, with numbers as if it had been calibrated.

    Args:
      model: The PET.
      members: Size of the ensemble of some targets.
      calibrated: Names of the targets of which data were seen.
      seed: Of the covariances.
    """
    import torch
    from metatrain.llpr import LLPRUncertaintyModel

    wrapper = LLPRUncertaintyModel(
        {"num_ensemble_members": members}, model.dataset_info
    )
    wrapper.set_wrapped_model(model)
    torch.manual_seed(seed)
    size = wrapper.ll_feat_size
    for number, name in enumerate(calibrated):
        full = name.replace("mtt::", "")
        own = f"{full}_uncertainty"
        own = own if name == "energy" else f"mtt::aux::{own}"
        features = torch.randn(4 * size, size)
        getattr(wrapper, f"covariance_{own}")[:] = features.T @ features
        getattr(wrapper, f"multiplier_{own}")[:] = 0.5 + number
    wrapper.compute_cholesky_decomposition()
    wrapper.generate_ensemble()
    return wrapper.eval()
