"""The YAML that the original trains a variant with."""

from __future__ import annotations

from typing import Any

from vidtok_edge.variants import Variant

__all__ = ["config_of"]


def config_of(variant: Variant) -> dict[str, Any]:
    """What the original would be trained with."""
    module = f"model_3d{'' if variant.causal else 'non'}causal"
    module += "_v1_1" if variant.version == "1.1" else ""
    end = "Causal3DPadding" if variant.causal else "3D"
    params = {
        "double_z": variant.latent == "kl",
        "z_channels": variant.z_channels,
        "in_channels": 3,
        "out_ch": 3,
        "ch": variant.ch,
        "ch_mult": list(variant.ch_mult),
        "spatial_ds": list(variant.spatial_down),
        "spatial_us": list(variant.spatial_up),
        "tempo_ds": list(reversed(variant.temporal_down)),
        "tempo_us": list(variant.temporal_up),
        "time_downsample_factor": variant.time_factor,
        "num_res_blocks": variant.num_res_blocks,
        "dropout": 0.0,
        "use_checkpoint": False,
        "init_pad_mode": "replicate",
        "norm_type": "layernorm",
    }
    if variant.version == "1.1":
        params["interpolation_mode"] = "trilinear"
    regularizer: dict[str, Any] = {
        "target": "vidtok.modules.regularizers.DiagonalGaussianRegularizer"
    }
    if variant.latent == "fsq":
        regularizer = {
            "target": "vidtok.modules.regularizers.FSQRegularizer",
            "params": {"levels": list(variant.levels), "entropy_loss_weight": 0.1},
        }
    return {
        "model": {
            "params": {
                "encoder_config": {
                    "target": f"vidtok.modules.{module}.Encoder{end}",
                    "params": params,
                },
                "decoder_config": {
                    "target": f"vidtok.modules.{module}.Decoder{end}",
                    "params": "${model.params.encoder_config.params}",
                },
                "regularizer_config": regularizer,
            }
        },
        "data": {"target": "anything"},
    }
