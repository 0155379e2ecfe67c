"""Token files: what is saved is loaded, and whatever else lies there is refused in words."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_step import fake_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from outputs import file_limit

from vidtok_edge.errors import OutputExists, OutputNotWritable, TokenFileError, UsageError
from vidtok_edge.runtime.clips import token_files as token_file
from vidtok_edge.runtime.clips.token_files import TokenFile, TokenMeta
from vidtok_edge.runtime.manifest.manifest import Manifest

SHA = "ab" * 32
META = TokenMeta(
    variant="vidtok_fsq_causal_488_32768",
    weights_sha256=SHA,
    precision="fp32",
    height=32,
    width=48,
    time_factor=4,
    fps=30.0,
    frames=9,
    codebook_size=32768,
    toolkit_version="0.1.0",
)
in_one_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


def decoder(*, weights: str = SHA, height: int = 32, width: int = 48, **model: Any) -> Manifest:
    """The manifest of a bundle that takes what `fsq` gives, but for what is named."""
    facts = {"variant": META.variant, "levels": (8,) * 5, "space_factor": 8, **model}
    bundle = fake_manifest()
    return replace(
        bundle,
        model=replace(bundle.model, **facts),
        weights=replace(bundle.weights, sha256=weights),
        height=height,
        width=width,
    )


def fsq() -> TokenFile:
    tokens = np.arange(3 * 4 * 6, dtype=np.int32).reshape(3, 4, 6)
    return TokenFile(tokens=tokens, time_ns=np.array([0, 133, 266], np.int64), meta=META)


def kl() -> TokenFile:
    mean = np.linspace(-3, 3, 3 * 2 * 4 * 6, dtype=np.float32).reshape(3, 2, 4, 6)
    meta = replace(META, variant="vidtok_kl_causal_488_4chn", codebook_size=None)
    times = np.array([0, 133, 266], np.int64)
    return TokenFile(mean=mean, logvar=-mean, time_ns=times, meta=meta)


def arrays(tokens: TokenFile) -> dict[str, Any]:
    assert tokens.meta is not None
    parts = {n: getattr(tokens, n) for n in ("tokens", "mean", "logvar", "time_ns")}
    parts["meta"] = np.array(tokens.meta.to_json())
    return {name: part for name, part in parts.items() if part is not None}


def written(path: Path, **parts: Any) -> Path:
    np.savez(path, **parts)
    return path


def same(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("make", [fsq, kl])
def test_round_trip(tmp_path: Path, make: Any) -> None:
    tokens: TokenFile = make()
    tokens.save(tmp_path / "a.npz")
    loaded = TokenFile.load(tmp_path / "a.npz")
    assert all(same(getattr(loaded, n), getattr(tokens, n)) for n in ("tokens", "mean", "logvar"))
    assert same(loaded.time_ns, tokens.time_ns)
    assert loaded.meta == tokens.meta
    assert (loaded.latents, loaded.grid) == (3, (4, 6))
    assert "(3," in repr(loaded)
    assert os.listdir(tmp_path) == ["a.npz"]
    tokens.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@in_one_folder
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    size=st.integers(1, 2**18),
    seed=st.integers(0, 2**32 - 1),
    factor=st.sampled_from([2, 4, 8]),
    scale=st.sampled_from([4, 8, 16]),
    fps=st.floats(0, 1000),
)
def test_round_trip_of_any_tokens(
    tmp_path: Path,
    shape: tuple[int, int, int],
    size: int,
    seed: int,
    factor: int,
    scale: int,
    fps: float,
) -> None:
    t, h, w = shape
    tokens = np.random.default_rng(seed).integers(0, size, shape, dtype=np.int32)
    meta = replace(
        META,
        height=h * scale,
        width=w * scale,
        time_factor=factor,
        frames=1 + (t - 1) * factor,
        codebook_size=size,
        fps=fps,
    )
    times = np.arange(t, dtype=np.int64) * 10**9
    TokenFile(tokens=tokens, time_ns=times, meta=meta).save(tmp_path / "a.npz", force=True)
    loaded = TokenFile.load(tmp_path / "a.npz")
    assert same(loaded.tokens, tokens) and same(loaded.time_ns, times) and loaded.meta == meta


def test_readable_with_numpy_alone(tmp_path: Path) -> None:
    fsq().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert set(file) == {"tokens", "time_ns", "meta"}
        assert json.loads(str(file["meta"])) == asdict(META)


def test_bare_npy_has_no_meta(tmp_path: Path) -> None:
    tokens = fsq().tokens
    assert tokens is not None
    np.save(tmp_path / "a.npy", np.asfortranarray(tokens))
    loaded = TokenFile.load(tmp_path / "a.npy")
    assert same(loaded.tokens, tokens)
    assert loaded.meta is None and loaded.time_ns is None
    loaded.save(tmp_path / "b.npy")
    assert same(TokenFile.load(tmp_path / "b.npy").tokens, tokens)
    loaded.check_fits(decoder(variant="any", levels=(8, 8, 8, 8), weights="any"))
    with pytest.raises(TokenFileError, match=r"range from 0 to 71; allowed: 0 to 49"):
        loaded.check_fits(decoder(variant="any", levels=(5, 10), weights="any"))


def test_saving_is_refused(tmp_path: Path) -> None:
    fsq().save(tmp_path / "a.npz")
    with pytest.raises(OutputExists):
        fsq().save(tmp_path / "a.npz")
    with pytest.raises(UsageError, match=r"stored as \.npz"):
        fsq().save(tmp_path / "a.npy")


def test_disk_full_leaves_nothing(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 32768, (3, 32, 48), dtype=np.int32)
    big = TokenFile(tokens=tokens, time_ns=np.zeros(3, np.int64), meta=META)
    with file_limit(2048), pytest.raises(OutputNotWritable):
        big.save(tmp_path / "a.npz")
    assert os.listdir(tmp_path) == []


# -- files that are refused


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(TokenFileError, match=sentence) as caught:
        TokenFile.load(path)
    assert str(path) in str(caught.value)


def test_not_a_token_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.npz", "no such file")
    refused(tmp_path, "not a regular file")
    for name, data in {"text": b"hello, world", "empty": b"", "png": b"\x89PNG\r\n"}.items():
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, r"neither \.npz nor \.npy")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    fsq().save(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", fsq().tokens)  # type: ignore[arg-type]
    for name in ("a.npz", "a.npy"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(len(data) * share)])
        refused(tmp_path / name, "Encode the clip again, or copy|Name a token file")


def test_flipped_bit_is_noticed(tmp_path: Path) -> None:
    written(tmp_path / "a.npz", **arrays(fsq()))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[data.index(np.int32(70).tobytes())] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    refused(tmp_path / "a.npz", "damaged.*CRC")


class Harm:
    """Would create a file when unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.place,))


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    harm = np.empty((1, 1, 1), object)
    harm[0, 0, 0] = Harm(tmp_path / "harmed")
    np.save(tmp_path / "a.npy", harm, allow_pickle=True)
    refused(tmp_path / "a.npy", "pickled Python objects, which are never loaded")
    written(tmp_path / "a.npz", **{**arrays(fsq()), "tokens": harm})
    refused(tmp_path / "a.npz", "pickled")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Harm(tmp_path / "harmed")))
    refused(tmp_path / "a.pkl", "neither")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["tokens", "time_ns", "meta", "mean", "logvar"])
