"""What a calibration knows after each clip, so that an interrupted one goes on with the next."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vidtok_edge import __version__
from vidtok_edge.calib.histogram import BINS, Histogram
from vidtok_edge.calib.ranges import DataFacts, make_folder
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.manifest.plain import from_plain

__all__ = ["PROGRESS", "CalibrationState", "TensorKey"]

PROGRESS = "calibration/progress.npz"
"""Where the file lies inside a bundle, until the calibration is done."""

_SCHEMA = 1
_MOST_TENSORS = 1 << 12  # a model has some hundreds; 4096 are 256 MiB
_LARGEST_META = 1 << 24  # bytes
_LARGEST_HEADER = 1 << 10  # bytes; NumPy writes 128
# KeyError: no such member. The last two: compressed or encrypted, as ours never is.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError)
_NPY_ERRORS = (SyntaxError, TokenError)  # from a header that is no Python


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
        meta = _Meta(_SCHEMA, __version__, self.data, self.clips_done, tuple(self.histograms))
        with (
            write_beside(make_folder(bundle / PROGRESS), force=True) as temporary,
            zipfile.ZipFile(temporary, "w") as archive,  # not compressed: a matter of seconds
        ):
            archive.writestr("meta.json", json.dumps(asdict(meta)))
            counts = np.array([counts for counts, _ in states], np.int64).reshape(-1, BINS)
            extents = np.array([extent for _, extent in states], np.float64).reshape(-1, 3)
            for name, array in (("counts", counts), ("extents", extents)):
                with archive.open(f"{name}.npy", "w") as member:
                    npy_format.write_array(member, array, version=(1, 0), allow_pickle=False)

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
            with zipfile.ZipFile(path) as archive:
                meta = _meta(archive)
                if differences := _differences(meta, data):
                    return None, f"{path} is of another calibration: {'; '.join(differences)}."
                return cls(data, meta.clips_done, _histograms(archive, meta)), ""
        except (OSError, ValueError, RecursionError, EOFError, *_ZIP_ERRORS, *_NPY_ERRORS) as error:
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
    value = json.loads(_member(archive, "meta.json", _LARGEST_META))
    if not isinstance(value, dict) or value.get("schema") != _SCHEMA:
        raise ValueError(f"its schema is not {_SCHEMA}")
    return from_plain(_Meta, value)


def _differences(meta: _Meta, data: DataFacts) -> list[str]:
    found = list(meta.data.differences(data))
    if meta.toolkit != __version__:
        found.append(f"it is by toolkit {meta.toolkit}, this is {__version__}")
    return found


def _histograms(archive: zipfile.ZipFile, meta: _Meta) -> dict[TensorKey, Histogram]:
    tensors = len(meta.tensors)
    counts = _array(archive, "counts", np.dtype(np.int64), (tensors, BINS))
    extents = _array(archive, "extents", np.dtype(np.float64), (tensors, 3))
    return {
        key: Histogram.from_state(*state)
        for key, *state in zip(meta.tensors, counts, extents, strict=True)
    }


def _array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, int]
) -> NDArray[Any]:
    """An array that must be of `dtype` and `shape`; no memory is taken for what a header claims."""
    size = dtype.itemsize * shape[0] * shape[1]
    data = _member(archive, f"{name}.npy", size + _LARGEST_HEADER)
    file = io.BytesIO(data)
    if npy_format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is of an unknown .npy version")
    header = npy_format.read_array_header_1_0(file)
    if header != (shape, False, dtype):
        raise ValueError(f"{name} is {header[2]} {list(header[0])}, not {dtype} {list(shape)}")
    if len(data) - file.tell() != size:
        raise ValueError(f"the data of {name} is cut short or too long")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{name} is larger than {limit} bytes")
    return data
