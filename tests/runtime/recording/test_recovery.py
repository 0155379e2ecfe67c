"""recover: what is left of a recording, and what it says is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import PER_LATENT, SECOND, record

from vidtok_edge.errors import OutputExists, RecordingError
from vidtok_edge.runtime.recording.messages import Marker, RecordedLatent
from vidtok_edge.runtime.recording.reader import Recording
from vidtok_edge.runtime.recording.recovery import Recovered, recover


def kept(path: Path, source: int) -> list[int]:
    with Recording.open(path) as recording:
        assert recording.indexed and not recording.damage
        entries = list(recording.entries(source))
    assert isinstance(entries[-1], Marker) and entries[-1].kind == "end"
    return [entry.index for entry in entries if isinstance(entry, RecordedLatent)]


def chunk_of(path: Path, number: int) -> tuple[int, int]:
    with Recording.open(path) as recording:
        place = recording._chunks[number]
    return place.offset, place.offset + place.length


def recovered(path: Path, data: bytes) -> tuple[Recovered, Path]:
    damaged, output = path.with_name("damaged.mcap"), path.with_name("recovered.mcap")
    damaged.write_bytes(data)
    return recover(damaged, output, force=True), output


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return record(tmp_path / "a.mcap")


def test_a_whole_recording_loses_nothing(whole: Path) -> None:
    found, output = recovered(whole, whole.read_bytes())
    assert found and not found.repaired and found.seconds == 3.0
    assert kept(output, 0) == kept(output, 1) == list(range(30))
    assert "0 known to be lost" in "\n".join(found.lines())


def test_a_lost_index_is_written_again(whole: Path) -> None:
    found, output = recovered(whole, whole.read_bytes()[:-100])
    assert found and found.repaired and kept(output, 1) == list(range(30))
    assert "the index was written again" in found.lines()[1]


def test_a_cut_file_is_ended_and_what_may_be_missing_is_said(whole: Path) -> None:
    begin, end = chunk_of(whole, 3)
    found, output = recovered(whole, whole.read_bytes()[: (begin + end) // 2])
    assert not found and kept(output, 0) == list(range(15))
    assert [source.ended for source in found.sources] == [False, False]
    assert "with up to 1000 s that were not on disk" in found.lines()[1]
    again = recover(output, whole.with_name("again.mcap"))
    assert again and kept(whole.with_name("again.mcap"), 0) == list(range(15))


def test_damage_in_the_middle_is_a_gap(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    begin, end = chunk_of(whole, 2)
    data[begin + 100] ^= 255
    found, output = recovered(whole, bytes(data))
    assert not found and found.damaged_bytes >= end - begin
    assert kept(output, 1) == [*range(10), *range(15, 30)]
    for source in found.sources:
        assert source.ended and source.lost_latents == 5
        (gap,) = source.gaps
        assert (gap.latents, round(gap.after_s, 3)) == (5, 0.9)
        assert gap.seconds == pytest.approx(6 * PER_LATENT / SECOND)


def test_a_lost_head_is_counted(whole: Path) -> None:
    found, output = recovered(whole, whole.read_bytes()[chunk_of(whole, 1)[0] :])
    assert not found and kept(output, 0) == list(range(5, 30))
    assert [(s.lost_latents, s.lost_markers) for s in found.sources] == [(5, 1), (5, 1)]


def test_a_lost_tail_is_counted_when_the_end_is_there(whole: Path) -> None:
    content = whole.read_bytes()
    found, output = recovered(whole, content[: chunk_of(whole, 4)[0]] + content[
        chunk_of(whole, 6)[0] :])  # fmt: skip
    assert not found and kept(output, 1) == list(range(20))
    assert [(s.lost_latents, s.ended) for s in found.sources] == [(10, True)] * 2


def test_lost_facts_of_one_source_are_those_of_the_others(whole: Path) -> None:
    data = bytearray(whole.read_bytes())
    at = -1
    while (at := data.find(b"rtsp://cam0", at + 1)) >= 0:
        data[at] ^= 1
    found, output = recovered(whole, bytes(data))
    assert not found  # the first chunk has its channels, and with them the name
    assert [s.name for s in found.sources] == ["unknown", "rtsp://cam1/live"]
    assert kept(output, 0) == kept(output, 1) == list(range(5, 30))


def test_nothing_readable_writes_nothing(whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mcap"
    for content in (b"", b"x" * 100, whole.read_bytes()[:40], whole.read_bytes()[:2400]):
        (tmp_path / "bad.mcap").write_bytes(content)
        with pytest.raises(RecordingError):
            recover(tmp_path / "bad.mcap", output)
        assert not output.exists() and not list(tmp_path.glob(".*"))


def test_an_output_that_is_there_is_kept(whole: Path) -> None:
    with pytest.raises(OutputExists):
        recover(whole, whole)


@settings(max_examples=100, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_damage_anywhere_is_refused_or_recovered_with_true_numbers(
    whole: Path, data: st.DataObject
) -> None:
    content = whole.read_bytes()
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        if data.draw(st.booleans()):
            damaged[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
        else:
            del damaged[at : at + data.draw(st.integers(0, 3000))]
    try:
        found, output = recovered(whole, bytes(damaged))
    except RecordingError:
        return
    for source in found.sources:
        if not source.latents and not source.lost_latents:
            continue  # its facts alone were left
        indices = kept(output, source.number)
        assert len(indices) == source.latents
        known = 30 if source.ended else indices[-1] + 1 if indices else 0
        assert source.lost_latents == known - source.latents
    if found:
        assert len(found.sources) == 2 and all(s.latents == 30 for s in found.sources)