def test_missing_array(tmp_path: Path, name: str) -> None:
    parts = arrays(fsq() if name in ("tokens", "time_ns", "meta") else kl())
    del parts[name]
    refused(written(tmp_path / "a.npz", **parts), "is missing")


TOKENS, TIMES = np.zeros((3, 4, 6), np.int32), np.zeros(3, np.int64)
LATENTS = np.zeros((3, 2, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tokens": TOKENS.astype(np.int64)}, r"tokens is int64 \(3, 4, 6\)"),
        ({"tokens": TOKENS[0]}, r"tokens is int32 \(4, 6\)"),
        ({"tokens": TOKENS[:0]}, r"none of them 0"),
        ({"tokens": TOKENS - 1}, r"range from -1 to -1; allowed: 0 to 32767"),
        ({"tokens": TOKENS + 32768}, r"range from 32768 to 32768; allowed: 0 to 32767"),
        ({"tokens": TOKENS[:, :3]}, r"32x48 pixels, but the latents are 3x6"),
        ({"tokens": TOKENS[:2]}, r"9 frames, but 2 latents stand for at most 8"),
        ({"time_ns": TIMES.astype(np.int32)}, "time_ns is int32"),
        ({"time_ns": TIMES[:2]}, r"time_ns is int64 \(2,\); allowed: int64 \(3,\)"),
        ({"time_ns": TIMES - np.arange(3)}, "goes back in time"),
        ({"meta": np.array("not json")}, "meta is not JSON"),
        ({"meta": np.array("[1]")}, "no JSON object"),
        ({"meta": np.array("[" * 5000)}, "meta is not JSON"),
        ({"meta": np.array(["a", "b"])}, "meta is <U1"),
        ({"meta": np.array(b"{}")}, "meta is "),
        ({"meta": np.array(" " * 70000)}, "meta is <U70000"),
    ],
)
def test_wrong_arrays(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    refused(written(tmp_path / "a.npz", **{**arrays(fsq()), **change}), sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mean": np.full_like(LATENTS, np.nan)}, "mean holds 144 values that are NaN"),
        ({"logvar": np.full_like(LATENTS, np.inf)}, "logvar holds 144"),
        ({"logvar": LATENTS[:, :1]}, "must be equal"),
        ({"mean": LATENTS.astype(np.float64)}, "mean is float64"),
    ],
)
def test_wrong_kl_arrays(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    refused(written(tmp_path / "a.npz", **{**arrays(kl()), **change}), sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 2}, "schema 2; this toolkit reads 1. Read it with the version"),
        ({"schema": None}, "schema None"),
        ({"schema": True}, "schema True"),
        ({"extra": 1}, "fields missing or unknown: extra"),
        ({"variant": 5}, "variant is 5; allowed: a string"),
        ({"height": 0}, "height is 0; allowed: a whole number from 1"),
        ({"width": 48.0}, "width is 48.0"),
        ({"frames": True}, "frames is True"),
        ({"codebook_size": "many"}, "codebook_size is 'many'"),
        ({"codebook_size": None}, "codebook_size is None; allowed: a number with tokens"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": "30"}, "fps is '30'"),
    ],
)
def test_wrong_meta(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    meta = np.array(json.dumps({**asdict(META), **change}))
    refused(written(tmp_path / "a.npz", **{**arrays(fsq()), "meta": meta}), sentence)


def test_both_kinds_or_none() -> None:
    with pytest.raises(TokenFileError, match="none of these"):
        TokenFile()
    with pytest.raises(TokenFileError, match="Got tokens, mean, logvar"):
        replace(kl(), tokens=TOKENS)
    with pytest.raises(TokenFileError, match="only one of meta and time_ns"):
        replace(fsq(), time_ns=None)


def test_claims_of_gigabytes_are_refused_by_their_header(tmp_path: Path) -> None:
    header = io.BytesIO()
    claim = {"descr": "<i4", "fortran_order": False, "shape": (10**6, 1024, 1024)}
    np.lib.format.write_array_header_1_0(header, claim)
    (tmp_path / "a.npy").write_bytes(header.getvalue())
    refused(tmp_path / "a.npy", "claims 4194304000000 bytes; allowed: 2147483648. Split the clip")
    parts = arrays(fsq())
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tokens.npy", header.getvalue() + bytes(10**6))
        for name in ("time_ns", "meta"):
            member = io.BytesIO()
            np.save(member, parts[name])
            archive.writestr(f"{name}.npy", member.getvalue())
    refused(tmp_path / "a.npz", "claims")


def test_data_longer_than_its_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", TOKENS)
    with (tmp_path / "a.npy").open("ab") as file:
        file.write(b"more")
    refused(tmp_path / "a.npy", "cut short or too long")
    monkeypatch.setattr(token_file, "MAX_ARRAY_BYTES", 100)
    refused(written(tmp_path / "a.npz", **arrays(fsq())), r"meta claims \d+ bytes; allowed: 100")


def test_newer_npy_version(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x03\x00" + bytes(100))
    refused(tmp_path / "a.npy", r"version \(3, 0\); allowed: 1.0 and 2.0")


@in_one_folder
@given(st.data())
def test_fuzzed_files_raise_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(["npz", "stored", "npy"]))
    buffer = io.BytesIO()
    if source == "npy":
        np.save(buffer, TOKENS)
    else:
        (np.savez if source == "stored" else np.savez_compressed)(buffer, **arrays(fsq()))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(len(damaged) // 2, len(damaged))) :]
    load_anything(tmp_path / "fuzzed", bytes(damaged))


@in_one_folder
@given(
    st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\x20\x00{"]),
    st.binary(max_size=200),
)
def test_random_bytes_raise_nothing_else(tmp_path: Path, start: bytes, rest: bytes) -> None:
    load_anything(tmp_path / "fuzzed", start + rest)


@in_one_folder
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2),
        max_leaves=3,
    ),
    st.sampled_from(sorted(asdict(META))),
)
def test_any_json_raises_nothing_else(tmp_path: Path, value: Any, name: str) -> None:
    text = json.dumps({**asdict(META), name: value})
    with suppress(TokenFileError):
        TokenMeta.from_json(text)


