"""Cameras, played by MPEG-TS over loopback and by containers that do what a test says."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import av
import pytest
from clips import index_of, make_clip, picture

from vidtok_edge.errors import SourceError, SourceLost
from vidtok_edge.runtime.sources import Captured, Captures, Lost, Opened, Retry
from vidtok_edge.runtime.sources.camera import CameraSource, CameraTimeouts

QUICK = CameraTimeouts(open_s=2, read_s=0.2)
SIZE = (64, 96)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Fifty frames of MPEG-TS, as a network camera sends them."""
    path = tmp_path_factory.mktemp("camera") / "clip.ts"
    return make_clip(path, 50).read_bytes()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve bytes over TCP on loopback, to each who connects; then end, or stay silent."""
    ends: list[socket.socket] = []

    def work(server: socket.socket, data: bytes, silent: bool) -> None:
        try:
            while True:
                connection, _ = server.accept()
                ends.append(connection)
                connection.sendall(data)
                if not silent:
                    connection.close()
        except OSError:
            pass  # the test is over

    def start(data: bytes, *, silent: bool = False) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        ends.append(server)
        threading.Thread(target=work, args=(server, data, silent), daemon=True).start()
        return f"tcp://user:secret@127.0.0.1:{server.getsockname()[1]}"

    yield start
    for end in ends:
        end.close()


def taken(source: CameraSource) -> tuple[list[int], str]:
    """What the frames of a camera show, and how it was lost."""
    shown = []
    with pytest.raises(SourceError) as lost:
        for frame in source:
            shown.append(index_of(frame.pixels))
            assert frame.pixels.shape == (*SIZE, 3)
            assert 0 <= time.monotonic_ns() - frame.capture_time_ns < 5e9
    source.close()
    assert "secret" not in str(lost.value)
    return shown, f"{type(lost.value).__name__}: {lost.value}"


def test_a_network_camera_until_it_ends(stream: bytes, serve: Callable[..., str]) -> None:
    source = CameraSource(serve(stream), SIZE)
    assert source.live and source.fps == 30
    shown, lost = taken(source)
    assert shown == list(range(50))
    assert lost.startswith("SourceLost") and "ended its stream after 50 frames" in lost


def test_a_network_camera_that_comes_back(stream: bytes, serve: Callable[..., str]) -> None:
    url = serve(stream)
    opener = partial(CameraSource, url, SIZE)
    lives: list[list[int]] = []
    with Captures([opener], policy="block", retry=Retry(first_s=0.01)) as captures:
        while (event := captures.next(5)) is not None:
            if isinstance(event, Opened):
                lives.append([])
            elif isinstance(event, Captured):
                lives[-1].append(index_of(event.frame.pixels))
            elif isinstance(event, Lost) and len(lives) == 3:
                break
    # What the first life saw before `next` was called is old.
    assert lives[1:] == [list(range(50))] * 2
    assert lives[0] == list(range(50))[50 - len(lives[0]) :]


def test_a_camera_that_falls_silent_is_lost(stream: bytes, serve: Callable[..., str]) -> None:
    source = CameraSource(serve(stream, silent=True), SIZE, timeouts=QUICK)
    began = time.monotonic()
    shown, lost = taken(source)
    assert shown[0] == 0 and lost.startswith("SourceLost")
    assert time.monotonic() - began < 3


def test_a_camera_that_never_speaks_does_not_open(serve: Callable[..., str]) -> None:
    with pytest.raises(SourceError, match=r"did not open|cannot be opened") as error:
        CameraSource(serve(b"", silent=True), SIZE, timeouts=CameraTimeouts(0.2, 0.2))
    assert "secret" not in str(error.value)


def test_a_camera_that_sends_garbage_does_not_open(serve: Callable[..., str]) -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        CameraSource(serve(b"\x55garbage" * 4000), SIZE, timeouts=QUICK)


def test_a_file_on_a_web_server_is_told(tmp_path: Path, serve: Callable[..., str]) -> None:
    """It is read as fast as it comes, and again from its beginning at its end."""
    clip = make_clip(tmp_path / "a.mp4", 30, options={"movflags": "faststart"}).read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(clip)}\r\n\r\n".encode()
    source = CameraSource(serve(head + clip).replace("tcp://", "http://") + "/a.mp4", SIZE)
    assert source.doubts[0].startswith("it is a file of 1.0 s, read as a camera is")
    source.close()


def test_a_stream_without_an_end_is_no_file(stream: bytes, serve: Callable[..., str]) -> None:
    url = serve(b"HTTP/1.0 200 OK\r\n\r\n" + stream).replace("tcp://", "http://")
    source = CameraSource(url, SIZE)
    # Who serves it does not read what it was asked for, and may cut off the last ones.
    assert taken(source)[0][:30] == list(range(30)) and source.doubts == ()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceError, match="Connection refused"):
        CameraSource(f"tcp://127.0.0.1:{port}", SIZE, timeouts=QUICK)


def test_sound_only_is_no_camera() -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="wav") as container:
        container.add_stream("pcm_s16le", rate=8000)
        container.start_encoding()
    data.seek(0)
    with pytest.raises(SourceError, match="no video stream"):
        CameraSource("rtsp://fake", SIZE, opener=lambda: av.open(data, "r"))


# --- containers that do what a test says ------------------------------------------------------


class FakePacket:
    def __init__(self, frames: list[Any]) -> None:
        self._frames = frames

    def decode(self) -> list[Any]:
        if not self._frames:
            raise av.error.InvalidDataError(1, "invalid data")
        return self._frames


class FakeStream:
    guessed_rate = None
    average_rate = Fraction(15)
    sample_aspect_ratio = None
    metadata: ClassVar[dict[str, str]] = {}
    thread_type = ""


class FakeContainer:
    """Plays packets; an Event is waited for, as a driver hangs, and an error raised."""

    def __init__(self, *packets: Any) -> None:
        self.packets = packets
        self.streams = self
        self.video = [FakeStream()]
        self.closed = threading.Event()

    def demux(self, stream: object) -> Iterator[Any]:
        for packet in self.packets:
            if isinstance(packet, threading.Event):
                packet.wait(3)
            elif isinstance(packet, Exception):
                raise packet
            else:
                yield packet

    def close(self) -> None:
        self.closed.set()


def packet(index: int, size: tuple[int, int] = SIZE) -> FakePacket:
    return FakePacket([av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")])


def camera(container: Any, *, timeouts: CameraTimeouts = QUICK, fit: Any = "crop") -> CameraSource:
    return CameraSource("/dev/video0", SIZE, opener=lambda: container, timeouts=timeouts, fit=fit)


def test_a_driver_that_hangs_loses_the_camera() -> None:
    """V4L2 knows no time-out: the thread that hangs is left, and ends when the driver does."""
    hang = threading.Event()
    container = FakeContainer(packet(1), hang, packet(2))
    source = camera(container, timeouts=CameraTimeouts(1, 0.2))
    shown, lost = taken(source)
    assert shown == [1] and lost.startswith("SourceLost: /dev/video0 gave no picture")
    hang.set()
    assert container.closed.wait(5)


def test_a_driver_that_hangs_when_it_is_opened() -> None:
    hang = threading.Event()

    def opener() -> Any:
        hang.wait(3)
        return FakeContainer()

    with pytest.raises(SourceError, match="did not open within"):
        CameraSource("/dev/video0", SIZE, opener=opener, timeouts=CameraTimeouts(0.1, 1))
    hang.set()


def test_a_camera_is_not_opened_again_while_its_driver_hangs() -> None:
    """The device would be busy, and each attempt would leave a thread behind."""
    hang, looking, opened = threading.Event(), threading.Event(), 0

    def opener() -> Any:
        nonlocal opened
        opened += 1
        if opened > 1:
            return FakeContainer(packet(opened))
        return FakeContainer(looking, packet(opened), hang)

    source = partial(
        CameraSource, "/dev/video7", SIZE, opener=opener, timeouts=CameraTimeouts(1, 0.3)
    )
    losses: list[str] = []
    shown: list[int] = []
    with Captures([source], retry=Retry(0.001)) as captures:
        captures.next(0)  # what a camera sees before anybody looks is left out
        looking.set()
        while (event := captures.next(5)) is not None and len(shown) < 2:
            if isinstance(event, Lost):
                losses.append(event.reason)
                if len(losses) == 3:
                    assert opened == 1
                    hang.set()
            elif isinstance(event, Captured):
                shown.append(index_of(event.frame.pixels))
    assert shown == [1, 2]
    assert "gave no picture" in losses[0] and "still hangs in its driver" in losses[1]


def test_a_mistake_in_the_code_is_no_loss() -> None:
    source = camera(FakeContainer(packet(1), ZeroDivisionError("a mistake")))
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        list(source)


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("/dev/video0", {}),
        ("v4l2:/dev/video0", {}),
        ("rtsp://10.0.0.2/1", {"rtsp_transport": "tcp"}),
        ("http://10.0.0.2/1", {}),
    ],
)
def test_what_ffmpeg_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, spec: str, options: dict[str, str]
) -> None:
    given: dict[str, Any] = {}

    def opened(file: str, **arguments: Any) -> Any:
        given.update(arguments, file=file)
        raise OSError(2, "not here")

    monkeypatch.setattr(av, "open", opened)
    with pytest.raises(SourceError, match="not here"):
        CameraSource(spec, SIZE, timeouts=CameraTimeouts(4, 2))
    assert given["timeout"] == (4, 2), "it must not wait for ever"
    if spec.endswith("/dev/video0"):
        assert (given["file"], given["format"]) == ("/dev/video0", "v4l2")
    else:
        assert given["container_options"].items() >= options.items()
        assert "file" not in given["container_options"]["protocol_whitelist"].split(",")


@pytest.mark.parametrize("spec", ["/dev/no-camera", "rtsp://127.0.0.1:9/1", "http://127.0.0.1:9/1"])
def test_the_installed_pyav_takes_what_it_is_asked(spec: str) -> None:
    """An argument that this PyAV does not have would be a TypeError, which is no SourceError."""
    with pytest.raises(SourceError, match="cannot be opened"):
        CameraSource(spec, SIZE, timeouts=CameraTimeouts(30, 1))


def test_a_camera_that_fails_is_lost() -> None:
    gone = OSError(19, "No such device")
    shown, lost = taken(camera(FakeContainer(packet(1), packet(2), gone)))
    assert shown == [1, 2] and lost == "SourceLost: /dev/video0 failed: No such device"


def test_a_time_out_of_ffmpeg_is_said_as_ours() -> None:
    """Both are as long, so either may come first."""
    silent = av.error.ExitError(1, "Immediate exit requested")
    shown, lost = taken(camera(FakeContainer(packet(1), silent)))
    assert shown == [1] and lost == "SourceLost: /dev/video0 gave no picture for 0.2 s"

    def opener() -> Any:
        raise silent

    with pytest.raises(SourceError, match="cannot be opened: it does not answer"):
        CameraSource("/dev/video0", SIZE, opener=opener, timeouts=QUICK)


def test_damaged_packets_are_passed_over_and_counted() -> None:
    bad = FakePacket([])
    container = FakeContainer(bad, packet(1), bad, packet(2), packet(3), bad, bad, packet(4))
    damaged = []
    with pytest.raises(SourceLost):
        for frame in (source := camera(container)):
            damaged.append((index_of(frame.pixels), frame.damaged_before))
    source.close()
    assert damaged == [(1, 0), (2, 1), (3, 0), (4, 2)]  # before the first one is no damage


def test_what_is_wrong_with_the_pictures_of_a_camera_is_said() -> None:
    class Patched:
        """A picture whose damage the decoder filled in, of two fields."""

        is_corrupt = interlaced_frame = True

        def __init__(self, picture: Any) -> None:
            self._picture = picture

        def __getattr__(self, name: str) -> Any:
            return getattr(self._picture, name)

    container = FakeContainer(packet(1), FakePacket([Patched(packet(2).decode()[0])]), packet(3))
    shown = []
    with pytest.raises(SourceLost):
        for frame in (source := camera(container)):
            shown.append(index_of(frame.pixels))
    assert shown == [1, 2, 3]
    fields, damage = source.doubts
    assert fields.startswith("it is interlaced: what moves has combs")
    assert damage.startswith("1 of its pictures were damaged in part and were used")


def test_nothing_but_damaged_packets_is_a_loss() -> None:
    def endless() -> Iterator[FakePacket]:
        yield packet(1)
        while True:
            time.sleep(0.005)
            yield FakePacket([])

    container = FakeContainer()
    container.demux = lambda _: endless()  # type: ignore[assignment,method-assign]
    shown, lost = taken(camera(container))
    assert shown == [1] and "gave no picture for 0.2 s" in lost


def test_a_camera_that_changes_size() -> None:
    shown, lost = taken(camera(FakeContainer(packet(1, (64, 96)), packet(2, (64, 64)))))
    assert shown == [1]
    assert (
        lost.startswith("SourceError") and "64x64 (H x W), the frames before it were 64x96" in lost
    )


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_frames_are_fitted_as_clips_are(fit: Any) -> None:
    source = camera(FakeContainer(packet(3, (64, 200))), fit=fit)
    frame = next(iter(source))
    assert (frame.pixels[0, 0] == 0).all() == (fit == "letterbox")
    source.close()


def test_closing_wakes_up_a_reader_at_once() -> None:
    hang = threading.Event()
    container = FakeContainer(hang)
    source = camera(container, timeouts=CameraTimeouts())
    threading.Timer(0.02, source.close).start()
    began = time.monotonic()
    assert list(source) == []
    assert time.monotonic() - began < 4, "less than a camera may be silent"
    hang.set()
    assert container.closed.wait(5), "by the thread that reads it"
