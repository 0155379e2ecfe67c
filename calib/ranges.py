"""`calibration/ranges.json` of a bundle: what every layer's values span, and what showed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vidtok_edge import __version__
from vidtok_edge.calib.clips import SkippedClip, UsedClip
from vidtok_edge.calib.methods import Method, Range
from vidtok_edge.errors import CalibrationError, OutputNotWritable
from vidtok_edge.runtime.manifest.documents import DocumentKind, write_document
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.manifest.identity import weights_named

__all__ = ["RANGES", "SCHEMA", "DataFacts", "LayerRanges", "Ranges", "TensorRanges", "make_folder"]

SCHEMA = 1
RANGES = "calibration/ranges.json"
"""Where the file lies inside a bundle."""

_DOCUMENT = DocumentKind(schema=SCHEMA)
_AGAIN = "Calibrate again with: vidtok-edge calibrate BUNDLE --data CLIPS"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What decides the values that a calibration sees. `height` and `width` are pixels."""

    variant: str
    weights_sha256: str
    height: int
    width: int
    frames_per_clip: int | None
    """The limit that was asked for; None: all frames."""
    clips: tuple[UsedClip, ...]

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.frames_per_clip is not None and self.frames_per_clip < 1:
            raise ValueError(f"frames_per_clip is {self.frames_per_clip}; allowed: 1 or more")
        if any(clip.frames < 1 for clip in self.clips):
            raise ValueError("a clip of which no frame was used")
        for sha256 in (self.weights_sha256, *(clip.sha256 for clip in self.clips)):
            if not re.fullmatch("[0-9a-f]{64}", sha256):
                raise ValueError(f"{sha256[:80]!r} is no SHA-256")

    @property
    def frames(self) -> int:
        """How many frames were used, of all clips together."""
        return sum(clip.frames for clip in self.clips)

    def differences(self, other: DataFacts) -> tuple[str, ...]:
        """A sentence for each fact in which these, of what is stored, differ from those wanted."""
        found = _model_differences(self, other)
        if self.frames_per_clip != other.frames_per_clip:
            limits = [
                f"{limit or 'all'} frames"
                for limit in (self.frames_per_clip, other.frames_per_clip)
            ]
            found.append(f"they took {limits[0]} of each clip, {limits[1]} are wanted")
        found += _clip_differences(self.clips, other.clips)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class TensorRanges:
    """The two ranges of one tensor: methods choose them each by itself."""

    asymmetric: Range
    """For U8, with a zero point."""
    symmetric: Range
    """For S8, without: reaches as far below zero as above."""

    def __post_init__(self) -> None:
        if not self.symmetric.symmetric:
            raise ValueError(f"symmetric is {self.symmetric}; allowed: low = -high")


@dataclass(frozen=True, slots=True)
class LayerRanges:
    """What goes into a layer, and what comes out."""

    layer: str
    input: TensorRanges
    output: TensorRanges

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w./-]{1,200}", self.layer, re.ASCII):
            raise ValueError(f"{self.layer[:80]!r} is no name of a layer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """The facts of one calibration and the ranges it found, layers in the order of the graph."""

    schema: int
    toolkit: str
    data: DataFacts
    skipped: tuple[SkippedClip, ...]
    method: Method
    percentile: float | None
    """Where `method` is `percentile`, else None."""
    encoder: tuple[LayerRanges, ...]
    decoder: tuple[LayerRanges, ...]

    def __post_init__(self) -> None:
        if (self.method == "percentile") != (self.percentile is not None):
            raise ValueError(f"percentile is {self.percentile} of the method {self.method}")
        if self.percentile is not None and not 50 < self.percentile <= 100:
            raise ValueError(f"percentile is {self.percentile:g}; allowed: above 50, at most 100")
        for kind in ("encoder", "decoder"):
            if len(self.layers(kind)) < len(getattr(self, kind)):
                raise ValueError(f"two ranges of one layer of the {kind}")

    def layers(self, kind: Kind) -> Mapping[str, LayerRanges]:
        """The ranges of one graph's layers by their name."""
        return {ranges.layer: ranges for ranges in getattr(self, kind)}

    def differences(
        self, data: DataFacts, method: Method, percentile: float | None
    ) -> tuple[str, ...]:
        """Why a calibration with these facts would not give these ranges; empty: it would.

        Clips that were skipped do not count. Give `percentile` where `method` is `percentile`.
        """
        found = list(self.data.differences(data))
        if self.toolkit != __version__:
            found.append(f"they are by toolkit {self.toolkit}, this is {__version__}")
        had, wanted = (
            name if p is None else f"{name} {p:g}"
            for name, p in ((self.method, self.percentile), (method, percentile))
        )
        if had != wanted:
            found.append(f"their method is {had}, {wanted} is wanted")
        return tuple(found)

    def save(self, bundle: Path) -> Path:
        """Write the file into the folder `bundle`, over an older one; returns its path.

        Raises OutputNotWritable.
        """
        path = make_folder(bundle / RANGES)
        write_document(path, asdict(self))
        return path

    @classmethod
    def load(cls, bundle: Path) -> Ranges | None:
        """Read and validate the file in the folder `bundle`; None if there is none.

        Raises CalibrationError: it is damaged, or of another schema.
        """
        path = bundle / RANGES
        try:
            if not path.exists():
                return None
            return _DOCUMENT.load(cls, path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CalibrationError(f"{path} cannot be used: {reason}. {_AGAIN}") from None


def make_folder(path: Path) -> Path:
    """Make the folder that `path` is to lie in, if it is not there, and return `path`.

    Raises OutputNotWritable.
    """
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(
            f"The folder {path.parent} cannot be made: {error.strerror}. Change the permissions of "
            "the bundle, or copy it to where you may write."
        ) from error
    return path


def _model_differences(had: DataFacts, wanted: DataFacts) -> list[str]:
    found = []
    if had.variant != wanted.variant:
        found.append(f"they are of {had.variant}, the bundle is {wanted.variant}")
    if had.weights_sha256 != wanted.weights_sha256:
        weights, others = (weights_named(data.weights_sha256) for data in (had, wanted))
        found.append(f"they are of the weights {weights}, the bundle has {others}")
    if (had.height, had.width) != (wanted.height, wanted.width):
        sizes = [f"{data.height}x{data.width}" for data in (had, wanted)]
        found.append(f"they are of frames of {sizes[0]} (HxW), the bundle takes {sizes[1]}")
    return found


def _clip_differences(had: tuple[UsedClip, ...], wanted: tuple[UsedClip, ...]) -> list[str]:
    if had == wanted:
        return []
    if [clip.sha256 for clip in had] == [clip.sha256 for clip in wanted]:
        same = [clip.frames for clip in had] == [clip.frames for clip in wanted]
        return [] if same else ["their clips have other numbers of frames"]  # []: only renamed
    old, new = ({clip.name: clip.sha256 for clip in clips} for clips in (had, wanted))
    what = [f"{name} is gone" for name in old if name not in new]
    what += [f"{name} is new" for name in new if name not in old]
    what += [f"{name} changed" for name in old if new.get(name, old[name]) != old[name]]
    more = f" and {len(what) - 3} more" if len(what) > 3 else ""
    return [f"their clips are others ({', '.join(what[:3]) or 'in another order'}{more})"]
