"""Signals wait for the end of a block, and are answered by whoever answered them before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from vidtok_edge.runtime.held_signals import held_signals


class Asked(BaseException):
    """What the handler of a test raises."""


@pytest.fixture(params=["SIGINT", "SIGTERM", "SIGHUP"])
def answered(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal with a handler that raises Asked."""

    def ask(number: int, frame: object) -> None:
        raise Asked(number)

    number = signal.Signals[request.param]
    before = signal.signal(number, ask)
    yield number
    signal.signal(number, before)


def test_it_is_answered_once_behind_the_block(answered: signal.Signals) -> None:
    handler, ended = signal.getsignal(answered), False
    told: list[int] = []
    with pytest.raises(Asked), held_signals(told.append):
        signal.raise_signal(answered)
        signal.raise_signal(answered)
        ended = True
    assert ended and told == [answered, answered]
    assert signal.getsignal(answered) is handler


def test_it_is_answered_where_the_block_fails(answered: signal.Signals) -> None:
    with pytest.raises(Asked) as caught, held_signals():
        signal.raise_signal(answered)
        raise ValueError("inside")
    assert isinstance(caught.value.__context__, ValueError)


def test_what_nobody_answers_is_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with held_signals():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_hold_nothing() -> None:
    handlers: list[object] = []

    def look() -> None:
        with held_signals():
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [before]
