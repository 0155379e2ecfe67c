"""`record`: sources to a recording, with everything that this needs opened in the right order."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from vidtok_edge.errors import OutputExists, SourceError, UsageError
from vidtok_edge.runtime.bundle import Bundle
from vidtok_edge.runtime.session.awaited_file import AwaitedFile
from vidtok_edge.runtime.session.control import Control, Word
from vidtok_edge.runtime.session.options import RecordOptions
from vidtok_edge.runtime.session.parts import PartedFile, PartsPlan
from vidtok_edge.runtime.session.recorder import Notice, Recorder, ShowSummary
from vidtok_edge.runtime.session.summary import RecordSummary, SourceSummary
from vidtok_edge.runtime.session.trigger import TriggerPlan
from vidtok_edge.runtime.sources.capture import Captures, Policy
from vidtok_edge.runtime.sources.frame import Fit, RawFormat, Source, without_password
from vidtok_edge.runtime.sources.opening import open_source, source_kind
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.records import Sink
from vidtok_edge.runtime.viewing.live_view import LiveView, ViewPlan
from vidtok_edge.runtime.viewing.target import ViewTarget
from vidtok_edge.runtime.viewing.watched import ViewSink, WatchedSource, Watching

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter
    from vidtok_edge.runtime.session.data_log import DataLog

__all__ = ["RecordRequest", "control_on_signals", "record", "stop_on_signals"]


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
                the recording itself, or that an option does not fit.
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
                f"A source is named twice: {', '.join(map(without_password, self.sources))}."
            )
        kinds = [source_kind(spec) for spec in self.sources]
        if self.raw is not None and "raw" not in kinds:
            raise UsageError(
                "--raw, --raw-format and --raw-stride are for pipes, and no source is one."
            )
        if self.fps is not None and not _WITH_FPS & set(kinds):
            raise UsageError("--fps is for files, folders and pipes: cameras have a rate already.")
        for spec in self.sources:
            if os.path.exists(spec) and _same_file(spec, self.output):
                raise UsageError(f"{spec} is a source: record to another file than {self.output}.")
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


def _same_file(one: str, other: Path) -> bool:
    return other.exists() and os.path.samefile(one, other)


def record(
    request: RecordRequest,
    *,
    stop: threading.Event | None = None,
    data: DataLog | None = None,
    control: Control | None = None,
    progress: ShowSummary | None = None,
    notice: Notice = lambda line: None,
) -> RecordSummary:
    """Record until the sources end or `stop` is set; the file is finished either way.

    The file is made when all sources are open and the first frame has come. Where one cannot be
    opened, none gives a frame, or `stop` is set before, there is none, and one that was there is
    as it was.

    Args:
        data: what the robot does and is, logged from other threads while this runs; what the lines
            of `request.data` say joins it.
        control: asks the session to pause, to go on, or to keep an event, from other threads; what
            comes by the socket of `request.control` joins it.
        progress, notice: as `Recorder` takes them; also told of the proof that this runs under.

    Raises:
        UsageError, OutputExists, SourceError: as `RecordRequest.check`; also where a source cannot
            be opened, or all have ended or the duration has passed without a frame.
        RecordingBusy: another process records to that file.
        OutputNotWritable: the disk is full, or the folder was taken away.
        MissingDependency: the extra `record`, or what a source needs.
    """
    from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter
    from vidtok_edge.runtime.session.data_log import DataLog

    request.check()
    stop, control = stop or threading.Event(), control or Control()
    tokenizer = Tokenizer.of(request.bundle, request.precision)
    with (
        closing(control),
        request.bundle.encoder(
            request.backend, precision=request.precision, threads=request.threads
        ) as encoder,
        _spare(request) as spare,
        _view(request) as view,
    ):
        watching = None if view is None else Watching(view.show)
        openers = [
            partial(_open, request, number, watching) for number in range(len(request.sources))
        ]
        notice(f"{'' if encoder.proof else 'warning: '}{encoder.proof}")
        _warm_up(encoder)
        in_runs = request.options.on_drop == "restart"
        with Captures(
            openers,
            policy=request.policy,
            capacity=request.queue_capacity,
            realtime=request.realtime,
            in_runs=in_runs,
        ) as captures:
            if not captures.wait_open(stop.is_set):
                return _nothing(request)
            writer = partial(
                RecordingWriter,
                tokenizer=tokenizer,
                sources=request.sources,
                flush_interval_s=request.options.flush_interval_s,
                compression=request.options.compression,
                code=request.options.code,
                force=request.force,
            )
            log, parts = data or DataLog(), _parts(request, writer, tokenizer, notice)
            with (
                _data_lines(request, log, notice),
                _control(request, control, notice),
                parts or AwaitedFile(partial(writer, request.output)) as file,
            ):
                sinks: list[Sink] = [file]  # first: what cannot be written is not shown
                if watching is not None:
                    sinks.append(ViewSink(watching))
                recorder = Recorder(
                    captures,
                    encoder,
                    sinks,
                    request.sources,
                    request.session_options,
                    data=(log, file),
                    parts=parts,
                    spare=spare,
                    control=control,
                    progress=progress,
                    notice=notice,
                )
                recorder.run(stop)
        if view is not None:
            view.close()
        # The file is whole now, and has its last bytes.
        done = replace(recorder.summary(), not_shown=0 if view is None else view.left_out)
        if not stop.is_set():
            _require_frames(done)
        return done


def _parts(
    request: RecordRequest,
    writer: Callable[[Path], RecordingWriter],
    tokenizer: Tokenizer,
    notice: Notice,
) -> PartedFile | None:
    """The file of the session where it is not one alone."""
    output, plan, force = request.output, request.parts, request.force
    if request.trigger is not None:
        from vidtok_edge.runtime.session.triggered_file import TriggeredFile

        return TriggeredFile(
            output,
            writer,
            plan,
            notice,
            tokenizer=tokenizer,
            trigger=request.trigger,
            force=force,
        )
    return PartedFile(output, writer, plan, notice, force=force) if plan.splits else None


@contextmanager
def _spare(request: RecordRequest) -> Iterator[dict[str, StreamEncoder]]:
    """The encoders of the ladder, which have run once: a step down comes when time is short."""
    with ExitStack() as stack:
        found = {}
        for precision in request.spare_precisions:
            encoder = request.bundle.encoder(
                request.backend, precision=precision, threads=request.threads
            )
            found[precision] = stack.enter_context(encoder)
            _warm_up(encoder)
        yield found


@contextmanager
def _control(request: RecordRequest, control: Control, notice: Notice) -> Iterator[None]:
    """Takes lines while the session runs, and answers everything once it does not."""
    from vidtok_edge.runtime.session.control_socket import ControlSocket

    with ExitStack() as stack:
        if request.control is not None:
            stack.enter_context(ControlSocket(request.control, control, notice))
        stack.callback(control.close)
        yield


@contextmanager
def _data_lines(request: RecordRequest, log: DataLog, notice: Notice) -> Iterator[None]:
    """Reads them while the session runs."""
    from vidtok_edge.runtime.session.data_lines import DataLines

    with ExitStack() as stack:
        for spec in request.data:
            stack.enter_context(DataLines(spec, log, notice))
        yield


def _require_frames(done: RecordSummary) -> None:
    if any(source.frames_encoded or source.frames_paused for source in done.sources):
        return
    for source in done.sources:
        if source.error is not None:
            raise source.error
    names = ", ".join(source.name for source in done.sources)
    raise SourceError(
        f"{names} gave no frame in {done.seconds:.1f} s: nothing was recorded. Look at what it "
        "gives, or wait longer."
    )


def _open(request: RecordRequest, number: int, watching: Watching | None) -> Source:
    source = request.opener(request.sources[number])
    return source if watching is None else WatchedSource(source, number, watching)


@contextmanager
def _view(request: RecordRequest) -> Iterator[LiveView | None]:
    if request.view is None:
        yield None
        return
    plan = ViewPlan(
        target=request.view,
        names=tuple(map(without_password, request.sources)),
        bundle=request.bundle.path,
        backend=request.backend,
        precision=request.precision,
        decode=request.view_decoded,
        force=request.force,
    )
    with LiveView(plan) as view:
        yield view


def _nothing(request: RecordRequest) -> RecordSummary:
    """The summary of a session that was stopped before it began."""
    sources = [
        SourceSummary(name=without_password(name), ended="stopped") for name in request.sources
    ]
    return RecordSummary(sources=tuple(sources))


def _warm_up(encoder: StreamEncoder) -> None:
    """The first call of a graph allocates; no camera should wait for that."""
    manifest = encoder.manifest
    encoder.push(np.zeros((manifest.height, manifest.width, 3), np.uint8))
    encoder.finish()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C, SIGTERM and SIGHUP set. The second of them is not waited for."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        _restore(before)  # first: a second signal inside `set` would wait for its lock for ever
        stop.set()

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if before[number] is not signal.SIG_IGN or number != signal.SIGHUP:  # nohup
            signal.signal(number, handle)
    try:
        yield stop
    finally:
        _restore(before)


@contextmanager
def control_on_signals() -> Iterator[Control]:
    """What SIGUSR1 asks to keep an event, and SIGUSR2 to pause or to go on."""
    control = Control()
    words: dict[signal.Signals, Word] = {signal.SIGUSR1: "trigger", signal.SIGUSR2: "toggle"}

    def handle(number: int, frame: FrameType | None) -> None:
        one = signal.Signals(number)
        control.ask(words[one], one.name, unheard=True)

    before = {number: signal.signal(number, handle) for number in words}
    try:
        yield control
    finally:
        _restore(before)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
