"""Readers of checkpoints and their configurations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fuzz.mutations import of_bytes, of_text, of_zip
from fuzz.target import Target

__all__ = ["checkpoint_targets"]


def checkpoint_targets() -> Sequence[Target]:
    """For weights in every wrapper, and for the configuration that they were trained with."""
    found = [
        Target(
            name="config",
            make=_config,
            read=_read_config,
            mutation=of_text,
            needs=("yaml", "torch"),
        )
    ]
    changes = {"safetensors": of_bytes, "zip": of_zip, "pickle": of_bytes, "index": of_text}
    found += [
        Target(
            name=f"checkpoint.{name}",
            make=partial(_checkpoint, name),
            read=_weights,
            mutation=mutation,
            needs=("torch", "safetensors"),
        )
        for name, mutation in changes.items()
    ]
    return found


def _config(folder: Path) -> Path:
    import yaml
    from original_config import config_of

    from vidtok_edge.variants import VARIANTS

    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump(config_of(VARIANTS["vidtok_fsq_causal_488_32768_v1_1"])))
    return path


def _read_config(path: Path) -> None:
    from vidtok_edge.vidtok_ref.config import variant_from_config

    variant_from_config(path)


def _checkpoint(name: str, folder: Path) -> Path:
    import torch
    from safetensors.torch import save_file

    state = {
        f"{part}.{n}.weight": torch.ones(2, 2) for part in ("encoder", "decoder") for n in "ab"
    }
    if name == "index":
        save_file(state, folder / "a.safetensors")
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": dict.fromkeys(state, "a.safetensors")}))
    elif name == "safetensors":
        path = folder / "a.safetensors"
        save_file(state, path)
    else:
        path = folder / "a.pt"
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=name == "zip")
    return path


def _weights(path: Path) -> None:
    from vidtok_edge.vidtok_ref.checkpoint_files import content_of
    from vidtok_edge.vidtok_ref.wrappers import unwrapped

    unwrapped(path, content_of(path), ("encoder.a.weight",), ema=False)
