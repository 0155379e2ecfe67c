"""Readers of what `export-recording` wrote: to train on, and to add to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fuzz.mutations import Mutation, of_bytes, of_text, of_zip
from fuzz.target import Target

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest

__all__ = ["set_targets"]

_NEEDS = ("mcap", "lz4", "zstandard", "pyarrow")
_FILES: Sequence[tuple[str, str, str, Mutation]] = (
    ("npz", "recording.json", "json", of_text),
    ("npz", "e00000-camera0-stream0000-latent000000.npz", "tokens", of_zip),
    ("npz", "e00000-camera0-stream0000-latent000000.data.npz", "data", of_zip),
    ("webdataset", "recording.json", "json", of_text),
    ("webdataset", "shard-000000.tar", "tar", of_bytes),
    ("lerobot", "meta/info.json", "json", of_text),
    ("lerobot", "data/chunk-000/file-000.parquet", "rows", of_bytes),
    ("parquet", "recording.json", "json", of_text),
    ("parquet", "data/train-00000.parquet", "rows", of_bytes),
)
_ADDED = (
    ("lerobot", "meta/info.json", of_text),
    ("lerobot", "meta/stats.json", of_text),
    ("lerobot", "meta/recording.json", of_text),
    ("lerobot", "meta/tasks.parquet", of_bytes),
    ("npz", "recording.json", of_text),
)
_WITH_VIDEO = (
    ("meta/info.json", of_text),
    ("meta/stats.json", of_text),
    ("meta/episodes/chunk-000/file-000.parquet", of_bytes),
)


def set_targets() -> Sequence[Target]:
    """Of each format each kind of file."""
    found = [
        Target(
            name=f"set.{format}.{kind}",
            make=partial(_set, format, name),
            read=partial(_train, len(Path(name).parts)),
            mutation=mutation,
            needs=(*_NEEDS, "torch"),
        )
        for format, name, kind, mutation in _FILES
    ]
    found += [
        Target(
            name=f"added.{format}.{Path(name).name}",
            make=partial(_set, format, name),
            read=partial(_add, format, len(Path(name).parts)),
            mutation=mutation,
            needs=_NEEDS,
        )
        for format, name, mutation in _ADDED
    ]
    return found + [
        Target(
            name=f"added.lerobot.video.{Path(name).name}",
            make=partial(_set_with_video, name),
            read=partial(_add_with_video, len(Path(name).parts)),
            mutation=mutation,
            needs=(*_NEEDS, "av", "onnx", "onnxruntime"),
        )
        for name, mutation in _WITH_VIDEO
    ]


def _set(format: str, name: str, folder: Path) -> Path:
    from stories import eventful

    from vidtok_edge.runtime.recording.exports.exporting import export_recording

    recording = eventful(folder / "a.mcap")
    export_recording(recording, folder / "set", format, gaps="keep")  # type: ignore[arg-type]
    return folder / "set" / name


def _set_with_video(name: str, folder: Path) -> Path:
    from stories import eventful
    from tiny_bundle import write_tiny_bundle

    from vidtok_edge.runtime.bundle import Bundle
    from vidtok_edge.runtime.recording import Tokenizer
    from vidtok_edge.runtime.recording.exports.exporting import export_recording
    from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest

    write_tiny_bundle(folder / "tiny")
    bundle = Bundle.load(folder / "tiny")
    recording = eventful(folder / "a.mcap", tokenizer=Tokenizer.of(bundle))
    request = PictureRequest(bundle=bundle, backend="cpu")
    export_recording(recording, folder / "set", "lerobot", gaps="keep", video=request)
    return folder / "set" / name


def _train(depth: int, path: Path) -> None:
    from vidtok_edge.datasets import TokenWindows

    windows = TokenWindows(path.parents[depth - 1], length=1)
    try:
        for number in range(min(20, len(windows))):
            windows[number]
    finally:
        windows.close()


def _add_with_video(depth: int, path: Path) -> None:
    from vidtok_edge.runtime.bundle import Bundle
    from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest

    bundle = Bundle.load(path.parents[depth] / "tiny")
    _add("lerobot", depth, path, PictureRequest(bundle=bundle, backend="cpu"))


def _add(format: str, depth: int, path: Path, video: PictureRequest | None = None) -> None:
    """To a copy, so that the sound one stays."""
    import shutil
    import tempfile

    from vidtok_edge.runtime.recording.exports.exporting import export_recording

    folder = path.parents[depth - 1]
    with tempfile.TemporaryDirectory() as other:
        copy = shutil.copytree(folder, Path(other) / "set")
        recording = folder.parent / "a.mcap"
        export_recording(
            recording,
            copy,
            format,  # type: ignore[arg-type]
            gaps="keep",
            video=video,
            append=True,
        )
