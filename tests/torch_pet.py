"""Small metatrain PETs in every variant, for tests of the import."""

import pytest

SPECIES = [1, 6, 8, 29]
SMALL = {
    "d_pet": 8,
    "d_node": 8,
    "d_head": 6,
    "d_feedforward": 10,
    "num_heads": 2,
    "num_attention_layers": 2,
    "num_gnn_layers": 2,
}
# The first rows run in CI; together all rows cover every branch.
VARIANTS = {
    "default": {"d_node": 12},
    "residual-postln-layernorm-silu-cosine": {
        "featurizer_type": "residual",
        "transformer_type": "PostLN",
        "normalization": "LayerNorm",
        "activation": "SiLU",
        "cutoff_function": "Cosine",
        "d_node": 12,
    },
    "adaptive-conditioned": {
        "num_neighbors_adaptive": 4,
        "system_conditioning": True,
        "attention_temperature": 0.7,
    },
    "equal-widths": {},
    "postln-equal-widths": {"transformer_type": "PostLN"},
    "residual": {"featurizer_type": "residual"},
    "residual-conditioned": {
        "featurizer_type": "residual",
        "system_conditioning": True,
    },
    "layernorm": {"normalization": "LayerNorm", "d_node": 6},
    "silu": {"activation": "SiLU", "d_node": 12},
    "cosine": {"cutoff_function": "Cosine", "cutoff_width": 1.0},
    "adaptive-grid": {"num_neighbors_adaptive": 4, "adaptive_cutoff_method": "grid"},
    "adaptive-wide": {"num_neighbors_adaptive": 8, "cutoff_width_adaptive": 2.0},
    "one-layer": {"num_gnn_layers": 1, "num_attention_layers": 1},
    "three-layers": {"num_gnn_layers": 3, "num_attention_layers": 1},
    "zbl": {"zbl": True},
}
IN_CI = ("default", "residual-postln-layernorm-silu-cosine", "adaptive-conditioned")


def targets():
    from metatrain.utils.data.target_info import (
        get_energy_target_info,
        get_generic_target_info,
    )

    def generic(name, kind, per_atom, num=1):
        return get_generic_target_info(
            name,
            {
                "quantity": "",
                "unit": "",
                "sample_kind": "atom" if per_atom else "system",
                "type": kind,
                "num_subtargets": num,
            },
        )

    irreps = [
        {"o3_lambda": 0, "o3_sigma": 1},
        {"o3_lambda": 2, "o3_sigma": 1},
        {"o3_lambda": 1, "o3_sigma": -1},
    ]
    return {
        "energy": get_energy_target_info(
            "energy", {"quantity": "energy", "unit": "eV"}
        ),
        "mtt::dipole": generic("mtt::dipole", {"cartesian": {"rank": 1}}, False),
        "mtt::alpha": generic("mtt::alpha", {"cartesian": {"rank": 2}}, True, 2),
        "mtt::density": generic(
            "mtt::density", {"spherical": {"irreps": irreps}}, True, 3
        ),
    }


def make_torch_model(hypers, seed=0):
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
    info = DatasetInfo("angstrom", SPECIES, targets())
    model = PET({**defaults, **SMALL, **hypers}, info)
    if model.system_conditioning is not None:
        # Initialised to zero, the branch would not be seen.
        torch.nn.init.normal_(model.system_conditioning.project[2].weight, std=0.5)
    for block in model.additive_models[0].model.weights["energy"].blocks():
        block.values[:] = torch.tensor([[-1.0], [2.0], [-3.0], [0.5]])
    for name, factor in (("energy", 2.5), ("mtt::dipole", 0.5)):
        for block in model.scaler.model.scales[name].blocks():
            block.values[:] = factor
    for block in model.scaler.model.scales["mtt::density"].blocks():
        shape = block.values.shape
        block.values[:] = 1 + torch.arange(shape.numel()).reshape(shape) / 7
    model.additive_models[0].sync_tensor_maps()
    model.scaler.sync_tensor_maps()
    return model.eval()
