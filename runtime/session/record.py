"""`record`: sources to a recording, with everything that this needs opened in the right order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidtok_edge.errors import SourceError
from vidtok_edge.runtime.session.awaited_file import AwaitedFile
from vidtok_edge.runtime.session.control import Control
from vidtok_edge.runtime.session.parted_file import PartedFile
from vidtok_edge.runtime.session.recorder import Notice, Recorder, ShowSummary
from vidtok_edge.runtime.session.request import RecordRequest
from vidtok_edge.runtime.session.summary import RecordSummary, SourceSummary
from vidtok_edge.runtime.sources.capture import Captures
from vidtok_edge.runtime.sources.frame import Source, without_password
from vidtok_edge.runtime.streaming.encoder import StreamEncoder
from vidtok_edge.runtime.streaming.records import Sink
from vidtok_edge.runtime.viewing.live_view import LiveView, ViewPlan
from vidtok_edge.runtime.viewing.watched import ViewSink, WatchedSource, Watching

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.format.tokenizer import Tokenizer
    from vidtok_edge.runtime.recording.format.writer import RecordingWriter
    from vidtok_edge.runtime.session.data_log import DataLog
    from vidtok_edge.runtime.session.samples import SampleTally

__all__ = ["record"]


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
            of `request.data` say joins it. It may serve one session after another: what is logged
            between them goes to the next.
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
    log = data or DataLog()
    with (
        closing(control),
        log.tally.session(),
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
            with (
                _parts(request, writer, tokenizer, log.tally, notice) as parts,
                _data_lines(request, log, notice),
                _control(request, control, notice),
                parts or AwaitedFile(partial(writer, request.output), log.tally) as file,
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


@contextmanager
def _parts(
    request: RecordRequest,
    writer: Callable[[Path], RecordingWriter],
    tokenizer: Tokenizer,
    tally: SampleTally,
    notice: Notice,
) -> Iterator[PartedFile | None]:
    """The file of the session where it is not one alone; its list is let go at the latest here."""
    output, plan, force = request.output, request.parts, request.force
    parts: PartedFile
    if request.trigger is not None:
        from vidtok_edge.runtime.session.triggered_file import TriggeredFile

        parts = TriggeredFile(
            output,
            writer,
            plan,
            notice,
            tokenizer=tokenizer,
            trigger=request.trigger,
            tally=tally,
            force=force,
        )
    elif plan.splits:
        parts = PartedFile(output, writer, plan, notice, tally=tally, force=force)
    else:
        yield None
        return
    with closing(parts):
        yield parts


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
        read = [stack.enter_context(DataLines(spec, log, notice)) for spec in request.data]
        yield
    # What others send then is of no interest: a session ends while they go on.
    if late := log.waiting(set[str]().union(*(lines.from_file for lines in read))):
        notice(
            f"warning: {late} samples were read after the session had ended, and are not in the "
            "recording"
        )


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
