"""What a calibration knows after each clip, so that an interrupted one goes on with the next."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidtok_edge import __version__
from vidtok_edge.bounded import opened_zip
from vidtok_edge.calib.histogram import BINS, Histogram
from vidtok_edge.calib.ranges import DataFacts, make_folder
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.documents import DocumentKind, fields
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.npz import array_of, damage_told, member, write_arrays

__all__ = ["PROGRESS", "CalibrationState", "TensorKey"]

PROGRESS = "calibration/progress.npz"
"""Where the file lies inside a bundle, until the calibration is done."""

_DOCUMENT = DocumentKind(schema=1, other_schema="its schema is not {schema}")
_MOST_TENSORS = 1 << 12  # a model has some hundreds; 4096 are 256 MiB


@dataclass(frozen=True, slots=True)
class TensorKey:
    """Which tensor a histogram is of."""

    kind: Kind
    layer: str
    side: Literal["input", "output"]


@dataclass(slots=True)
class CalibrationState:
    """The histograms of a calibration after its first clips."""

    data: DataFacts
    """What is being calibrated; its clips, in this order."""
    clips_done: int = 0
    histograms: dict[TensorKey, Histogram] = field(default_factory=dict)

    def histogram(self, key: TensorKey) -> Histogram:
        """The histogram of one tensor; an empty one is made at the first call."""
        return self.histograms.setdefault(key, Histogram())

    def save(self, bundle: Path) -> None:
        """Write the state into the folder `bundle`, over an older one.

        Save after a whole clip only: a clip that was begun is begun again. Raises
        OutputNotWritable.
        """
        states = [histogram.state() for histogram in self.histograms.values()]
        meta = _Meta(
            _DOCUMENT.schema, __version__, self.data, self.clips_done, tuple(self.histograms)
        )
        with (
            write_beside(make_folder(bundle / PROGRESS), force=True) as temporary,
            zipfile.ZipFile(temporary, "w") as archive,  # not compressed: a matter of seconds
        ):
            archive.writestr("meta.json", json.dumps(asdict(meta)))
            counts = np.array([counts for counts, _ in states], np.int64).reshape(-1, BINS)
            extents = np.array([extent for _, extent in states], np.float64).reshape(-1, 3)
            write_arrays(archive, {"counts": counts, "extents": extents})

    @classmethod
    def load(cls, bundle: Path, data: DataFacts) -> tuple[CalibrationState | None, str]:
        """The state in the folder `bundle`, if it is one of a calibration with `data`.

        Returns:
            The progress and ""; or None and why it cannot be gone on with: "" where there is no
            file, else a sentence. A damaged file is no error: calibrating anew replaces it.
        """
        path = bundle / PROGRESS
        try:
            if not path.exists():
                return None, ""
            with damage_told(), path.open("rb") as file, opened_zip(file) as archive:
                meta = _meta(archive)
                if differences := _differences(meta, data):
                    return None, f"{path} is of another calibration: {'; '.join(differences)}."
                return cls(data, meta.clips_done, _histograms(archive, meta)), ""
        except (OSError, ValueError) as error:
            return None, f"{path} is damaged: {error}."

    @staticmethod
    def remove(bundle: Path) -> None:
        """Remove the file from the folder `bundle`, if there is one."""
        (bundle / PROGRESS).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Meta:
    schema: int
    toolkit: str
    data: DataFacts
    clips_done: int
    tensors: tuple[TensorKey, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.clips_done <= len(self.data.clips):
            raise ValueError(f"{self.clips_done} of {len(self.data.clips)} clips are done")
        if len(set(self.tensors)) < len(self.tensors) or len(self.tensors) > _MOST_TENSORS:
            raise ValueError("two histograms of one tensor, or too many")


def _meta(archive: zipfile.ZipFile) -> _Meta:
    text = member(archive, "meta.json", _DOCUMENT.largest)
    return fields(_Meta, _DOCUMENT.parsed(text))


def _differences(meta: _Meta, data: DataFacts) -> list[str]:
    found = list(meta.data.differences(data))
    if meta.toolkit != __version__:
        found.append(f"it is by toolkit {meta.toolkit}, this is {__version__}")
    return found


def _histograms(archive: zipfile.ZipFile, meta: _Meta) -> dict[TensorKey, Histogram]:
    """Those in the file; no memory is taken for what the header of an array claims."""
    expected = {
        "counts": (np.dtype(np.int64), (len(meta.tensors), BINS)),
        "extents": (np.dtype(np.float64), (len(meta.tensors), 3)),
    }

    def judge(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        kind, size = expected[name]
        if (dtype, shape) != (kind, size):
            raise ValueError(f"{name} is {dtype} {list(shape)}, not {kind} {list(size)}")

    states = zip(*(array_of(archive, name, judge) for name in expected), strict=True)
    return {
        key: Histogram.from_state(*state) for key, state in zip(meta.tensors, states, strict=True)
    }
