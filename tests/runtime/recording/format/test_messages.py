"""Messages: read back by ourselves and by a library of others, and never believed blindly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from recordings import FSQ, KL, record, values_of

from vidtok_edge.errors import RecordingError, StreamError
from vidtok_edge.runtime.coding.packing import unpack
from vidtok_edge.runtime.recording import Tokenizer
from vidtok_edge.runtime.recording.format.messages import (
    bytes_from_latent,
    bytes_from_marker,
    latent_from_bytes,
    marker_from_bytes,
)
from vidtok_edge.runtime.streaming.latents import Stamp
from vidtok_edge.runtime.streaming.records import LatentRecord, Marker


def latent(values: Any = None, tokenizer: Tokenizer = FSQ) -> LatentRecord:
    values = values_of(0, 7, tokenizer) if values is None else values
    return LatentRecord(
        source=0,
        stream=3,
        index=7,
        first_frame=25,
        frames_real=4,
        stamp=Stamp(capture_time_ns=10**15, wall_time_ns=2**60),
        encode_start_ns=-5,
        encode_end_ns=12,
        values=values,
        log_time_ns=99,
    )


@pytest.mark.parametrize("tokenizer", [FSQ, KL])
def test_a_latent_comes_back_as_it_was(tokenizer: Tokenizer) -> None:
    before = latent(tokenizer=tokenizer)
    data = bytes_from_latent(before, tokenizer)
    after = latent_from_bytes(data, 0, tokenizer, 99)
    np.testing.assert_array_equal(after.values, before.values)
    assert after.values.dtype == (np.int32 if tokenizer is FSQ else np.float32)
    none = np.zeros(0)
    facts = [
        [getattr(x, name) for name in LatentRecord.__slots__ if name != "values"]
        for x in (before, after)
    ]
    assert facts[0] == facts[1] and replace(before, values=none) is not before
    assert bytes_from_latent(after, tokenizer) == data


@given(
    st.sampled_from(["start", "key", "drop", "lost", "end"]),
    st.text(max_size=50),
    st.integers(0, 2**40),
)
def test_a_marker_comes_back_as_it_was(kind: Any, detail: str, frames: int) -> None:
    before = Marker(
        source=1,
        kind=kind,
        stream=2,
        index=8,
        frames=frames,
        detail=detail.replace("\0", " "),
        time_ns=-3,
        wall_time_ns=2**61,
        fps=29.97,
        latents=12,
        log_time_ns=5,
    )
    assert marker_from_bytes(bytes_from_marker(before), 1, 5) == before


def test_a_reader_of_others_shows_every_field(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 3, sources=1)
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        found = [(c, m) for _, c, _, m in reader.iter_decoded_messages()]
    markers = [m for c, m in found if c.topic == "/camera0/markers"]
    assert [(m.kind, m.detail, m.fps, m.latents) for m in markers] == [
        ("start", "", 40.0, 0),
        ("end", "the file ended", 0.0, 3),
    ]
    channel, message = [(c, m) for c, m in found if c.topic == "/camera0/latents"][2]
    assert (message.index, message.first_frame, message.frames_real) == (2, 5, 4)
    assert message.capture_time_ns == 200_000_000
    bits, size = int(channel.metadata["bits_per_value"]), int(channel.metadata["codebook_size"])
    assert (bits, size) == (15, 32768) and "frame 0" in channel.metadata["frames_of_latent"]
    grid = [int(channel.metadata[f"grid_{side}"]) for side in ("height", "width")]
    tokens = unpack(bytes(message.data), 6, bits).reshape(grid)
    np.testing.assert_array_equal(tokens, values_of(0, 2))


def test_kl_latents_beyond_fp16_are_brought_to_its_ends() -> None:
    values = np.array([1e6, -1e6, 1, 2, 3, 4] * 2, np.float32).reshape(2, 2, 3)
    back = latent_from_bytes(bytes_from_latent(latent(values, KL), KL), 0, KL, 0)
    assert back.values.reshape(-1)[:2].tolist() == [65504, -65504]


@pytest.mark.parametrize(
    ("values", "tokenizer", "match"),
    [
        (np.full((2, 3), 32768, np.int32), FSQ, "0 to 32767"),
        (np.full((2, 3), -1, np.int32), FSQ, "0 to 32767"),
        (np.zeros((3, 3), np.int32), FSQ, r"\(2, 3\)"),
        (np.full((2, 2, 3), np.nan, np.float32), KL, "NaN"),
    ],
)
def test_what_the_tokenizer_cannot_have_made_is_not_recorded(
    values: Any, tokenizer: Tokenizer, match: str
) -> None:
    with pytest.raises(StreamError, match=match):
        bytes_from_latent(latent(values, tokenizer), tokenizer)


SMALL = replace(FSQ, levels=(5, 5))  # 25 tokens in 5 bits: 25 to 31 exist on disk only


@pytest.mark.parametrize(
    ("field", "value"), [("index", 6), ("first_frame", 24), ("frames_real", 5)]
)
def test_a_latent_that_contradicts_itself_is_refused(field: str, value: int) -> None:
    data = bytes_from_latent(replace(latent(), **{field: value}), FSQ)  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match="claims"):
        latent_from_bytes(data, 0, FSQ, 0)


def test_a_token_outside_the_codebook_is_refused() -> None:
    wide = replace(FSQ, levels=(8, 4))
    data = bytes_from_latent(latent(np.full((2, 3), 25, np.int32)), wide)
    assert latent_from_bytes(data, 0, wide, 0)
    with pytest.raises(RecordingError, match="at most 24"):
        latent_from_bytes(data, 0, SMALL, 0)


@given(st.data())
def test_damaged_messages_are_refused_or_sound(data: st.DataObject) -> None:
    marker = data.draw(st.booleans())
    happened = Marker(
        source=0,
        kind="drop",
        stream=1,
        index=2,
        frames=3,
        detail="restart",
        time_ns=4,
        wall_time_ns=5,
    )
    whole = bytes_from_marker(happened) if marker else bytes_from_latent(latent(), FSQ)
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        if marker:
            marker_from_bytes(bytes(damaged), 0, 0)
        else:
            latent_from_bytes(bytes(damaged), 0, FSQ, 0)
    except RecordingError:
        pass


@pytest.mark.parametrize("tokenizer", [FSQ, KL, SMALL, replace(FSQ, causal=False, window=4)])
def test_a_fingerprint_comes_back_as_it_was(tokenizer: Tokenizer) -> None:
    assert Tokenizer.from_map(tokenizer.to_map()) == tokenizer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("height", "0"),
        ("height", "x"),
        ("levels", "1,2"),
        ("levels", ""),
        ("latent", "vq"),
        ("causal", "yes"),
        ("z_channels", "99999"),
        ("grid_width", "5"),
        ("variant", None),
        ("window", "0"),
        ("window", "4"),
        ("window", None),
    ],
)
def test_a_damaged_fingerprint_is_refused(name: str, value: str | None) -> None:
    facts: dict[str, str] = FSQ.to_map()
    facts.pop(name)
    with pytest.raises(RecordingError):
        Tokenizer.from_map(facts if value is None else facts | {name: value})
