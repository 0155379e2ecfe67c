"""What to record and how, and what would go wrong for certain."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidtok_edge.errors import OutputExists, OutputNotWritable, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.files import require_not_read, require_recording_name
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.parts import PartsPlan
from vidtok_edge.runtime.session.trigger import TriggerPlan
from vidtok_edge.runtime.sources.capture import Policy
from vidtok_edge.runtime.sources.frame import Fit, RawFormat, Source, without_password
from vidtok_edge.runtime.sources.opening import open_source, source_kind
from vidtok_edge.runtime.viewing.target import ViewTarget

__all__ = ["RecordRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequest:
    """What to record and how.

    Attributes:
        sources: as `open_source` takes them.
        backend, precision, threads: of the encoder, as in `Bundle.encoder`.
        policy, capacity: of the queues; see `Captures`. Capacity None: two chunks, at least 8.
        fit, realtime, raw, fps: of the sources; see `open_source`.
        parts: when a part of the recording ends and another begins, and which are kept.
        trigger: which moments are kept, out of a session that writes nothing else; `parts` then has
            `events` set. None: everything is.
        control: `unix:PATH`, a socket that is made for lines; see `ControlSocket`.
        data: where lines of JSON with samples of data channels come from; see `DataLines`.
        view, view_decoded: where to show what is recorded; whether also reconstructions.
    """

    bundle: Bundle
    sources: tuple[str, ...]
    output: Path
    backend: str = "auto"
    precision: str | None = None
    threads: int | None = None
    policy: Policy | None = None
    capacity: int | None = None
    fit: Fit = "crop"
    realtime: bool = False
    raw: RawFormat | None = None
    fps: float | None = None
    force: bool = False
    options: RecordOptions = field(default_factory=RecordOptions)
    data: tuple[str, ...] = ()
    parts: PartsPlan = field(default_factory=PartsPlan)
    trigger: TriggerPlan | None = None
    control: str | None = None
    view: ViewTarget | None = None
    view_decoded: bool = False

    def check(self) -> None:
        """Raise, before anything is opened, what would go wrong for certain.

        Raises:
            UsageError: sources that the bundle has no slots for, that are named twice, that are
                the recording itself, or that an option does not fit; an output that is named for
                another format.
            OutputExists: the recording is there and `force` is not set.
            SourceError: a source that is no name of one.
            MissingDependency: an audit track without pillow.
            Also what `ViewTarget.check` raises.
        """
        manifest, count = self.bundle.manifest, len(self.sources)
        if not 1 <= count <= manifest.streams:
            raise UsageError(
                f"Got {count} sources; the bundle has {manifest.streams} slots, one per camera. "
                f"Export one with --streams {max(count, 1)}."
            )
        if manifest.io != "uint8":
            raise UsageError(
                f"The bundle takes {manifest.io} frames; cameras give uint8. "
                "Export one with --io uint8."
            )
        if self.options.audit_s is not None:
            _require_pillow()
        self._check_ladder()
        self._check_control()
        if "-" in self.data and "-" in self.sources:
            raise UsageError("Frames and data both come from standard input. Name a pipe for one.")
        if len(set(self.data)) < len(self.data):
            raise UsageError(f"An input of data is named twice: {', '.join(self.data)}.")
        if len(set(self.sources)) < count:
            raise UsageError(
                f"A source is named twice: {', '.join(map(without_password, self.sources))}. Name "
                "each once."
            )
        for spec in self.sources:
            _require_text(spec)
        kinds = [source_kind(spec) for spec in self.sources]
        if self.raw is not None and "raw" not in kinds:
            raise UsageError(
                "--raw, --raw-format and --raw-stride are for pipes, and no source is one."
            )
        if self.fps is not None and not _WITH_FPS & set(kinds):
            raise UsageError("--fps is for files, folders and pipes: cameras have a rate already.")
        require_not_read(self.output, *self.sources, *self.data)
        require_recording_name(self.output)
        if os.path.isdir(self.output):
            raise UsageError(
                f"{self.output} is a folder. Name a file, for example one inside it, as "
                f"{self.output / 'drive.mcap'}."
            )
        if not os.path.isdir(folder := os.path.dirname(self.output) or "."):
            raise OutputNotWritable(
                f"{self.output} cannot be written: there is no folder {folder}. Create it, or "
                "choose another."
            )
        if os.path.lexists(self.output) and not (self.force or self.parts.splits):
            raise OutputExists(self.output)
        if self.view is not None:
            self.view.check(self.force)

    def _check_ladder(self) -> None:
        ladder, precisions = self.options.ladder, self.bundle.manifest.precisions
        asked = self.precision or precisions[0]
        for rung in () if ladder is None else ladder.rungs[1:]:
            if rung.precision == asked:
                raise UsageError(f"The ladder has {asked}, which is what is encoded with anyway.")
            if rung.precision is not None and rung.precision not in precisions:
                raise UsageError(
                    f"The ladder has {rung.precision}, and the bundle has {', '.join(precisions)}. "
                    f"Export one with --precision {asked},{rung.precision}."
                )

    @property
    def spare_precisions(self) -> tuple[str, ...]:
        """That the ladder asks for."""
        rungs = () if self.options.ladder is None else self.options.ladder.rungs
        return tuple(dict.fromkeys(rung.precision for rung in rungs if rung.precision))

    def _check_control(self) -> None:
        from vidtok_edge.runtime.session.control_socket import require_control

        if self.parts.events != (self.trigger is not None):
            raise UsageError(
                "A plan of parts has `events` set where there is a trigger, and else not."
            )
        if self.control is not None:
            require_control(self.control)
            if self.control in self.data:
                raise UsageError(f"{self.control} is named for data and for control. Name two.")
        if self.trigger is not None:
            from vidtok_edge.runtime.session.triggered_file import require_room

            require_room(self.parts, self.trigger, self.session_options.key_interval_s or 0)

    @property
    def session_options(self) -> RecordOptions:
        """As asked for; with a trigger also how often a stream begins, which a ring needs."""
        if self.trigger is None or self.options.key_interval_s is not None:
            return self.options
        return replace(self.options, key_interval_s=self.trigger.key_interval_s)

    @property
    def queue_capacity(self) -> int:
        """Frames that a queue holds: as many as come while a step runs, and once more; also at the
        lowest rate of a ladder, whose frames that are left out go through the queue."""
        if self.capacity is not None:
            return self.capacity
        rungs = () if self.options.ladder is None else self.options.ladder.rungs
        every = max((rung.every for rung in rungs), default=1)
        return every * max(8, 2 * self.bundle.manifest.chunk_frames)

    def opener(self, spec: str) -> Source:
        """Open one of the sources, with the options that are for its kind."""
        manifest, kind = self.bundle.manifest, source_kind(spec)
        return open_source(
            spec,
            (manifest.height, manifest.width),
            fit=self.fit,
            realtime=self.realtime,
            raw=self.raw if kind == "raw" else None,
            fps=self.fps if kind in _WITH_FPS else None,
        )


_WITH_FPS = {"video", "images", "raw"}


def _require_pillow() -> None:
    """Raise MissingDependency where no pictures can be made."""
    importlib.import_module("vidtok_edge.runtime.session.audit")


def _require_text(spec: str) -> None:
    """Raise UsageError for a name that neither the recording nor FFmpeg could have."""
    try:
        spec.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{without_password(spec)!r}: the name of a source is no text in UTF-8. Rename it, or "
            "set a locale of UTF-8, as LC_ALL=C.UTF-8."
        ) from None
