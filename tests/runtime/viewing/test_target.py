"""Where a view may go, and what is refused before anything starts."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from vidtok_edge.errors import MissingDependency, OutputExists, OutputNotWritable, UsageError
from vidtok_edge.runtime.viewing.target import ViewTarget

needs_rerun = pytest.mark.skipif(find_spec("rerun") is None, reason="needs rerun-sdk")


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("window", "window", ""),
        ("a/drive.rrd", "file", "a/drive.rrd"),
        ("desk", "viewer", "rerun+http://desk:9876/proxy"),
        ("10.0.0.2:80", "viewer", "rerun+http://10.0.0.2:80/proxy"),
        ("[::1]:99", "viewer", "rerun+http://[::1]:99/proxy"),
        ("rerun+https://desk:443/x", "viewer", "rerun+https://desk:443/x"),
    ],
)
def test_what_a_user_writes(text: str, kind: str, place: str) -> None:
    target = ViewTarget.parse(text)
    assert (target.kind, target.place) == (kind, place)


@pytest.mark.parametrize("text", ["", "/video.mp4", "desk:port", "desk:99999", "ftp://desk"])
def test_what_means_nothing(text: str) -> None:
    with pytest.raises(UsageError, match=r"Allowed: window, HOST or HOST:PORT .*FILE\.rrd"):
        ViewTarget.parse(text)


@pytest.fixture
def port() -> Iterator[int]:
    """Of a listener here."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@needs_rerun
def test_a_viewer_that_answers_and_one_that_does_not(port: int) -> None:
    ViewTarget.parse(f"127.0.0.1:{port}").check()
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = server.getsockname()[1]
    with pytest.raises(UsageError, match=rf"No viewer answers at 127\.0\.0\.1:{gone}"):
        ViewTarget.parse(f"127.0.0.1:{gone}").check()


@needs_rerun
def test_a_file(tmp_path: Path) -> None:
    target = ViewTarget.parse(str(tmp_path / "a.rrd"))
    target.check()
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.rrd").touch()
    target.check(force=True)
    with pytest.raises(OutputExists):
        target.check()
    with pytest.raises(OutputNotWritable):
        ViewTarget.parse(str(tmp_path / "nowhere" / "a.rrd")).check()


@needs_rerun
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
def test_a_window_needs_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    ViewTarget.parse("window").check()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UsageError, match="no screen"):
        ViewTarget.parse("window").check()


def test_without_rerun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.viewing.target.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"vidtok-edge\[view\]"):
        ViewTarget.parse("window").check()