def load_anything(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        TokenFile.load(path)
    except TokenFileError as error:
        assert str(path) in str(error)


# -- fitting a decoder


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, None),
        ({"variant": "other"}, "made by vidtok_fsq_causal_488_32768; this decoder is other"),
        ({"weights": "cd" * 32}, "weights abababababab; this decoder has cdcdcdcdcdcd"),
        ({"height": 64, "width": 64}, "latents are 4x6; this decoder takes 8x8"),
        ({"latent": "kl", "levels": ()}, "holds FSQ tokens; this decoder takes KL"),
    ],
)
def test_check_fits(change: dict[str, Any], sentence: str | None) -> None:
    manifest = decoder(**change)
    if sentence is None:
        fsq().check_fits(manifest)
        return
    with pytest.raises(TokenFileError, match=sentence):
        fsq().check_fits(manifest)


def test_check_fits_kl() -> None:
    place: Any = {"variant": "vidtok_kl_causal_488_4chn", "latent": "kl", "levels": ()}
    kl().check_fits(decoder(**place, z_channels=2))
    with pytest.raises(TokenFileError, match="have 2 channels; this decoder takes 4"):
        kl().check_fits(decoder(**place, z_channels=4))
    with pytest.raises(TokenFileError, match="holds KL latents; this decoder takes FSQ"):
        kl().check_fits(decoder(variant=place["variant"]))
