"""What is measured: models at a size, as bundles, and the candidates that run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.lowering.facts import BOTH_FP32
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.model import WeightsFacts
from vidtok_edge.vidtok_ref import VidTok, WeightsOrigin, load_weights

__all__ = ["CASES", "FORMS", "Case", "write_bundle"]

FORMS: tuple[FormName, ...] = ("conv2d", "conv3d", "channels_last")


@dataclass(frozen=True)
class Case:
    """A model at one size."""

    title: str
    variant: str
    weights: str | None
    size: int
    seconds: float
    """Of a turn: several steps of encoder and decoder."""

    def load(self) -> tuple[VidTok, WeightsOrigin]:
        """The model, and where its weights came from."""
        return load_weights(self.variant, self.weights)


_FULL = "vidtok_fsq_causal_488_32768"
CASES = {
    "full-64": Case("full width, 64x64", _FULL, "random", 64, 5.0),
    "full-128": Case("full width, 128x128", _FULL, "random", 128, 15.0),
    "embedded-256": Case("embedded, 256x256", "fsq", None, 256, 3.0),
}


def write_bundle(
    case: Case,
    folder: Path,
    form: FormName = "channels_last",
    numerics: Sequence[Mapping[Kind, Numerics]] = (BOTH_FP32,),
) -> Bundle:
    """A bundle of the case, not verified, whose weights can be loaded again by what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    model, origin = case.load()
    weights = WeightsFacts(origin.source, origin.location, origin.sha256)
    options = StepOptions(height=case.size, width=case.size, form=form)
    return write_graphs(model, options, folder, weights, numerics=numerics)
