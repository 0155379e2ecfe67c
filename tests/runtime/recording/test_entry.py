"""Playing from the middle: a decoder that begins one reach earlier gives the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from stamps import stamp

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.coding.latent_coder import LatentCoder
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import Lead, Playback
from vidtok_edge.runtime.streaming.records import LatentRecord, SourceRecords

FPS, LATENTS = 40, 52
WALL = 1_700_000_000_000_000_000
pytestmark = pytest.mark.xdist_group("embedded")


@pytest.fixture(scope="module")
def drive(embedded: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, encoded by the shipped tokenizer: no frame is like the one before."""
    path = tmp_path_factory.mktemp("entry") / "drive.mcap"
    frames = np.random.default_rng(5).integers(0, 256, (4 * LATENTS - 3, 64, 96, 3), np.uint8)
    camera = SourceRecords(0)
    times = [number * 10**9 // FPS for number in range(len(frames))]
    with (
        embedded.encoder("cpu", threads=2) as encoder,
        RecordingWriter(path, Tokenizer.of(embedded), ["camera"]) as writer,
    ):
        writer.take(camera.start("start", 0, WALL, fps=FPS))
        for frame, time_ns in zip(frames, times, strict=True):
            for latents in encoder.push(frame, stamp=stamp(time_ns, WALL)):
                for record in camera.encoded(latents, encode_start_ns=0, encode_end_ns=0):
                    writer.take(record)
        writer.take(camera.end("end", times[-1], WALL + times[-1]))
    return path


def played(
    drive: Path, bundle: Bundle, start_s: float | None, fast_start: int | None = None
) -> tuple[list[bytes], int, Playback]:
    """The frames, how many calls they took, and how it went."""
    with Recording.open(drive) as recording, bundle.decoder("cpu", threads=2) as decoder:
        playback = Playback(
            recording=recording,
            decoder=decoder,
            source=0,
            fps=FPS,
            start_s=start_s,
            fast_start=fast_start,
        )
        return [frame.pixels.tobytes() for frame in playback], decoder.calls, playback


@pytest.fixture(scope="module")
def whole(drive: Path, embedded: Bundle) -> Iterator[list[bytes]]:
    frames, calls, _ = played(drive, embedded, None)
    assert (len(frames), calls) == (4 * LATENTS - 3, LATENTS)
    yield frames


@pytest.mark.parametrize("start", [150, 171, 180, 199])
def test_a_part_is_the_whole_bit_for_bit(
    drive: Path, whole: list[bytes], embedded: Bundle, start: int
) -> None:
    reach = embedded.manifest.reach("decoder")
    assert reach is not None
    frames, calls, playback = played(drive, embedded, start / FPS)
    assert frames == whole[start:]
    rest = LATENTS - -(-start // 4)
    assert calls <= rest + reach + 3 < LATENTS, "what came before was not decoded"
    assert (playback.streams, playback.broken) == (1, 0), "nothing was missing"


def test_a_shorter_lead_is_seen(
    drive: Path, whole: list[bytes], embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Manifest, "reach", lambda self, kind: 8)
    frames, _, _ = played(drive, embedded, 180 / FPS)
    assert len(frames) == len(whole[180:]) and frames[0] != whole[180]


def test_a_fast_start_decodes_little_and_is_near(
    drive: Path, whole: list[bytes], embedded: Bundle
) -> None:
    rest, lost = LATENTS - 45, []
    for lead in (1, 4, 1000):
        frames, calls, playback = played(drive, embedded, 180 / FPS, fast_start=lead)
        assert len(frames) == len(whole[180:]) and playback.broken == 0
        pairs = zip(b"".join(frames), b"".join(whole[180:]), strict=True)
        lost.append(sum((a - b) ** 2 for a, b in pairs))
        if lead < 1000:
            assert calls == rest + lead
    assert lost[0] > lost[1] > lost[2] == 0


def test_where_the_reach_is_not_known_everything_is_decoded(
    drive: Path, whole: list[bytes], embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Manifest, "reach", lambda self, kind: None)
    frames, calls, _ = played(drive, embedded, 190 / FPS)
    assert frames == whole[190:] and calls == LATENTS


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_a_lead_begins_where_a_call_of_everything_begins(chunk: int) -> None:
    lead = Lead(chunk=chunk, most=7 + chunk)
    for index in range(23):
        lead.keep(cast(LatentRecord, SimpleNamespace(stream=0, index=index)), [index])
    kept, entered = lead.latents()
    times = [times_ns[0] for _, times_ns in kept]
    assert entered and times[0] % chunk == 0 and times == list(range(times[0], 23))
    assert 7 <= len(times) <= 7 + chunk


def test_a_lead_counts_from_where_latents_were_missing() -> None:
    lead = Lead(chunk=4, most=10)
    for index in [*range(5), *range(7, 14)]:
        lead.keep(cast(LatentRecord, SimpleNamespace(stream=0, index=index)), [index])
    kept, entered = lead.latents()
    assert [times_ns[0] for _, times_ns in kept][:2] == [4, 7] and entered


def test_a_part_of_a_coded_recording_is_the_whole_bit_for_bit(
    drive: Path,
    whole: list[bytes],
    embedded: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And no more latents are decoded than the decoder remembers, and those before in a chunk."""
    path, chunk = tmp_path / "coded.mcap", 5
    with (
        Recording.open(drive) as recording,
        RecordingWriter(
            path, Tokenizer.of(embedded), ["camera"], flush_interval_s=3600, code="entropy"
        ) as writer,
    ):
        for number, entry in enumerate(recording.entries()):
            writer.take(entry)
            if number % chunk == 0:
                writer.flush()
    decode, places = LatentCoder.decode, []

    def noted(coder: LatentCoder, data: bytes) -> NDArray[np.int32]:
        places.append(data[1])
        return decode(coder, data)

    monkeypatch.setattr(LatentCoder, "decode", noted)
    frames, _, playback = played(path, embedded, 199 / FPS)
    assert frames == whole[199:] and playback.streams == 1 and not playback.broken
    reach = embedded.manifest.reach("decoder")
    assert reach is not None and len(places) <= reach + 5 + chunk < LATENTS
