"""Adding to a set gives what exporting all at once gives; whatever goes wrong, it is as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from recordings import FSQ, record
from stories import eventful

from vidtok_edge.errors import DatasetError, RecordingError, UsageError
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.exporting import CONTENTS, Format, export_recording

FORMATS: tuple[Format, ...] = ("npz", "webdataset", "lerobot", "parquet")
TESTS = Path(__file__).parents[3]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "data").rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [eventful(tmp_path / f"{name}.mcap") for name in "abc"]


@pytest.mark.parametrize("format", ["lerobot", "parquet"])
def test_rows_are_those_of_one_export(format: Format, paths: list[Path], tmp_path: Path) -> None:
    together, added = tmp_path / "together", tmp_path / "added"
    export_recording(paths, together, format)
    export_recording(paths[0], added, format)
    for path in paths[1:]:
        done = export_recording(path, added, format, append=True)
        assert (done.episodes, done.latents) == (4, 13)
    assert rows(added) == rows(together)
    place = "meta" if format == "lerobot" else "."
    several = [json.loads((f / place / CONTENTS).read_text()) for f in (added, together)]
    ours, theirs = ([{**r, "file": ""} for r in one["recordings"]] for one in several)
    assert ours == theirs


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_in_a_set_twice_is_said(format: Format, paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = export_recording(paths[:2], out, format)
    moved = paths[1].rename(tmp_path / "moved.mcap")
    other = export_recording(paths[2], out, format, append=True)
    again = export_recording(moved, out, format, append=True)
    copy = Path(shutil.copy(moved, tmp_path / "copy-of-moved.mcap"))
    at_once = export_recording([moved, paths[0], copy], tmp_path / "once", format)
    assert (first.doubts, other.doubts) == ((), ())
    for done in (again, at_once):
        assert len(done.doubts) == 1 and "moved.mcap was in the set before" in done.doubts[0]


def test_a_recording_that_is_named_twice_is_refused(paths: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "link.mcap"
    link.symlink_to(paths[0])
    for given in ([paths[0], paths[0]], [paths[0], paths[1], link]):
        with pytest.raises(UsageError, match=rf"{paths[0]} and {given[-1]} are the same"):
            export_recording(given, tmp_path / "out", "npz")
    assert not (tmp_path / "out").exists()


def test_a_lerobot_dataset_goes_on(paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, "lerobot")
    export_recording(paths[1], out, "lerobot", append=True, task="fold")
    export_recording(paths[2], out, "lerobot", append=True)
    info = json.loads((out / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (12, 39, 2)
    assert info["splits"] == {"train": "0:12"}
    assert pq.read_table(out / "meta/tasks.parquet").to_pydict() == {
        "task_index": [0, 1],
        "task": ["recorded", "fold"],
    }
    assert [row["task_index"] for row in rows(out)] == [0] * 13 + [1] * 13 + [0] * 13
    files = sorted((out / "meta/episodes").rglob("*.parquet"))
    episodes = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert [e["episode_index"] for e in episodes] == list(range(12))
    assert [e["tasks"] for e in episodes] == [["recorded"]] * 4 + [["fold"]] * 4 + [
        ["recorded"]
    ] * 4
    assert episodes[4]["dataset_from_index"] == 13 and episodes[-1]["dataset_to_index"] == 39
    for number, file in enumerate(files):
        assert {e["meta/episodes/file_index"] for e in pq.read_table(file).to_pylist()} == {number}
    assert [e["data/file_index"] for e in episodes] == [0] * 4 + [1] * 4 + [2] * 4


def test_statistics_are_those_of_all_rows(paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, "lerobot", end_s=0.5)
    export_recording(paths[1:], out, "lerobot", append=True)
    stats = json.loads((out / "meta/stats.json").read_text())
    for name in ("action", "observation.tokens", "index"):
        values = np.array([row[name] for row in rows(out)], np.float64)
        values = values.reshape(len(values), -1)
        facts = {fact: np.array(value) for fact, value in stats[name].items()}
        assert facts["count"] == [len(values)]
        np.testing.assert_allclose(facts["mean"], values.mean(axis=0))
        np.testing.assert_allclose(facts["std"], values.std(axis=0), atol=1e-9)
        np.testing.assert_array_equal(facts["min"], values.min(axis=0))
        np.testing.assert_array_equal(facts["max"], values.max(axis=0))
        assert (facts["q01"] <= facts["q50"]).all() and (facts["q50"] <= facts["q99"]).all()


@pytest.mark.parametrize("format", ["npz", "webdataset"])
def test_files_that_were_there_stay_as_they_are(
    format: Format, paths: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, format)
    before = content(out)
    done = export_recording(paths[1:], out, format, append=True)
    after = content(out)
    assert {n: c for n, c in after.items() if n in before and n != CONTENTS} == {
        n: c for n, c in before.items() if n != CONTENTS
    }
    assert done.files == len(after) - len(before) + 1
    document = json.loads(after[CONTENTS])
    assert [entry["episode"] for entry in document["episodes"]] == sorted(
        entry["episode"] for entry in document["episodes"]
    )
    assert [r["first_episode"] for r in document["recordings"]] == [0, 4, 8]
    if format == "npz":
        named = {entry["file"] for entry in document["episodes"]}
        assert named == {n for n in after if n.endswith(".npz") and ".data." not in n}
    else:
        names = [entry["file"] for entry in document["shards"]]
        assert sorted(names) == sorted(n for n in after if n.endswith(".tar"))
        keys = set()
        for name in names:
            with tarfile.open(out / name) as tar:
                keys |= {member.name for member in tar}
        assert len(keys) == 3 * 3 * 4, "three files of each of four samples of three recordings"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"tokenizer": replace(FSQ, height=32, width=48, grid_height=4, grid_width=6)},
            "another grid",
        ),
        ({"tokenizer": replace(FSQ, weights_sha256="00" * 32)}, "another tokenizer"),
        ({"fps": 30}, r"7\.5.. latents per second, and .* 10\.0"),
    ],
)
def test_what_does_not_fit_is_refused(
    format: Format, other: dict[str, Any], said: str, paths: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, format)
    before = content(out)
    path = eventful(tmp_path / "other.mcap", **other)
    with pytest.raises(DatasetError, match=said):
        export_recording(path, out, format, append=True)
    assert content(out) == before and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("format", FORMATS)
def test_other_channels_options_and_formats_are_refused(
    format: Format, paths: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, format)
    before = content(out)
    with pytest.raises(DatasetError, match=r"data channels none, and .*action"):
        export_recording(record(tmp_path / "d.mcap", 4), out, format, append=True)
    with pytest.raises(DatasetError, match=r"data channels action \[2\], and "):
        request = DataRequest(channels=["action"])
        export_recording(paths[1], out, format, append=True, data=request)
    with pytest.raises(UsageError, match="gaps split, and keep"):
        export_recording(paths[1], out, format, append=True, gaps="keep")
    with pytest.raises(UsageError, match=r"max_age_s 1\.0, and 2\.0"):
        export_recording(paths[1], out, format, append=True, data=DataRequest(max_age_s=2.0))
    with pytest.raises(UsageError, match="append and force"):
        export_recording(paths[1], out, format, append=True, force=True)
    other: Format = "npz" if format == "parquet" else "parquet"
    with pytest.raises((DatasetError, UsageError)):
        export_recording(paths[1], out, other, append=True)
    with pytest.raises(RecordingError, match="no latent"):
        export_recording(paths[1], out, format, append=True, start_s=100)
    with pytest.raises(UsageError, match="nothing to add to"):
        export_recording(paths[1], tmp_path / "none", format, append=True)
    assert content(out) == before and not list(tmp_path.glob(".*"))


def test_features_of_other_names_are_refused(paths: list[Path], tmp_path: Path) -> None:
    export_recording(paths[0], tmp_path / "out", "lerobot")
    with pytest.raises(DatasetError, match=r"differ in the features .*observation\.state"):
        export_recording(paths[1], tmp_path / "out", "lerobot", append=True, state="arm/grip")


def test_a_set_of_several_tokenizers_takes_no_more(paths: list[Path], tmp_path: Path) -> None:
    other = eventful(tmp_path / "o.mcap", tokenizer=replace(FSQ, weights_sha256="00" * 32))
    export_recording([paths[0], other], tmp_path / "out", "webdataset")
    with pytest.raises(DatasetError, match="another tokenizer"):
        export_recording(paths[1], tmp_path / "out", "webdataset", append=True)


@pytest.mark.parametrize("name", ["info.json", "stats.json", "tasks.parquet"])
def test_a_damaged_dataset_is_refused(name: str, paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, "lerobot")
    path = out / "meta" / name
    path.write_bytes(path.read_bytes()[:-9])
    before = content(out)
    with pytest.raises(DatasetError):
        export_recording(paths[1], out, "lerobot", append=True)
    assert content(out) == before


KILLED = """
import os, signal, sys
import vidtok_edge.runtime.recording.exports.exporting as module
from vidtok_edge.runtime.recording.exports.inputs import Inputs
every = Inputs.__iter__
def killed(self):
    for number, episode in enumerate(every(self)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield episode
Inputs.__iter__ = killed
module.export_recording(sys.argv[1], sys.argv[2], sys.argv[3], append=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("format", FORMATS)
def test_a_kill_in_the_middle_leaves_the_set_whole(
    format: Format, paths: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, format)
    before = content(out)
    done = subprocess.run([sys.executable, "-c", KILLED, str(paths[1]), str(out), format])
    assert done.returncode == -signal.SIGKILL
    assert content(out) == before
    export_recording(paths[1], out, format, append=True)


def test_of_two_that_add_at_once_one_is_refused(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export_recording(paths[0], out, "parquet")

    def meanwhile(latents: int, _: object) -> None:
        if latents == 3:
            export_recording(paths[1], out, "parquet", append=True)

    with pytest.raises(UsageError, match="changed meanwhile"):
        export_recording(paths[2], out, "parquet", append=True, progress=meanwhile)
    assert len(rows(out)) == 26
