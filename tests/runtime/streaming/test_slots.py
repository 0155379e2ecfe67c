"""What encoder and decoder share: closing, and what a failed step leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_step import FakeStep, fake_manifest, frame_of

from vidtok_edge.errors import StreamError
from vidtok_edge.runtime import StreamDecoder, StreamEncoder
from vidtok_edge.runtime.backends.step import StepTimes

TOKENS = np.ones((1, 1, 1), np.int32)


def encoder(**options: Any) -> tuple[StreamEncoder, FakeStep]:
    step = FakeStep(fake_manifest(), "encoder", **options)
    return StreamEncoder(step.manifest, step), step


def decoder(**options: Any) -> tuple[StreamDecoder, FakeStep]:
    step = FakeStep(fake_manifest(), "decoder", **options)
    return StreamDecoder(step.manifest, step), step


def push(stream: StreamEncoder | StreamDecoder) -> object:
    if isinstance(stream, StreamEncoder):
        return stream.push(frame_of(1))
    return stream.push_values(TOKENS)


both = pytest.mark.parametrize("make", [encoder, decoder])


@both
@pytest.mark.parametrize("call", [push, lambda s: s.finish(), lambda s: s.reset()])
def test_use_after_close(make: Any, call: Callable[[Any], object]) -> None:
    stream, step = make()
    with stream:
        push(stream)
    with pytest.raises(StreamError, match=r"closed\. Get a new one from the bundle"):
        call(stream)
    stream.close()
    assert step.closed == 1
    assert str(stream.backend) == "fake on numpy", "what ran may be asked afterwards"


@both
def test_a_failing_step_closes_the_stream(make: Any) -> None:
    stream, step = make(fail_after=1)
    push(stream)
    with pytest.raises(RuntimeError, match="the device was lost"):
        for _ in range(4):
            push(stream)
    assert step.closed == 1
    with pytest.raises(StreamError, match="closed"):
        push(stream)


class Unreadable(dict[str, Any]):
    """Outputs of a step that there is no memory for, once it ran."""

    def get(self, *_: Any) -> Any:
        raise MemoryError

    __getitem__ = get


@both
def test_results_that_cannot_be_read_close_the_stream(make: Any) -> None:
    """Else the same chunk would run again, on caches that have gone on."""
    stream, step = make()
    run = step.run

    def runs() -> None:
        run()
        step.outputs = Unreadable()

    step.run = runs
    with pytest.raises(MemoryError):
        push(stream)
    assert step.closed == 1


@both
def test_an_error_inside_with_closes(make: Any) -> None:
    stream, step = make()
    with pytest.raises(KeyError), stream:
        raise KeyError
    assert step.closed == 1


@both
def test_the_time_of_all_calls_is_kept(make: Any) -> None:
    stream, step = make()
    assert (stream.calls, stream.step_times) == (0, StepTimes(0, 0, 0))
    assert stream.graph is step.graph
    step.times = StepTimes(1, 2, 3)
    for _ in range(9):
        push(stream)
    assert stream.calls == len(step.runs) > 1
    assert stream.step_times == StepTimes(*(part * stream.calls for part in (1, 2, 3)))
    assert stream.step_times.total_ns == 6 * stream.calls
    assert stream.step_times - stream.step_times == StepTimes(0, 0, 0)


def test_a_slot_that_leaves_holds_back_no_other() -> None:
    step = FakeStep(fake_manifest(streams=3), "encoder")
    stream = StreamEncoder(step.manifest, step)
    for slot in range(3):
        stream.push(frame_of(slot), slot=slot)
    assert step.runs == [[0]]  # the others wait for its next chunk
    assert [r.slot for r in stream.finish(2)] == [1, 2]
    stream.reset(1)
    for _ in range(4):
        results = stream.push(frame_of(1), slot=0)
    assert len(results) == 1 and step.runs[2:] == [[0]]
