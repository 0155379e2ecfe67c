"""The video of a LeRobot dataset: row i shows the last frame of latent i, and it is where it is
said to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from recordings import FSQ, SECOND, WALL, latents, write
from stories import eventful

from vidtok_edge.errors import (
    DatasetError,
    MissingFromEnvironment,
    RecordingError,
    UsageError,
)
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.clips import video_files
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports import lerobot_before
from vidtok_edge.runtime.recording.exports.existing import RECONSTRUCTION
from vidtok_edge.runtime.recording.exports.exporting import export_recording
from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

STEP = (20, 33)
"""What each token of a source holds: the pictures of the tiny decoder are as bright as the sum of
the latents of their stream."""
NEAR = 4
"""How far the brightness of a picture is from what was decoded, behind the codec."""


@pytest.fixture
def tokenizer(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Tokenizer:
    def plain(source: int, index: int, tokenizer: Tokenizer = FSQ) -> NDArray[Any]:
        return np.full(tokenizer.shape, STEP[source], np.int32)

    monkeypatch.setattr("recordings.values_of", plain)
    return Tokenizer.of(Bundle.load(tiny))


@pytest.fixture
def video(tiny: Path) -> PictureRequest:
    return PictureRequest(bundle=Bundle.load(tiny), backend="cpu")


def table(folder: Path) -> list[dict[str, Any]]:
    """The rows of all files of a folder."""
    paths = sorted(folder.rglob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def read_json(out: Path, name: str) -> Any:
    return json.loads((out / "meta" / f"{name}.json").read_text("utf-8"))


def shown(out: Path) -> list[float]:
    """How bright the picture of each row is, found as LeRobot finds it: by seconds."""
    info, episodes = read_json(out, "info"), table(out / "meta" / "episodes")
    found = []
    for row in table(out / "data"):
        assert RECONSTRUCTION not in row
        own = episodes[row["episode_index"]]
        key = f"videos/{RECONSTRUCTION}"
        place = {name: own[f"{key}/{name}"] for name in ("chunk_index", "file_index")}
        path = out / info["video_path"].format(video_key=RECONSTRUCTION, **place)
        at_s = own[f"{key}/from_timestamp"] + row["timestamp"]
        assert own[f"{key}/from_timestamp"] <= at_s < own[f"{key}/to_timestamp"]
        with av.open(str(path)) as container:
            frames = {
                float(frame.pts * frame.time_base): frame  # type: ignore[operator]
                for frame in container.decode(video=0)
            }
        [near] = [frame for time_s, frame in frames.items() if abs(time_s - at_s) < 1e-4]
        found.append(float(near.to_ndarray(format="rgb24").mean()))
    return found


def expected(out: Path) -> list[int]:
    """Of the rows, as the tiny decoder makes them."""
    rows = table(out / "data")
    return [STEP[row["observation.source"]] * (row["latent_index"] + 1) for row in rows]


@pytest.mark.parametrize("fps", [40, 30])
def test_each_row_shows_its_latent(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest, fps: int
) -> None:
    """Through drops, keys and a camera that was away; of two cameras."""
    out = tmp_path / "out"
    path = eventful(tmp_path / "a.mcap", tokenizer=tokenizer, sources=2, fps=fps)
    done = export_recording(path, out, "lerobot", video=video)
    assert (done.episodes, done.latents) == (8, 26)
    np.testing.assert_allclose(shown(out), expected(out), atol=NEAR)
    info, episodes = read_json(out, "info"), table(out / "meta" / "episodes")
    feature = info["features"][RECONSTRUCTION]
    assert feature["dtype"] == "video" and feature["shape"] == [16, 16, 3]
    assert feature["names"] == ["height", "width", "channels"]
    assert "not the camera's own picture" in feature["info"]["reconstruction"]
    assert feature["info"]["video.codec"] == "h264" and feature["info"]["has_audio"] is False
    assert feature["info"]["video.fps"] == fps // 4
    for row in episodes:
        from_s, to_s = (row[f"videos/{RECONSTRUCTION}/{n}_timestamp"] for n in ("from", "to"))
        assert to_s - from_s == pytest.approx(row["length"] / info["fps"])
    files = [row[f"videos/{RECONSTRUCTION}/file_index"] for row in episodes]
    assert files == ([0] * 8 if fps == 40 else list(range(8))), "LeRobot's tools ask for it"
    names = sorted(path.name for path in (out / "videos").rglob("*.*") if path.is_file())
    assert names == [f"file-{number:03d}.mp4" for number in sorted({*files})]
    assert read_json(out, "recording")["videos"] == [
        {"first_episode": 0, "codec": "h264", "backend": "cpu", "precision": "fp32"}
    ]


def test_statistics_are_of_what_was_decoded(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest
) -> None:
    out = tmp_path / "out"
    export_recording(
        eventful(tmp_path / "a.mcap", tokenizer=tokenizer), out, "lerobot", video=video
    )
    bright = np.array(expected(out)) / 255
    stats, episodes = read_json(out, "stats")[RECONSTRUCTION], table(out / "meta" / "episodes")
    assert np.shape(stats["mean"]) == (3, 1, 1) and stats["count"] == [len(bright)]
    np.testing.assert_allclose(np.ravel(stats["mean"]), bright.mean())
    np.testing.assert_allclose(np.ravel(stats["std"]), bright.std())
    np.testing.assert_allclose(np.ravel(stats["q01"]), bright.min())
    for row in episodes:
        own = bright[row["dataset_from_index"] : row["dataset_to_index"]]
        np.testing.assert_allclose(np.ravel(row[f"stats/{RECONSTRUCTION}/max"]), own.max())
        assert row[f"stats/{RECONSTRUCTION}/count"] == [len(own)]


def test_a_part_shows_what_the_whole_shows(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest
) -> None:
    out = tmp_path / "out"
    path = eventful(tmp_path / "a.mcap", tokenizer=tokenizer, sources=2)
    told: list[tuple[int, int | None]] = []
    done = export_recording(
        path,
        out,
        "lerobot",
        video=video,
        source=1,
        start_s=0.35,
        end_s=0.75,
        progress=lambda done, total: told.append((done, total)),
    )
    indices = [row["latent_index"] for row in table(out / "data")]
    assert indices[0] == 2, "it begins in the middle of a stream"
    assert told[-1] == (done.latents, done.latents) == (len(indices), len(indices))
    np.testing.assert_allclose(shown(out), expected(out), atol=NEAR)


def test_what_is_left_out_is_decoded(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest
) -> None:
    """Latents behind it are the sum of those before, in an episode or not."""
    path, out, camera = tmp_path / "a.mcap", tmp_path / "out", SourceRecords(0)
    with RecordingWriter(path, tokenizer, ["cam"]) as writer:
        writer.take(camera.start("start", 0, WALL, fps=40))
        for index in range(8):
            if index not in (2, 3, 4):
                at = index * SECOND // 10
                sample = Sample(
                    channel="action", time_ns=at, wall_time_ns=WALL + at, values=np.array([1.0])
                )
                writer.log(sample)
            write(writer, camera, latents(0, index, tokenizer=tokenizer))
    data = DataRequest(max_age_s=0.05)
    done = export_recording(path, out, "lerobot", video=video, data=data)
    assert (done.episodes, done.latents) == (2, 5)
    assert [row["latent_index"] for row in table(out / "data")] == [0, 1, 5, 6, 7]
    np.testing.assert_allclose(shown(out), expected(out), atol=NEAR)


def test_padding_shows_the_frame_before(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest
) -> None:
    path, out, camera = tmp_path / "a.mcap", tmp_path / "out", SourceRecords(0)
    with RecordingWriter(path, tokenizer, ["cam"]) as writer:
        writer.take(camera.start("start", 0, WALL, fps=40))
        write(writer, camera, latents(0, 0, count=3, tokenizer=tokenizer))
        write(writer, camera, latents(0, 3, last=2, tokenizer=tokenizer))
        write(writer, camera, latents(0, 4, last=0, tokenizer=tokenizer))
    export_recording(path, out, "lerobot", video=video)
    assert [row["frames_real"] for row in table(out / "data")] == [1, 4, 4, 2, 0]
    np.testing.assert_allclose(shown(out), [20, 40, 60, 80, 80], atol=NEAR)


def test_a_set_with_videos_goes_on(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest
) -> None:
    """Behind two recordings that became one set, whose files stay as they are."""
    paths = [eventful(tmp_path / f"{n}.mcap", tokenizer=tokenizer) for n in range(3)]
    out, together = tmp_path / "out", tmp_path / "together"
    export_recording(paths[:2], out, "lerobot", video=video)
    before = {path: path.read_bytes() for path in (out / "videos").rglob("*.mp4")}
    done = export_recording(paths[2], out, "lerobot", video=video, append=True)
    assert (done.episodes, done.latents) == (4, 13)
    assert {path: path.read_bytes() for path in before} == before
    np.testing.assert_allclose(shown(out), expected(out), atol=NEAR)
    assert [one["first_episode"] for one in read_json(out, "recording")["videos"]] == [0, 8]
    export_recording(paths, together, "lerobot", video=video)
    stats, whole = (read_json(place, "stats")[RECONSTRUCTION] for place in (out, together))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(stats[name], whole[name], err_msg=name)
    assert read_json(out, "info")["features"] == read_json(together, "info")["features"]


def without_video(out: Path, path: Path, video: PictureRequest) -> None:
    export_recording(path, out, "lerobot", video=video)
    export_recording(path, out, "lerobot", append=True)


def to_none(out: Path, path: Path, video: PictureRequest) -> None:
    export_recording(path, out, "lerobot")
    export_recording(path, out, "lerobot", video=video, append=True)


def of_another_codec(out: Path, path: Path, video: PictureRequest) -> None:
    export_recording(path, out, "lerobot", video=video)
    info = read_json(out, "info")
    info["features"][RECONSTRUCTION]["info"]["video.codec"] = "av1"
    (out / "meta/info.json").write_text(json.dumps(info), encoding="utf-8")
    export_recording(path, out, "lerobot", video=video, append=True)


def of_no_feature(out: Path, path: Path, video: PictureRequest) -> None:
    export_recording(path, out, "lerobot", video=video)
    info = read_json(out, "info")
    info["features"][RECONSTRUCTION] = {"info": 7}
    (out / "meta/info.json").write_text(json.dumps(info), encoding="utf-8")
    export_recording(path, out, "lerobot", video=video, append=True)


def at_another_place(out: Path, path: Path, video: PictureRequest) -> None:
    export_recording(path, out, "lerobot", video=video)
    info = read_json(out, "info") | {"video_path": None}
    (out / "meta/info.json").write_text(json.dumps(info), encoding="utf-8")
    export_recording(path, out, "lerobot", video=video, append=True)


def of_wrong_statistics(out: Path, path: Path, video: PictureRequest) -> None:
    export_recording(path, out, "lerobot", video=video)
    stats = read_json(out, "stats")
    stats[RECONSTRUCTION]["mean"] = [0.5, 0.5, 0.5]
    (out / "meta/stats.json").write_text(json.dumps(stats), encoding="utf-8")
    export_recording(path, out, "lerobot", video=video, append=True)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (without_video, "has videos .* wants one for every row. Add --video and --bundle"),
        (to_none, "has no videos, .* Leave --video out"),
        (of_another_codec, "videos of another kind .* video.codec av1 and h264"),
        (of_no_feature, "videos of another kind"),
        (at_another_place, "is damaged: video_path is None"),
        (of_wrong_statistics, "is damaged: mean is"),
    ],
)
def test_videos_that_do_not_fit_are_not_added(
    tmp_path: Path,
    tokenizer: Tokenizer,
    video: PictureRequest,
    added: Callable[[Path, Path, PictureRequest], None],
    message: str,
) -> None:
    out, path = tmp_path / "out", eventful(tmp_path / "a.mcap", tokenizer=tokenizer)
    with pytest.raises(DatasetError, match=message):
        added(out, path, video)
    assert read_json(out, "info")["total_episodes"] == 4, "it is as it was"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_columns_of_other_tools_are_refused(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, path = tmp_path / "out", eventful(tmp_path / "a.mcap", tokenizer=tokenizer)
    export_recording(path, out, "lerobot", video=video)
    monkeypatch.setattr(lerobot_before, "_OF_VIDEO", ("chunk_index", "file_index"))
    with pytest.raises(DatasetError, match="has not the columns"):
        export_recording(path, out, "lerobot", video=video, append=True)


def test_what_cannot_be_decoded_is_refused(
    tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = eventful(tmp_path / "a.mcap", tokenizer=tokenizer), tmp_path / "out"
    other = replace(tokenizer, weights_sha256="ef" * 32)
    with pytest.raises(RecordingError, match="They differ in weights"):
        export_recording(
            eventful(tmp_path / "b.mcap", tokenizer=other), out, "lerobot", video=video
        )
    with pytest.raises(UsageError, match="Got a video for npz; allowed: lerobot"):
        export_recording(path, out, "npz", video=video)
    floats = replace(video.bundle, manifest=replace(video.bundle.manifest, io="float"))
    with pytest.raises(UsageError, match="--io float"):
        export_recording(path, out, "lerobot", video=replace(video, bundle=floats))
    monkeypatch.setattr(video_files, "_CODECS", ())
    with pytest.raises(MissingFromEnvironment, match="has no encoder for video of 16x16"):
        export_recording(path, out, "lerobot", video=video)
    assert not out.exists()


def test_ctrl_c_leaves_nothing(tmp_path: Path, tokenizer: Tokenizer, video: PictureRequest) -> None:
    path, out = eventful(tmp_path / "a.mcap", tokenizer=tokenizer), tmp_path / "out"

    def interrupted(done: int, total: int | None) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_recording(path, out, "lerobot", video=video, progress=interrupted)
    assert {one.name for one in tmp_path.iterdir()} == {"bundle", path.name}
