"""The audit track: small pictures that common tools read, skipped where frames wait."""

from __future__ import annotations

import io
import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import make_clip
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory
from PIL import Image
from recordings import FSQ, WALL, latents, write

from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.exports.exporting import export_recording
from vidtok_edge.runtime.recording.format.compressed_image import SCHEMA, bytes_from_picture
from vidtok_edge.runtime.recording.recovery import recover
from vidtok_edge.runtime.session.audit import LONGEST_SIDE, MOST_BYTES, Audit, jpeg_from_pixels
from vidtok_edge.runtime.session.control import Control
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.parts_index import index_of, parts_in
from vidtok_edge.runtime.session.record import record
from vidtok_edge.runtime.session.replay import replay
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.session.trigger import TriggerPlan
from vidtok_edge.runtime.sources.frame import Frame
from vidtok_edge.runtime.streaming.latents import Stamp
from vidtok_edge.runtime.streaming.records import Picture, SourceRecords

ROOT = Path(__file__).resolve().parents[3]
NOISE = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
SECOND = 1_000_000_000


def frame(seconds: float, pixels: Any = NOISE[:16, :16]) -> Frame:
    at_ns = round(seconds * 1e9)
    return Frame(pixels, Stamp(capture_time_ns=at_ns, wall_time_ns=WALL + at_ns), 0)


def pictures(path: Path) -> list[tuple[str, int, Any]]:
    """Topic, log time and message of each, as tools for ROS see them."""
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        return [
            (channel.topic, message.log_time, image)
            for schema, channel, message, image in reader.iter_decoded_messages()
            if schema is not None and schema.name == "sensor_msgs/msg/CompressedImage"
        ]


@pytest.mark.parametrize(
    ("pixels", "size"),
    [
        (NOISE, (320, 180)),
        (NOISE[:256, :256], (256, 256)),
        (NOISE[:700, :40], (18, 320)),
        (NOISE[:16, :16], (16, 16)),
    ],
)
def test_a_picture_is_small_whatever_is_on_it(pixels: Any, size: tuple[int, int]) -> None:
    jpeg = jpeg_from_pixels(pixels)
    assert jpeg is not None and len(jpeg) <= MOST_BYTES
    image = Image.open(io.BytesIO(jpeg))
    assert image.size == size and max(image.size) <= LONGEST_SIDE
    assert abs(np.asarray(image).mean() - pixels.mean()) < 6


@given(st.integers(0, 300), st.integers(0, 2**40), st.binary(max_size=9))
def test_the_message_is_that_of_ros(source: int, wall_ns: int, jpeg: bytes) -> None:
    picture = Picture(source=source, time_ns=5, wall_time_ns=WALL + wall_ns, jpeg=jpeg)
    decode = DecoderFactory().decoder_for("cdr", Schema(1, SCHEMA[1], "ros2msg", SCHEMA[0]))
    assert decode is not None
    found = decode(bytes_from_picture(picture))
    assert found.header.stamp.sec * SECOND + found.header.stamp.nanosec == WALL + wall_ns
    assert (found.header.frame_id, found.format) == (f"camera{source}", "jpeg")
    assert bytes(found.data) == jpeg


def test_one_is_made_so_often_of_each_source() -> None:
    audit, found = Audit(2), []
    for at in range(100):
        for source in (0, 1):
            if audit.look(source, frame(at / 10 + source), late=False) is not None:
                found.append((source, at))
    assert found == [(s, at) for at in range(0, 100, 20) for s in (0, 1)]
    assert audit.told(0, 0) is None and not audit.skipped


def test_one_that_would_make_frames_late_waits_and_is_skipped_where_that_lasts() -> None:
    audit, found = Audit(1), []
    late = {*range(8, 13), *range(20, 55)}
    for at in range(80):
        if audit.look(0, frame(at / 10), late=at in late) is not None:
            found.append(at)
    assert found == [0, 13, 55, 65, 75]
    assert audit.skipped == {0: 3} and audit.pictures == {0: 5}
    told = audit.told(7, 8)
    assert told is not None and json.loads(told.text) == {"audit": {"0": 3}}
    assert audit.told(7, 8) is None, "once"


def test_a_picture_of_no_source_is_refused(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "a.mcap", FSQ, ["cam"]) as writer:
        for source in (-1, 1):
            with pytest.raises(UsageError, match="There is no source"):
                writer.show(Picture(source=source, time_ns=0, wall_time_ns=0, jpeg=b""))


