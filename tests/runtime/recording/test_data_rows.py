"""Which samples belong to a latent, held to a channel whose values are its own times."""

from __future__ import annotations

import bisect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import FSQ, PER_LATENT, SECOND, WALL, latents, write

from vidtok_edge.errors import RecordingError, UsageError
from vidtok_edge.runtime.recording import Recording, RecordingWriter
from vidtok_edge.runtime.recording.data_rows import (
    NONE_NS,
    Align,
    ChannelSamples,
    DataRequest,
    data_of,
)
from vidtok_edge.runtime.recording.format.data_channels import DataChannel
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

NAMES = DataChannel(name="action", kind="numbers", size=2)


def own_times(times_ns: list[int]) -> ChannelSamples:
    """A channel whose samples say when they were."""
    at = np.array(times_ns, np.int64)
    return ChannelSamples(NAMES, at, np.stack([at, -at], axis=1).astype(np.float64))


TIMES = st.lists(st.integers(0, 1000), min_size=1, max_size=40).map(sorted)


@given(TIMES, st.lists(st.integers(-50, 1100), min_size=1, max_size=20).map(sorted))
def test_every_sample_belongs_to_one_latent(times: list[int], at: list[int]) -> None:
    samples, before, found = own_times(times), -1000, list[float]()
    for latent in at:
        beside = samples.beside(before, latent)
        assert all(before < time <= latent for time in beside.times_ns)
        assert (beside.values[:, 0] == beside.times_ns).all()
        found += beside.times_ns.tolist()
        before = latent
    assert found == [time for time in times if time <= at[-1]]


@given(TIMES, st.integers(-50, 1100), st.sampled_from(["last", "interpolate"]))
def test_the_value_is_the_last_one_or_on_the_line(times: list[int], at: int, align: Align) -> None:
    beside = own_times(times).beside(at - 10, at, align)
    place = bisect.bisect_right(times, at)
    if not place:
        assert beside.missing and beside.age_ns == NONE_NS
        return
    assert beside.age_ns == at - times[place - 1]
    between = align == "interpolate" and place < len(times)
    wanted = at if between else times[place - 1]
    np.testing.assert_allclose(beside.value, [wanted, -wanted], rtol=1e-15)


def test_old_samples_are_none_and_gaps_are_not_bridged() -> None:
    second = SECOND
    samples = own_times([0, second, 10 * second, 11 * second])
    assert samples.beside(0, 3 * second, max_age_s=1.5).missing
    assert samples.beside(0, 3 * second, max_age_s=1.5).age_ns == 2 * second
    held = samples.beside(0, 2 * second, "interpolate", max_age_s=1.5)
    assert held.value[0] == second, "the next sample is nine seconds away"
    assert samples.beside(0, 2 * second, "interpolate", max_age_s=10).value[0] == 2 * second


def test_a_value_that_the_robot_did_not_give_is_missing() -> None:
    values = np.array([[0.0, 1.0], [np.nan, 2.0], [3.0, 4.0]])
    samples = ChannelSamples(NAMES, np.array([0, 10, 20], np.int64), values)
    assert samples.not_finite == 1
    assert samples.beside(0, 12).missing
    between = samples.beside(0, 15, "interpolate")
    assert np.isnan(between.value[0]) and between.value[1] == 3.0
    assert not samples.beside(0, 20, "interpolate").missing


def recorded(path: Path, times_ns: list[int], *, offset_ns: int = 0) -> Path:
    with RecordingWriter(path, FSQ, ["cam"], flush_interval_s=1000) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        for i in range(10):
            write(writer, camera, latents(0, i))
            for at_ns in (t for t in times_ns if i * PER_LATENT <= t < (i + 1) * PER_LATENT):
                time_ns = at_ns + offset_ns
                values = np.array([at_ns / SECOND, 0.0])
                writer.log(
                    Sample(
                        channel="action",
                        time_ns=time_ns,
                        wall_time_ns=WALL + time_ns,
                        values=values,
                    )
                )
    return path


def test_late_samples_are_sorted_and_counted(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", [5, 30, 20, 40, 10])
    with Recording.open(path) as recording:
        samples = data_of(recording, DataRequest())["action"]
    assert (samples.times_ns - WALL).tolist() == [5, 10, 20, 30, 40]
    assert samples.late == 2


def test_no_time_in_common_says_both(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", [5, 10], offset_ns=1000 * SECOND)
    with (
        Recording.open(path) as recording,
        pytest.raises(RecordingError, match=r"1700001000\.000 to .*, and 1700000000\.000 to"),
    ):
        data_of(recording, DataRequest())


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("state", "has no data channel 'state'; it has action"), ("go", "holds events")],
)
def test_channels_that_are_none(tmp_path: Path, wanted: str, said: str) -> None:
    path = tmp_path / "a.mcap"
    with RecordingWriter(path, FSQ, ["cam"]) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        write(writer, camera, latents(0, 0))
        values = np.array([1.0])
        for channel, given_values in (
            ("action", values),
            *([("go", None)] if wanted == "go" else []),
        ):
            writer.log(Sample(channel=channel, time_ns=0, wall_time_ns=WALL, values=given_values))
    with Recording.open(path) as recording, pytest.raises(RecordingError, match=said):
        data_of(recording, DataRequest(channels=[wanted]))


@pytest.mark.parametrize("age", [0.0, -1.0, float("nan"), float("inf")])
def test_ages_that_mean_nothing(age: float) -> None:
    with pytest.raises(UsageError, match="The age of a sample is"):
        DataRequest(max_age_s=age)
