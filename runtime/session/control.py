"""What a running session is asked to do from outside, and what it answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal, get_args

__all__ = ["WORDS", "Asked", "Control", "Word"]

Word = Literal["trigger", "pause", "resume", "toggle", "status"]
WORDS: tuple[str, ...] = get_args(Word)
_MOST_ASKED = 1000


class Asked:
    """Something that a session was asked to do."""

    def __init__(self, word: Word, why: str, unheard: bool = False) -> None:
        self.word, self.why = word, why
        self.unheard = unheard
        """Nobody waits for the answer, so the session tells what it refuses."""
        self._answer: dict[str, Any] | None = None
        self._answered = threading.Event()

    def answer(self, facts: dict[str, Any]) -> None:
        """What became of it; `ok` is among the facts."""
        self._answer = facts
        self._answered.set()

    def wait(self, seconds: float = 5.0) -> dict[str, Any]:
        """The answer: `ok`, where it is False an `error` that says why, and else how it stands."""
        self._answered.wait(seconds)
        if self._answer is None:
            return _refused(f"The session did not answer in {seconds:g} s.")
        return self._answer


class Control:
    """Asks a session to keep an event, to pause, to go on, or how it stands; from any thread.

        control = Control()
        threading.Thread(target=record, args=(request,), kwargs={"control": control}).start()
        control.trigger("bumper").wait()["ok"]

    Nothing waits for a lock, so signal handlers may ask, too. The session does what it was asked at
    its next turn, a tenth of a second later at most.
    """

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque()
        self._closed = False

    def trigger(self, why: str = "asked for") -> Asked:
        """Keep what lies around this moment; of a session with a `TriggerPlan`."""
        return self.ask("trigger", why)

    def pause(self) -> Asked:
        """Leave out what comes, until `resume`."""
        return self.ask("pause")

    def resume(self) -> Asked:
        """Go on after a `pause`, with new streams."""
        return self.ask("resume")

    def toggle(self) -> Asked:
        """Pause, or go on."""
        return self.ask("toggle")

    def status(self) -> Asked:
        """Say how it stands."""
        return self.ask("status")

    def ask(self, word: Word, why: str = "", *, unheard: bool = False) -> Asked:
        """Any of these."""
        asked = Asked(word, why, unheard)
        if len(self._asked) >= _MOST_ASKED:
            asked.answer(_refused("The session is busy, or does not run yet. Ask again."))
            return asked
        self._asked.append(asked)
        if self._closed:
            self.close()
        return asked

    def taken(self) -> Iterator[Asked]:
        """What was asked since the last call; for the session alone, which answers each."""
        while self._asked:
            yield self._asked.popleft()

    def close(self) -> None:
        """Answer everything from now on that there is no session any more."""
        self._closed = True
        while True:
            try:
                asked = self._asked.popleft()
            except IndexError:
                return
            asked.answer(_refused("The session is over."))


def _refused(error: str) -> dict[str, Any]:
    return {"ok": False, "error": error}