def test_pictures_lie_beside_latents_and_survive_what_is_done_to_a_recording(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovered, replayed, exported; and got out by the lines of the documentation."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (90, 16, 16, 3), np.uint8)
    request = RecordRequest(
        bundle=Bundle.load(tiny),
        sources=(str(make_clip(tmp_path / "a.mkv", frames)), "synthetic:60"),
        output=tmp_path / "drive.mcap",
        backend="cpu",
        options=RecordOptions(duration_s=1.5, audit_s=0.2),
    )
    done = record(request)
    assert [source.pictures > 0 for source in done.sources] == [True, True]
    found = pictures(request.output)
    assert len(found) == sum(source.pictures for source in done.sources)
    assert {topic for topic, _, _ in found} == {
        *("/camera0/image/compressed", "/camera1/image/compressed"),
    }
    for _, _, message in found:
        assert Image.open(io.BytesIO(bytes(message.data))).size == (16, 16)
    assert recover(request.output, tmp_path / "whole.mcap")
    again = pictures(tmp_path / "whole.mcap")
    assert [(t, n, bytes(m.data)) for t, n, m in again] == [
        (t, n, bytes(m.data)) for t, n, m in found
    ]
    played = replay(request.output, request.bundle, tmp_path / "a.mp4", source=1)
    assert played.frames == done.sources[1].frames_encoded and not played.unreadable
    exported = export_recording(request.output, tmp_path / "set", "npz")
    assert exported.latents == sum(source.latents for source in done.sources)
    assert not exported.unreadable
    [lines] = [
        block
        for block in re.findall(
            r"```python\n(.*?)```", (ROOT / "docs/recording_a_robot.md").read_text(), re.DOTALL
        )
        if "CompressedImage" in block
    ]
    script = tmp_path / "pictures.py"
    script.write_text(lines.replace('"drive.mcap"', repr(str(request.output))))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script))
    assert len(list(tmp_path.glob("camera*.jpg"))) == len(found)


def test_rerun_reads_pictures_and_latents_of_a_recording(tmp_path: Path) -> None:
    pytest.importorskip("rerun.chunk", reason="Rerun 0.41 reads files; older ones only write them")
    from rerun.chunk import McapReader

    jpeg = jpeg_from_pixels(NOISE)
    assert jpeg is not None
    camera = SourceRecords(0)
    with RecordingWriter(tmp_path / "a.mcap", FSQ, ["cam"]) as writer:
        writer.take(camera.start("start", 0, WALL, fps=30))
        writer.show(Picture(source=0, time_ns=5, wall_time_ns=WALL + 5, jpeg=jpeg))
        for one in camera.encoded(latents(0, 0, at=0), encode_start_ns=0, encode_end_ns=0):
            writer.take(one)
    shown: dict[str, list[Any]] = {}
    for chunk in McapReader(tmp_path / "a.mcap").stream():
        batch = chunk.to_record_batch()
        for name in ("EncodedImage:blob", "vidtok_edge.msg.Latent:message"):
            if name in batch.schema.names:
                shown.setdefault(chunk.entity_path, []).extend(batch.column(name).to_pylist())
    assert [bytes(blob) for [blob] in shown["/camera0/image/compressed"]] == [jpeg]
    assert len(shown["/camera0/latents"]) == 1


def test_a_recording_that_is_cut_off_keeps_its_pictures(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "a.mcap", FSQ, ["cam"])
    camera = SourceRecords(0)
    writer.take(camera.start("start", 0, WALL))
    for number in range(5):
        write(writer, camera, latents(0, number))
        jpeg = bytes([number]) * 10
        writer.show(Picture(source=0, time_ns=number, wall_time_ns=WALL + number, jpeg=jpeg))
        writer.flush()
    (tmp_path / "cut.mcap").write_bytes((tmp_path / "a.mcap").read_bytes())
    writer.close()
    recover(tmp_path / "cut.mcap", tmp_path / "whole.mcap")
    found = [bytes(message.data) for _, _, message in pictures(tmp_path / "whole.mcap")]
    assert found == [bytes([number]) * 10 for number in range(5)]
    with Recording.open(tmp_path / "cut.mcap") as recording:
        assert len(list(recording.entries())) == 6 and not recording.unreadable


def test_pictures_are_part_of_an_event(tiny: Path, tmp_path: Path) -> None:
    """Those of before the trigger come out of the ring."""
    control = Control()
    request = RecordRequest(
        bundle=Bundle.load(tiny),
        sources=("synthetic:50",),
        output=tmp_path / "drive.mcap",
        backend="cpu",
        parts=PartsPlan(events=True),
        trigger=TriggerPlan(before_s=1, after_s=0.2),
        options=RecordOptions(duration_s=2.5, audit_s=0.1),
    )
    latents_seen = 0

    def look(done: Any) -> None:
        nonlocal latents_seen
        if done.sources[0].latents > 12 and not latents_seen:
            latents_seen = done.sources[0].latents
            control.trigger("half way")

    done = record(request, control=control, progress=look)
    assert done.events == 1
    [path] = parts_in(index_of(request.output))
    assert len(pictures(path)) >= 5
    assert recover(path, tmp_path / "again.mcap")


def test_what_is_no_interval_is_refused() -> None:
    with pytest.raises(UsageError, match="audit_s is 0; allowed"):
        RecordOptions(audit_s=0)
