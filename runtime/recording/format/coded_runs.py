"""The coders of a recording's sources while it is read: each latent needs those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from vidtok_edge.bounded import Budget
from vidtok_edge.runtime.coding.latent_coder import LONGEST_RUN, LatentCoder, place_of
from vidtok_edge.runtime.recording.format.mcap_file import SourceFacts
from vidtok_edge.runtime.recording.format.messages import coded_data
from vidtok_edge.runtime.streaming.records import LatentRecord

__all__ = ["CodedRuns", "Wanted"]

# Where nothing moves, a latent of 5,120 digits takes some 20 bytes, and with its times 70 of the
# file, one of 20,480 digits 87. That is in runs of 256: in those of a second it is 290 and 860.
_DIGITS_PER_BYTE = 256
_DIGITS_AT_LEAST = 1 << 24

Earlier = Callable[[int], Iterable[bytes]]
"""The messages of a source's latents before this place of the file, the nearest first."""
Wanted = Callable[[LatentRecord], bool]


class CodedRuns:
    """Brings the coder of a source to where its next latent can be decoded.

    Latents that nobody asks for are decoded only where one that follows in their run is asked for.
    What is decoded is bounded by what is stored.

    Args:
        sources: by number.
        size: of the file, in bytes.
        earlier: called once for each source at most, where reading begins in the middle of a run:
            a tool made other chunks of a file than those in which it was recorded.
        wanted: told of each latent without its values, whether they are read; None: all are.
    """

    def __init__(
        self,
        sources: Mapping[int, SourceFacts],
        size: int,
        earlier: Earlier,
        wanted: Wanted | None = None,
    ) -> None:
        self.wanted = wanted
        self._coders = {number: facts.coder() for number, facts in sources.items()}
        self._digits = {number: facts.tokenizer.digits for number, facts in sources.items()}
        self._budget = Budget(size, per_byte=_DIGITS_PER_BYTE, at_least=_DIGITS_AT_LEAST)
        self._earlier = earlier
        self._left_out: dict[int, list[bytes]] = {}
        self._entered: set[int] = set()

    def is_coded(self, source: int) -> bool:
        """Whether the latents of a source are coded at all."""
        return self._coders[source] is not None

    def leave_out(self, source: int, message: bytes) -> None:
        """Pass over the next latent of a source."""
        if self._coders[source] is None:
            return
        waiting = self._left_out.setdefault(source, [])
        if _place(message) == 0 or len(waiting) >= LONGEST_RUN:
            waiting.clear()
        waiting.append(message)

    def coder(self, source: int, message: bytes) -> LatentCoder | None:
        """The coder that decodes the next latent of a source; None: it is packed.

        Raises TooMuchWork: the file asks for more than its size explains.
        """
        coder = self._coders[source]
        if coder is None:
            return None
        place = _place(message)
        before = self._left_out.pop(source, [])
        if place not in (None, 0) and (before or place != coder.place):
            if (not before or _place(before[0]) != 0) and source not in self._entered:
                before = [*self._run_before(source), *before]
            for one in before:
                self._decode(coder, source, one)
        self._entered.add(source)
        self._budget.spend(self._digits[source])
        return coder

    def _decode(self, coder: LatentCoder, source: int, message: bytes) -> None:
        self._budget.spend(self._digits[source])
        try:
            coder.decode(coded_data(message))
        except ValueError:
            coder.reset()

    def _run_before(self, source: int) -> list[bytes]:
        """The latents of a run that lie before the place where reading began."""
        found: list[bytes] = []
        for message in self._earlier(source):
            found.append(message)
            if _place(message) == 0 or len(found) >= LONGEST_RUN:
                break
        return found[::-1]


def _place(message: bytes) -> int | None:
    """Which one of its run a latent is; None: it is damaged."""
    try:
        return place_of(coded_data(message))
    except ValueError:
        return None
