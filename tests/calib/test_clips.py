"""Calibration clips: what is found where, what is skipped and told, what is refused."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import cut, make_clip, make_two_sizes

from vidtok_edge.calib.clips import SHIPPED, ClipList, UsedClip, find_clips
from vidtok_edge.errors import CalibrationError, UsageError

SIZE = (32, 48)


def found(data: Path | None, frames: int | None = None) -> ClipList:
    return find_clips(data, size=SIZE, least_frames=4, frames=frames)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, one of them deeper, and things that are none."""
    place = tmp_path / "clips"
    (place / "deep" / "er").mkdir(parents=True)
    (place / ".trash").mkdir()
    make_clip(place / "b.mp4", 6)
    make_clip(place / "deep" / "er" / "a.MKV", 9)
    (place / "notes.md").write_text("none")
    (place / "._b.mp4").write_bytes(b"resource fork")
    (place / ".trash" / "c.mp4").write_bytes(b"deleted")
    return place


def test_a_folder_is_searched_and_sorted(folder: Path) -> None:
    clips = found(folder)
    assert [clip.name for clip in clips.used] == ["b.mp4", "deep/er/a.MKV"]
    assert [clip.frames for clip in clips.used] == [6, 9]
    digest = hashlib.sha256((folder / "b.mp4").read_bytes()).hexdigest()
    assert clips.used[0] == UsedClip("b.mp4", digest, 6)
    assert clips.skipped == ()
    assert len(clips) == 2


def test_frames_are_of_the_bundle_and_in_order(folder: Path) -> None:
    clips = found(folder)
    [_, longer] = clips
    frames = list(clips.frames(longer))
    assert {frame.shape for frame in frames} == {(*SIZE, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    brightness = [int(frame[16, 24].mean()) for frame in frames]
    assert brightness == sorted(set(brightness))
    assert all(map(np.array_equal, frames, clips.frames(longer)))  # once more, the same


def test_frames_of_each_clip_are_limited(folder: Path) -> None:
    clips = found(folder, frames=7)
    assert [clip.frames for clip in clips.used] == [6, 7]
    assert [len(list(clips.frames(clip))) for clip in clips] == [6, 7]


def test_a_list_names_its_clips_from_its_own_folder(folder: Path, tmp_path: Path) -> None:
    elsewhere = make_clip(tmp_path / "elsewhere.mp4", 5)
    file = folder / "list.txt"
    text = f"\ufeff# our cameras\r\n\r\n  deep/er/a.MKV \r\nb.mp4\r\n{elsewhere}\r\n"
    file.write_bytes(text.encode())
    clips = found(file)
    assert [clip.name for clip in clips.used] == ["deep/er/a.MKV", "b.mp4", "elsewhere.mp4"]


def test_one_clip_of_any_suffix(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 5).rename(tmp_path / "a.clip")
    assert [clip.name for clip in found(path).used] == ["a.clip"]


def test_shipped_clips_are_what_there_is_without_data() -> None:
    clips = found(None, frames=4)
    assert [(clip.name, clip.frames) for clip in clips.used] == [(name, 4) for name in SHIPPED]


def test_a_variable_frame_rate_is_no_reason_to_skip(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "phone.mp4", 6, times_ms=[0, 30, 90, 100, 200, 210])
    assert found(path).used[0].frames == 6


def test_bad_clips_are_skipped_and_named(folder: Path) -> None:
    (folder / "broken.mp4").write_bytes(b"no clip at all")
    make_clip(folder / "short.mp4", 3)
    clips = found(folder)
    assert len(clips) == 2
    why = {clip.name: clip.why for clip in clips.skipped}
    assert list(why) == ["broken.mp4", "short.mp4"]
    assert why["broken.mp4"].startswith("broken.mp4 is not a clip that can be read")
    assert why["short.mp4"] == "short.mp4 has 3 frames; a chunk has 4. Use a longer clip."
    assert str(folder) not in str(clips.skipped)


def test_what_comes_before_a_change_of_size_is_used_and_said(folder: Path) -> None:
    make_two_sizes(folder / "sizes.mkv", (64, 96), (32, 48), each=6)
    [clip] = [clip for clip in found(folder) if clip.facts.name == "sizes.mkv"]
    assert clip.facts.frames == 6 and clip.doubts[0].startswith("frame 6 is 32x48")
    assert [clip.doubts for clip in found(folder, frames=5)] == [()] * 3


def test_doubts_about_a_clip_are_kept() -> None:
    field = Path(__file__).resolve().parents[1] / "field"
    [clip] = found(field / "i_tff.mp4")
    assert "interlaced" in clip.doubts[0]


def test_what_can_be_read_of_a_cut_clip_is_used(tmp_path: Path) -> None:
    path = cut(make_clip(tmp_path / "a.ts", 40), 0.6)
    assert 4 <= found(path).used[0].frames < 40


def test_fewer_than_half_usable_are_refused(folder: Path) -> None:
    for name in "123456":
        (folder / f"{name}.mp4").write_bytes(b"no clip at all")
    sentence = r"2 of 8 clips can be used; at least half .*\n  1.mp4 is not .*\n  and 1 more"
    with pytest.raises(CalibrationError, match=f"(?s){sentence}"):
        found(folder)


def test_a_list_of_what_is_not_there(folder: Path) -> None:
    file = folder / "list.txt"
    file.write_text("gone.mp4\n")
    with pytest.raises(CalibrationError, match=r"0 of 1 clips .*\n  gone\.mp4 does not exist"):
        found(file)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"does not exist\. Name a folder of clips, a .txt"):
        found(tmp_path / "gone")


def test_a_folder_without_clips(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(CalibrationError, match=r"holds no clips: no file in it.* \.mp4 "):
        found(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "lists no clips. Write one path per line"),
        (b"# only\n\n", "lists no clips"),
        (b"\xff\xfea", "is not UTF-8 text .* at byte 0"),
        (b"a\n" * 600_000, "is larger than 1 MiB: no list of clips"),
        (b"a\0b.mp4", "0 of 1 clips can be used"),
    ],
    ids=["empty", "comments", "no text", "large", "NUL"],
)
def test_what_is_no_list(content: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(content)
    with pytest.raises(CalibrationError, match=sentence):
        found(file)


def test_fewer_frames_than_a_chunk_cannot_be_asked_for() -> None:
    with pytest.raises(UsageError, match=r"3 frames of each clip .* Ask for 4 or more"):
        found(None, frames=3)


def test_a_clip_that_changes_meanwhile(folder: Path) -> None:
    clips = found(folder)
    make_clip(folder / "b.mp4", 5)
    with pytest.raises(CalibrationError, match="had 6 frames and now ends after 5: it changed"):
        list(clips.frames(clips.clips[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse the name")
def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 5)
    os.rename(path, os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    assert found(tmp_path).used[0].name == r"caf\udce9.mp4"
