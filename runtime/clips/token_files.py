"""Token files: the latents of one clip, stored so that any program with NumPy can read them.

An `.npz` (a zip of `.npy` arrays, never pickled); docs/token_files.md lists its arrays.

A bare `.npy` of int32 [t, h, w] is read as well: tokens alone, whose origin is unknown.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vidtok_edge.bounded import TooLarge, opened_zip
from vidtok_edge.errors import TokenFileError, UsageError
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.documents import DocumentKind, SchemaUnknown
from vidtok_edge.runtime.manifest.identity import differing, identity, weights_named
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.manifest.model import ModelFacts
from vidtok_edge.runtime.npz import array_of, damage_told, read_array, write_arrays

__all__ = ["MAX_ARRAY_BYTES", "TokenFile", "TokenMeta"]

SCHEMA = 1
MAX_ARRAY_BYTES = 1 << 31  # per array: a header may claim anything, and zeros compress 1000 to 1
_MAX_META_CHARACTERS = 1 << 16
_META = DocumentKind(
    schema=SCHEMA,
    not_json="meta is not JSON: {error}",
    no_object="meta is no JSON object",
    other_schema="The token file has schema {value!r}; this toolkit reads {schema}",
)
_ARRAYS = {"tokens": ("int32", 3), "mean": ("float32", 4), "logvar": ("float32", 4)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMeta:
    """Where tokens come from. `frames` counts real frames, without padding to whole latents.

    Raises TokenFileError when a value has another type or lies outside its range.
    """

    variant: str
    weights_sha256: str
    precision: str
    height: int
    width: int
    time_factor: int
    fps: float
    frames: int
    codebook_size: int | None
    """None for KL."""
    toolkit_version: str
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        known = type(self.schema) is int and self.schema == SCHEMA
        _require(known, "schema", self.schema, str(SCHEMA))
        for name in ("variant", "weights_sha256", "precision", "toolkit_version"):
            _require(isinstance(getattr(self, name), str), name, getattr(self, name), "a string")
        for name in ("height", "width", "time_factor", "frames"):
            _require_count(name, getattr(self, name))
        if self.codebook_size is not None:
            _require_count("codebook_size", self.codebook_size)
        number = isinstance(self.fps, int | float) and not isinstance(self.fps, bool)
        _require(number and 0 <= self.fps < 1e6, "fps", self.fps, "a number from 0 (unknown)")

    @classmethod
    def of(cls, model: ModelFacts, **own: Any) -> TokenMeta:
        """The meta of what `model` made; `own`: the fields that do not follow from it."""
        return cls(
            variant=model.variant,
            time_factor=model.time_factor,
            codebook_size=model.codebook_size or None,
            **own,
        )

    @classmethod
    def from_json(cls, text: str) -> TokenMeta:
        """Read what `to_json` wrote. Raises TokenFileError."""
        try:
            values = _META.parsed(text)
        except SchemaUnknown as error:
            raise TokenFileError(
                f"{error}. Read it with the version of vidtok-edge that wrote it."
            ) from None
        except ValueError as error:
            raise TokenFileError(f"{error}. {_AGAIN}") from None
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            wrong = ", ".join(sorted(values.keys() ^ names))
            raise TokenFileError(f"meta has fields missing or unknown: {wrong}. {_AGAIN}")
        return cls(**values)

    def to_json(self) -> str:
        """The `meta` string of the file."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TokenFile:
    """The latents of one clip: `tokens`, or `mean` and `logvar`; `time_ns` and `meta` with them.

    Shapes as in the module's table. `meta` and `time_ns` are None only for tokens that were read
    from a bare `.npy`. Raises TokenFileError when the parts do not fit each other.
    """

    tokens: NDArray[np.int32] | None = None
    mean: NDArray[np.float32] | None = None
    logvar: NDArray[np.float32] | None = None
    time_ns: NDArray[np.int64] | None = None
    meta: TokenMeta | None = None

    def __post_init__(self) -> None:
        kinds = [name for name in _ARRAYS if getattr(self, name) is not None]
        if kinds not in (["tokens"], ["mean", "logvar"]):
            got = ", ".join(kinds) or "none of these"
            raise TokenFileError(f"Got {got}; allowed: tokens (FSQ), or mean and logvar (KL).")
        for name in kinds:
            _require_array(name, getattr(self, name))
        if self.tokens is not None:
            _require_range(self.tokens, self.meta.codebook_size if self.meta else None)
        else:
            self._require_kl()
        if (self.meta is None) != (self.time_ns is None):
            raise TokenFileError("Got only one of meta and time_ns; allowed: both, or neither.")
        if self.meta is not None:
            self._require_meta_fits(self.meta)
        if self.time_ns is not None:
            _require_times(self.time_ns, self.latents)

    def __repr__(self) -> str:
        kind = "tokens" if self.tokens is not None else "mean, logvar"
        return f"TokenFile({kind} {self._main.shape}, meta={self.meta})"

    @property
    def latents(self) -> int:
        """t, the number of latents along time."""
        return len(self._main)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of a latent."""
        height, width = self._main.shape[-2:]
        return height, width

    def save(self, path: str | os.PathLike[str], force: bool = False) -> None:
        """Write the `.npz`, whole or not at all. Without meta, a `.npy`.

        Raises UsageError for a suffix that does not match, OutputExists, OutputNotWritable.
        """
        suffix = ".npy" if self.meta is None else ".npz"
        if Path(path).suffix.lower() != suffix:
            raise UsageError(f"{path}: these tokens are stored as {suffix}. Name it so.")
        with write_beside(path, force) as temporary, temporary.open("wb") as file:
            self.write_to(file)

    def write_to(self, file: IO[bytes]) -> None:
        """Write the bytes of the `.npz`, or without meta of the `.npy`, to an open file."""
        if self.meta is None:
            npy_format.write_array(file, self._main, allow_pickle=False)
            return
        arrays = {n: a for n in _ARRAYS if (a := getattr(self, n)) is not None}
        assert self.time_ns is not None
        arrays |= {"time_ns": self.time_ns, "meta": np.array(self.meta.to_json())}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            write_arrays(archive, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TokenFile:
        """Read and check everything; an array is refused by its header before it is read.

        Raises TokenFileError for any file that is not a sound token file.
        """
        try:
            with damage_told():
                return cls(**_parts(Path(path)))
        except TokenFileError as error:
            raise TokenFileError(f"{path}: {error}") from error
        except MemoryError as error:
            raise TokenFileError(f"{path}: too large for this machine's memory.") from error
        except TooLarge as error:
            raise TokenFileError(
                f"{path}: {error}. Nothing that small is unpacked so far; encode the clip in parts."
            ) from error
        except PermissionError as error:
            raise TokenFileError(
                f"{path} cannot be read: {error.strerror}. Check its permissions."
            ) from error
        except (OSError, ValueError) as error:
            raise TokenFileError(f"{path}: damaged or truncated ({error}). {_AGAIN}") from error

    def check_fits(self, manifest: Manifest) -> None:
        """Raise TokenFileError unless a decoder of that bundle can take the latents.

        Tokens without meta pass when their grid and range fit: nobody knows which model made them.
        """
        here = identity(manifest)
        if differ := differing(self._identity, here):
            raise TokenFileError(self._misfit(differ[0], here))
        if self.tokens is not None:
            _require_range(self.tokens, manifest.model.codebook_size)

    @property
    def _identity(self) -> dict[str, object]:
        """What the file says of its tokenizer."""
        facts: dict[str, object] = {}
        if self.meta is not None:
            facts = {"variant": self.meta.variant, "weights_sha256": self.meta.weights_sha256}
        facts |= {"grid_height": self.grid[0], "grid_width": self.grid[1]}
        if self.mean is None:
            return facts | {"latent": "fsq"}
        return facts | {"latent": "kl", "z_channels": self.mean.shape[1]}

    def _misfit(self, name: str, here: Mapping[str, object]) -> str:
        """The sentence about the fact called `name`, in which the decoder that is here differs."""
        had, has = self._identity[name], here[name]
        if name == "variant":
            return (
                f"The tokens were made by {had}; this decoder is {has}. "
                "Decode them with a bundle of the former."
            )
        if name == "weights_sha256":
            return (
                f"The tokens were made with weights {weights_named(str(had))}; this decoder has "
                f"{weights_named(str(has))}. Decode them with a bundle of the same weights."
            )
        if name == "latent":
            kinds = {"fsq": "FSQ tokens", "kl": "KL latents"}
            return f"The file holds {kinds[str(had)]}; this decoder takes {kinds[str(has)]}."
        if name == "z_channels":
            return f"The latents have {had} channels; this decoder takes {has}."
        return (
            f"The latents are {self.grid[0]}x{self.grid[1]}; this decoder takes "
            f"{here['grid_height']}x{here['grid_width']}. Decode them with a bundle exported for "
            "their size."
        )

    @property
    def _main(self) -> NDArray[Any]:
        array = self.tokens if self.tokens is not None else self.mean
        assert array is not None
        return array

    def _require_kl(self) -> None:
        assert self.mean is not None and self.logvar is not None
        if self.mean.shape != self.logvar.shape:
            raise TokenFileError(
                f"mean is {self.mean.shape}, logvar {self.logvar.shape}; they must be equal."
            )
        for name, array in (("mean", self.mean), ("logvar", self.logvar)):
            bad = array.size - int(np.count_nonzero(np.isfinite(array)))
            if bad:
                raise TokenFileError(
                    f"{name} holds {bad} values that are NaN or infinite; allowed: finite. {_AGAIN}"
                )

    def _require_meta_fits(self, meta: TokenMeta) -> None:
        if (meta.codebook_size is None) != (self.tokens is None):
            raise TokenFileError(
                f"codebook_size is {meta.codebook_size}; allowed: a number with tokens, "
                "none with mean and logvar."
            )
        (h, w), (height, width) = self.grid, (meta.height, meta.width)
        if height % h or width % w or height // h != width // w:
            raise TokenFileError(
                f"meta says {height}x{width} pixels, but the latents are {h}x{w}: the first must "
                "be the second times one whole number."
            )
        if meta.frames > self.latents * meta.time_factor:
            raise TokenFileError(
                f"meta says {meta.frames} frames, but {self.latents} latents stand for at most "
                f"{self.latents * meta.time_factor}."
            )


_AXES = {1: "[t]", 3: "[t, h, w]", 4: "[t, z, h, w]"}
_AGAIN = "Encode the clip again, or copy the file again from its source."


def _require(passed: bool, name: str, value: object, allowed: str) -> None:
    if not passed:
        raise TokenFileError(f"meta: {name} is {value!r}; allowed: {allowed}.")


def _require_count(name: str, value: object) -> None:
    passed = type(value) is int and 1 <= value < 1 << 31
    _require(passed, name, value, "a whole number from 1")


def _require_array(name: str, array: NDArray[Any]) -> None:
    dtype, axes = _ARRAYS[name]
    if array.dtype != np.dtype(dtype) or array.ndim != axes or array.size == 0:
        raise TokenFileError(
            f"{name} is {array.dtype} {array.shape}; allowed: {dtype} {_AXES[axes]}, none of them "
            "0."
        )


def _require_range(tokens: NDArray[np.int32], codebook_size: int | None) -> None:
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or (codebook_size is not None and high >= codebook_size):
        allowed = "0 or more" if codebook_size is None else f"0 to {codebook_size - 1}"
        raise TokenFileError(f"The tokens range from {low} to {high}; allowed: {allowed}.")


def _require_times(time_ns: NDArray[np.int64], latents: int) -> None:
    if time_ns.dtype != np.int64 or time_ns.shape != (latents,):
        raise TokenFileError(
            f"time_ns is {time_ns.dtype} {time_ns.shape}; allowed: int64 ({latents},)."
        )
    if np.any(time_ns[1:] < time_ns[:-1]):
        raise TokenFileError("time_ns goes back in time; allowed: never smaller than before.")


# -- reading


def _parts(path: Path) -> dict[str, Any]:
    """The fields of a TokenFile, as they lie in the file."""
    if not path.exists():
        raise TokenFileError("there is no such file. Check the name.")
    if not path.is_file():
        raise TokenFileError("this is not a regular file. Name a token file.")
    with path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic == npy_format.MAGIC_PREFIX:
            size = path.stat().st_size
            return {"tokens": read_array(file, "tokens", _judge, stored=size, length=size)}
        if magic[:4] != b"PK\x03\x04":
            raise TokenFileError("this is neither .npz nor .npy. Name a token file.")
        with opened_zip(file) as archive:
            return _members(archive)


def _members(archive: zipfile.ZipFile) -> dict[str, Any]:
    present = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    kinds = ("tokens",) if "tokens" in present else ("mean", "logvar")
    missing = [name for name in (*kinds, "time_ns", "meta") if name not in present]
    if missing:
        raise TokenFileError(f"the array {', '.join(missing)} is missing. {_AGAIN}")
    # Meta first: it is small, and may refuse the rest.
    meta = TokenMeta.from_json(str(array_of(archive, "meta", _judge)))
    return {"meta": meta, **{name: array_of(archive, name, _judge) for name in (*kinds, "time_ns")}}


def _judge(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what a token file does not hold under this name, and what is too large."""
    if dtype.hasobject:
        raise TokenFileError(f"{name} holds pickled Python objects, which are never loaded.")
    if name == "meta":
        fits = dtype.kind == "U" and shape == () and dtype.itemsize <= 4 * _MAX_META_CHARACTERS
        allowed = f"one string of at most {_MAX_META_CHARACTERS} characters"
        mend = _AGAIN
    else:
        kind, axes = _ARRAYS.get(name, ("int64", 1))
        fits = dtype == np.dtype(kind) and len(shape) == axes
        allowed = f"{kind} {_AXES[axes]}"
        mend = f"Save it so, as with numpy's astype({kind!r})."
        if dtype == np.dtype(kind):
            mend = "Save it with these axes."
    if not fits:
        raise TokenFileError(f"{name} is {dtype} {shape}; allowed: {allowed}. {mend}")
    size = dtype.itemsize * int(np.prod(shape, dtype=object))
    if size > MAX_ARRAY_BYTES:
        raise TokenFileError(
            f"{name} claims {size} bytes; allowed: {MAX_ARRAY_BYTES}. Split the clip."
        )
