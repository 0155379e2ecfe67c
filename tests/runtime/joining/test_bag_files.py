"""A bag in several files is read as one; what is none, or not whole, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from bags import EVERY, LATENTS, joined, joints, json_bag, values_in
from recordings import record

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.joining.bag_files import bag_files
from vidtok_edge.runtime.joining.bags import Take
from vidtok_edge.runtime.joining.joining import join
from vidtok_edge.runtime.recording import Recording


def split_bag(folder: Path, *, listed: bool = True, files: int = 12) -> Path:
    """A bag as `ros2 bag record --max-bag-duration` leaves it; the last file is empty."""
    folder.mkdir()
    names = [f"{folder.name}_{number}.mcap" for number in range(files)]
    each = -(-200 // (files - 1))
    for number, name in enumerate(names[:-1]):
        joints(folder / name, EVERY[number * each : (number + 1) * each])
    json_bag(folder / names[-1], {})
    (folder / "notes.txt").write_text("not of the bag")
    if listed:
        text = "rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n"
        text += "  relative_file_paths:\n" + "".join(f"    - {name}\n" for name in names)
        text += "  files:\n" + "".join(f"    - path: {name}\n" for name in names)
        (folder / "metadata.yaml").write_text(text)
    return folder


def channel_of(path: Path) -> list[tuple[int, int, list[float]]]:
    with Recording.open(path) as recording:
        found = [(s.log_time_ns, s.time_ns, s.values) for s in recording.samples("state")]
    return [(at, own, values.tolist()) for at, own, values in found if values is not None]


@pytest.mark.parametrize("listed", [True, False])
def test_the_files_of_a_bag_are_joined_as_one(tmp_path: Path, listed: bool) -> None:
    bag = joints(tmp_path / "robot.mcap", EVERY)
    _, path = joined(tmp_path, bag, "/joint_states:position=state")
    expected = channel_of(path)
    assert len(expected) == len(EVERY)
    folder = split_bag(tmp_path / "bag", listed=listed)
    files = sorted(folder.glob("*.mcap"))  # file 10 behind file 1
    drive = record(tmp_path / "drive.mcap", LATENTS, sources=1, force=True)
    for given in (folder, files, files[::-1]):
        takes = [Take.parse("/joint_states:position=state")]
        done = join(drive, given, tmp_path / "new.mcap", takes, force=True)
        assert channel_of(tmp_path / "new.mcap") == expected
        assert [(one.samples, one.late) for one in done.channels] == [(len(EVERY), 0)]
        assert done.channels[0].facts.origin.endswith("bag_0.mcap and 11 more:/joint_states")


def test_a_file_of_a_bag_that_is_missing_is_named(tmp_path: Path) -> None:
    takes = [Take.parse("/cmd")]
    drive = record(tmp_path / "drive.mcap", LATENTS, sources=1)
    folder = split_bag(tmp_path / "bag")
    (folder / "bag_4.mcap").unlink()
    with pytest.raises(RecordingError, match=r"bag_4\.mcap is listed in metadata.yaml"):
        join(drive, folder, None, takes)
    (folder / "metadata.yaml").unlink()
    with pytest.raises(RecordingError, match=r"has bag_3\.mcap and bag_5\.mcap, and none between"):
        join(drive, folder, None, takes)
    with pytest.raises(RecordingError, match=r"bag_4\.mcap cannot be read: No such file"):
        join(drive, [folder / "bag_3.mcap", folder / "bag_4.mcap"], None, takes)


def test_what_is_no_bag_of_several_files_is_refused(tmp_path: Path) -> None:
    folder = split_bag(tmp_path / "bag", listed=False)
    (tmp_path / "link.mcap").symlink_to(folder / "bag_1.mcap")
    with pytest.raises(UsageError, match=r"bag_1\.mcap and .*link\.mcap are the same"):
        bag_files([folder, tmp_path / "link.mcap"])
    (folder / "drive.mcap").write_bytes(b"")
    with pytest.raises(RecordingError, match="are not numbered as files of one bag are"):
        bag_files(folder)
    for text, said in (
        ("relative_file_paths:\n  - bag_0.mcap.zstd\n", "is no MCAP file. Make one of the bag"),
        ("relative_file_paths:\n  - ../bag_0.mcap\n", "lists no files of this folder"),
        ("nothing", "lists no files of this folder"),
    ):
        (folder / "metadata.yaml").write_text(text)
        with pytest.raises(RecordingError, match=said):
            bag_files(folder)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="holds no bag in MCAP"):
        bag_files(empty)
    with pytest.raises(UsageError, match="Got no bag"):
        bag_files([])


def test_two_robots_do_not_become_one_channel(tmp_path: Path) -> None:
    drive = record(tmp_path / "drive.mcap", LATENTS, sources=1)
    bags = [json_bag(tmp_path / f"{name}.mcap", {"/q": [[1.0]] * 8}) for name in "ab"]
    with pytest.raises(RecordingError, match="of the same time, and both have /q"):
        join(drive, bags, None, [Take.parse("/q")])
    other = json_bag(tmp_path / "c.mcap", {"/r": [[2.0]] * 8})
    join(drive, [bags[0], other], tmp_path / "new.mcap", [Take.parse("/?")])
    assert values_in(tmp_path / "new.mcap", "q") == [[1.0]] * 8
    assert values_in(tmp_path / "new.mcap", "r") == [[2.0]] * 8
