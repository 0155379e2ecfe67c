"""Exports with data channels: every row is held to a channel that says its own time."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from recordings import FSQ, PER_LATENT, SECOND, WALL, latents, record, write

from vidtok_edge.errors import DatasetError, RecordingError, UsageError
from vidtok_edge.runtime.joining.bags import Take
from vidtok_edge.runtime.joining.joining import join
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.exporting import CONTENTS, Format, export_recording
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

EVERY_NS = SECOND // 128  # so that seconds are exact in float32
LATENTS = 12


def sample(at_ns: int, channel: str = "action", values: Any = None) -> Sample:
    own = [at_ns / SECOND, -at_ns / SECOND] if values is None else values
    return Sample(
        channel=channel,
        time_ns=at_ns,
        wall_time_ns=WALL + at_ns,
        values=np.array(own, np.float64),
    )


def recorded(
    path: Path,
    *,
    begin_ns: int = -5 * EVERY_NS,
    until_ns: int = LATENTS * PER_LATENT,
    sources: int = 1,
) -> Path:
    """Latents at multiples of 0.1 s, and samples of `action` that say their seconds."""
    names = [f"cam{n}" for n in range(sources)]
    with RecordingWriter(path, FSQ, names, flush_interval_s=1000) as writer:
        cameras = [SourceRecords(source) for source in range(sources)]
        for camera in cameras:
            writer.take(camera.start("start", 0, WALL, fps=40))
        at_ns = begin_ns
        for i in range(LATENTS):
            for camera in cameras:
                write(writer, camera, latents(camera.source, i))
            while at_ns < min((i + 1) * PER_LATENT, until_ns):
                writer.log(sample(at_ns), ("s", "minus_s"))
                writer.log(sample(at_ns, "arm/state", [i]))
                at_ns += EVERY_NS
        event = Sample(channel="task", time_ns=SECOND // 2, wall_time_ns=WALL, text="open")
        writer.log(event)
        for camera in cameras:
            writer.take(camera.end("over", LATENTS * PER_LATENT, WALL + LATENTS * PER_LATENT))
    return path


def last_before(latent: int) -> float:
    """Seconds of the last sample up to a latent."""
    return (latent * PER_LATENT // EVERY_NS) * EVERY_NS / SECOND


def test_lerobot_rows_have_the_last_sample(tmp_path: Path) -> None:
    export_recording(recorded(tmp_path / "a.mcap"), tmp_path / "out", "lerobot", state="arm/state")
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"]["action"] == {
        "dtype": "float32",
        "shape": [2],
        "names": ["s", "minus_s"],
        "info": {"channel": "action"},
    }
    assert info["features"]["observation.state"]["shape"] == [1]
    rows = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet").to_pylist()
    assert [row["action"] for row in rows] == [
        [last_before(i), -last_before(i)] for i in range(LATENTS)
    ]
    ages = [i * PER_LATENT - round(last_before(i) * SECOND) for i in range(LATENTS)]
    assert [row["age_ns.action"] for row in rows] == ages
    recording = json.loads((tmp_path / "out/meta/recording.json").read_text())
    assert recording["data"]["channels"]["action"]["latents_without"] == 0
    assert [e["text"] for e in recording["events"]] == ["open"]


def test_npz_has_all_samples_and_values_between(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap")
    request = DataRequest(channels=["action"], align="interpolate")
    export_recording(path, tmp_path / "out", "npz", data=request)
    [entry] = json.loads((tmp_path / "out" / CONTENTS).read_text())["episodes"]
    with np.load(tmp_path / "out" / entry["data_file"]) as data:
        assert not any(name.startswith("arm") for name in data)
        seconds = np.arange(LATENTS) * PER_LATENT / SECOND
        between = seconds[:-1]  # behind the last latent there is no sample to draw a line to
        np.testing.assert_allclose(data["action.value"][: len(between), 0], between, atol=1e-12)
        first, times = data["action.first"], data["action.sample_times_ns"] - WALL
        assert first[0] == 0 and first[-1] == len(times)
        for i in range(1, LATENTS):
            own = times[first[i] : first[i + 1]]
            assert ((own > (i - 1) * PER_LATENT) & (own <= i * PER_LATENT)).all()
            assert len(own) in (12, 13)
        np.testing.assert_array_equal(data["action.samples"][:, 0], times / SECOND)


def test_shards_have_the_same_beside_their_latents(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", sources=2)
    export_recording(path, tmp_path / "out", "webdataset", sample_latents=5, shards=1)
    found = {}
    with tarfile.open(tmp_path / "out/shard-000000.tar") as tar:
        for member in tar:
            if member.name.endswith(".data.npz"):
                file = tar.extractfile(member)
                assert file is not None
                with np.load(io.BytesIO(file.read())) as data:
                    found[member.name.split(".")[0]] = data["action.value"][:, 0].tolist()
    assert len(found) == 6, "two cameras of 12 latents, 5 in a sample"
    for key, values in found.items():
        begin = int(key.split("-")[1])
        assert values == [last_before(begin + i) for i in range(len(values))]


def test_latents_without_a_value_end_an_episode_and_are_counted(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", until_ns=6 * PER_LATENT)
    request = DataRequest(max_age_s=0.15)
    done = export_recording(path, tmp_path / "out", "lerobot", data=request)
    [data] = done.data
    facts = data.facts()
    # The last sample is just before latent 6; latent 8 is over 0.15 s behind it.
    assert (done.latents, facts["latents_left_out"]) == (8, LATENTS - 8)
    assert facts["channels"]["action"]["latents_without"] == LATENTS - 8


def test_they_can_be_kept_and_spoil_no_statistics(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", until_ns=6 * PER_LATENT)
    request = DataRequest(max_age_s=0.15, missing="keep")
    done = export_recording(path, tmp_path / "out", "lerobot", data=request)
    assert done.latents == LATENTS
    rows = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet").to_pylist()
    assert [np.isnan(row["action"][0]) for row in rows] == [False] * 8 + [True] * 4
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    assert stats["action"]["count"] == [8]
    assert stats["action"]["max"][0] == pytest.approx(last_before(6), abs=EVERY_NS / SECOND)


def test_nothing_left_says_why(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", begin_ns=EVERY_NS // 2, until_ns=2 * PER_LATENT)
    request = DataRequest(max_age_s=0.0001, channels=["arm/state"])
    with pytest.raises(RecordingError, match="None of the 12 latents has a value of every"):
        export_recording(path, tmp_path / "out", "npz", data=request)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("asked", ["action", "state"])
def test_a_channel_that_is_not_there_becomes_no_feature(tmp_path: Path, asked: str) -> None:
    path = recorded(tmp_path / "a.mcap")
    said = rf"No data channel 'arm/stat' .* to be {asked}; there are: action, arm/state\. Name"
    with pytest.raises(RecordingError, match=said):
        export_recording(path, tmp_path / "out", "lerobot", **{asked: "arm/stat"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="arm/state is to be action and state"):
        export_recording(path, tmp_path / "out", "lerobot", action="arm/state", state="arm/state")
    assert not (tmp_path / "out").exists()


def test_features_that_are_there_already_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with RecordingWriter(path, FSQ, ["cam"]) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        writer.log(sample(0, "tokens"))
        write(writer, camera, latents(0, 0))
    with pytest.raises(RecordingError, match=r"would be the feature observation\.tokens"):
        export_recording(path, tmp_path / "out", "lerobot")


def test_several_recordings_are_one_set(tmp_path: Path) -> None:
    paths = [recorded(tmp_path / f"{name}.mcap") for name in "ab"]
    done = export_recording(paths, tmp_path / "out", "lerobot", data=DataRequest(missing="keep"))
    assert (done.episodes, done.latents) == (2, 2 * LATENTS)
    rows = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet").to_pylist()
    assert [row["episode_index"] for row in rows] == [0] * LATENTS + [1] * LATENTS
    assert [row["index"] for row in rows] == list(range(2 * LATENTS))
    assert [row["action"] for row in rows[:LATENTS]] == [row["action"] for row in rows[LATENTS:]]
    facts = json.loads((tmp_path / "out/meta/recording.json").read_text())
    assert [(r["file"], r["first_episode"]) for r in facts["recordings"]] == [
        ("a.mcap", 0),
        ("b.mcap", 1),
    ]


def test_recordings_of_other_channels_are_no_set(tmp_path: Path) -> None:
    first = recorded(tmp_path / "a.mcap")
    other = tmp_path / "b.mcap"
    with RecordingWriter(other, FSQ, ["cam"]) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        writer.log(sample(0, "action", [1.0]))
        for i in range(3):
            write(writer, camera, latents(0, i))
    said = (
        r"b\.mcap has the data channels action \[1\], and .*a\.mcap action \[2\], arm/state \[1\]"
    )
    with pytest.raises(RecordingError, match=said):
        export_recording([first, other], tmp_path / "out", "lerobot")
    assert not (tmp_path / "out").exists()


def named(path: Path, *fields: str, of: float | None = None) -> Path:
    """A recording whose `action` calls its two values so, which are `of`, or say their time."""
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        for i in range(4):
            write(writer, camera, latents(0, i))
            values = None if of is None else [of, of]
            writer.log(sample(i * PER_LATENT, values=values), fields)
        writer.take(camera.end("over", 4 * PER_LATENT, WALL))
    return path


@pytest.mark.parametrize("format", ["npz", "webdataset", "lerobot", "parquet"])
def test_values_that_are_called_otherwise_are_no_column_of_one_set(
    tmp_path: Path, format: Format
) -> None:
    first, nameless = named(tmp_path / "a.mcap", "x", "y"), named(tmp_path / "b.mcap")
    swapped = named(tmp_path / "c.mcap", "y", "x")
    said = r"values of action are y, x in .*c\.mcap, and x, y in "
    if format in ("lerobot", "parquet"):
        with pytest.raises(DatasetError, match=said):
            export_recording([first, swapped], tmp_path / "both", format)
    export_recording([first, nameless], tmp_path / "set", format)
    with pytest.raises(DatasetError, match=said):
        export_recording(swapped, tmp_path / "set", format, append=True)


def test_recordings_that_were_merged_have_each_their_own_robot(tmp_path: Path) -> None:
    """Both have an `action` at the same times; a third has none, and goes with what is there."""
    paths = [named(tmp_path / f"{n}.mcap", of=n) for n in (1, 2)]
    merged = mcap_merge(tmp_path / "both.mcap", paths)
    export_recording(merged, tmp_path / "out", "parquet")
    table = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert [(row["source"], *row["action"]) for row in table] == [(0, 1, 1)] * 4 + [(1, 2, 2)] * 4
    alone = record(tmp_path / "alone.mcap", 4, sources=1)
    merged = mcap_merge(tmp_path / "with.mcap", [paths[0], alone])
    done = export_recording(merged, tmp_path / "two", "parquet")
    assert done.latents == 8


def test_a_camera_without_a_robot_has_none_of_several(tmp_path: Path) -> None:
    """Beside it is what was joined; where that is not there either, no value."""
    paths = [named(tmp_path / f"{n}.mcap", of=n) for n in (1, 2)]
    alone = record(tmp_path / "alone.mcap", 4, sources=1)
    merged, keep = mcap_merge(tmp_path / "three.mcap", [*paths, alone]), DataRequest(missing="keep")
    done = export_recording(merged, tmp_path / "three", "parquet")
    assert (done.latents, done.data[0].left_out) == (8, 4)
    export_recording(merged, tmp_path / "kept", "parquet", data=keep)
    table = pq.read_table(tmp_path / "kept" / "data").to_pylist()
    assert [row["action"][0] for row in table[:8]] == [1] * 4 + [2] * 4
    assert np.isnan([row["action"] for row in table[8:]]).all()
    merged = mcap_merge(tmp_path / "both.mcap", [paths[0], joined(alone, 3)])
    export_recording(merged, tmp_path / "two", "parquet")
    table = pq.read_table(tmp_path / "two" / "data").to_pylist()
    assert [row["action"][0] for row in table] == [1] * 4 + [3] * 4
    plain = mcap_merge(tmp_path / "plain.mcap", [record(tmp_path / "b.mcap", 4, sources=1), alone])
    export_recording(joined(plain, 5), tmp_path / "all", "parquet")
    table = pq.read_table(tmp_path / "all" / "data").to_pylist()
    assert [row["action"][0] for row in table] == [5] * 8, "of no recording, and so of each"


def joined(path: Path, value: float) -> Path:
    """The recording with an `action` from a bag, both of whose values are always the same."""
    bag, output = path.with_name("bag.mcap"), path.with_name(f"joined-{path.name}")
    with bag.open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/arm", "json", 0)
        for i in range(4):
            at_ns = WALL + i * PER_LATENT
            writer.add_message(channel, at_ns, json.dumps({"q": [value] * 2}).encode(), at_ns)
        writer.finish()  # type: ignore[no-untyped-call]
    join(path, bag, output, [Take.parse("/arm:q=action")])
    return output


def test_two_recordings_to_which_robots_were_joined_keep_them(tmp_path: Path) -> None:
    paths = [joined(record(tmp_path / f"{n}.mcap", 4, sources=1), n) for n in (1, 2)]
    merged = mcap_merge(tmp_path / "both.mcap", paths)
    export_recording(merged, tmp_path / "out", "parquet")
    table = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert [(row["source"], row["action"][0]) for row in table] == [(0, 1)] * 4 + [(1, 2)] * 4


def test_a_recording_that_was_merged_with_itself_is_there_once(tmp_path: Path) -> None:
    path = named(tmp_path / "a.mcap", "x", "y")
    merged = mcap_merge(tmp_path / "both.mcap", [path, path])
    with Recording.open(merged) as recording:
        assert list(recording.sources) == [0]
        assert len(list(recording.samples("action"))) == 4
    assert export_recording(merged, tmp_path / "out", "parquet").latents == 4


def test_recordings_that_were_merged_call_values_alike(tmp_path: Path) -> None:
    paths = [named(tmp_path / "a.mcap", "x", "y"), named(tmp_path / "b.mcap", "y", "x")]
    merged = mcap_merge(tmp_path / "both.mcap", paths)
    with pytest.raises(RecordingError, match="action, whose values are x, y, and y, x"):
        export_recording(merged, tmp_path / "out", "npz")


def mcap_merge(output: Path, inputs: list[Path]) -> Path:
    """As the `mcap` command does: messages by their times, channels numbered anew."""
    with output.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        found = []
        for path in inputs:
            numbers: dict[int, int] = {}
            with path.open("rb") as source:
                for schema, channel, message in make_reader(source).iter_messages():
                    assert schema is not None
                    if channel.id not in numbers:
                        known = writer.register_schema(schema.name, schema.encoding, schema.data)
                        numbers[channel.id] = writer.register_channel(
                            channel.topic, "cdr", known, channel.metadata
                        )
                    found.append((message.log_time, numbers[channel.id], message))
        for at_ns, number, message in sorted(found, key=lambda one: one[0]):
            writer.add_message(number, at_ns, message.data, message.publish_time, message.sequence)
        writer.finish()  # type: ignore[no-untyped-call]
    return output
