"""Readers of recordings, of what robots wrote beside them, and of lists of parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fuzz.mutations import of_bytes, of_mcap, of_text
from fuzz.target import HERE, Target

__all__ = ["recording_targets"]

_MCAP = ("mcap", "mcap_ros2", "lz4", "zstandard")


def recording_targets() -> Sequence[Target]:
    """For sound files of this version and of those before."""
    found = [
        Target(
            name=f"{name}.{how}",
            make=partial(_written_before, f"{name}.mcap"),
            read=read,
            mutation=of_mcap,
            needs=_MCAP,
        )
        for name in ("recording", "kl")
        for how, read in (("read", _recording), ("recover", _recover))
    ]
    found += [
        Target(name=name, make=make, read=read, mutation=mutation, needs=_MCAP)
        for name, make, read, mutation in (
            ("recording.data", _with_data, _read_data, of_mcap),
            ("recording.coded", partial(_conformance, "entropy-robot.mcap"), _recording, of_mcap),
            (
                "recording.coded.recover",
                partial(_conformance, "entropy-planes.mcap"),
                _recover,
                of_mcap,
            ),
            ("coded.latent", _coded_latent, _read_coded_latent, of_bytes),
            ("bag", _bag, _read_bag, of_mcap),
            ("bag.list", _bag_list, _read_bag_list, of_text),
            ("data.lines", _lines, _read_lines, of_bytes),
            ("parts", _parts, _read_parts, of_text),
        )
    ]
    return found


def _written_before(name: str, folder: Path) -> Path:
    return Path(shutil.copy(HERE / "written_before" / name, folder))


def _conformance(name: str, folder: Path) -> Path:
    return Path(shutil.copy(HERE / "conformance" / name, folder))


def _coded_latent(folder: Path) -> Path:
    import numpy as np

    from vidtok_edge.runtime.coding.latent_coder import LatentCoder

    path, tokens = folder / "latent", np.arange(256, dtype=np.int32).reshape(16, 16) * 7
    path.write_bytes(LatentCoder((8,) * 5, 16, 16).encode(tokens))
    return path


def _read_coded_latent(path: Path) -> None:
    """What it gives is what was coded, or an error."""
    import numpy as np

    from vidtok_edge.runtime.coding.latent_coder import LatentCoder

    try:
        tokens = LatentCoder((8,) * 5, 16, 16).decode(path.read_bytes())
    except ValueError:
        return  # what it promises
    assert (tokens == np.arange(256).reshape(16, 16) * 7).all()


def _recording(path: Path) -> None:
    from vidtok_edge.runtime.recording.format.reader import Recording

    for use_index in (True, False):
        with Recording.open(path, use_index=use_index) as recording:
            for _ in recording.everything():
                pass
            assert recording.start_ns <= recording.end_ns


def _recover(path: Path) -> None:
    from vidtok_edge.runtime.recording.recovery import recover

    output = path.with_name("out.mcap")
    try:
        recover(path, output).lines()
    finally:
        output.unlink(missing_ok=True)


def _with_data(folder: Path) -> Path:
    import numpy as np
    from recordings import FSQ, WALL, latents, write

    from vidtok_edge.runtime.recording import RecordingWriter
    from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

    path = folder / "data.mcap"
    with RecordingWriter(path, FSQ, ["cam"], compression="none") as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        for i in range(4):
            write(writer, camera, latents(0, i))
            values = np.arange(3.0) + i
            writer.log(Sample(channel="action", time_ns=i, wall_time_ns=WALL + i, values=values))
            writer.log(Sample(channel="task", time_ns=i, wall_time_ns=WALL + i, text="go on"))
            writer.flush()
    return path


def _read_data(path: Path) -> None:
    from vidtok_edge.runtime.recording import Recording
    from vidtok_edge.runtime.recording.data_rows import DataRequest, data_of

    _recording(path)
    with Recording.open(path) as recording:
        for samples in data_of(recording, DataRequest()).values():
            samples.beside(0, 1 << 62)
        for _ in recording.samples():
            pass


def _bag(folder: Path) -> Path:
    from mcap_ros2.writer import Writer

    path = folder / "robot.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        text = "string[] name\nfloat64[] position\nint32 count\nbool[3] on\n"
        schema = writer.register_msgdef("arm_msgs/msg/Joints", text)
        for i in range(5):
            message = {"name": ["a", "b"], "position": [i, 2.0], "count": i, "on": [True] * 3}
            writer.write_message("/joints", schema, message, log_time=i, publish_time=i)
        writer.finish()  # type: ignore[no-untyped-call]
    return path


def _read_bag(path: Path) -> None:
    from vidtok_edge.runtime.joining.bag_files import BagFiles
    from vidtok_edge.runtime.joining.bags import Take

    with BagFiles.open([path]) as bag:
        bag.outline()
        for take in ("*", "*:position", "*:on.1"):
            for _ in bag.samples([Take.parse(take)]):
                pass


def _bag_list(folder: Path) -> Path:
    _bag(folder).rename(folder / "bag_0.mcap")
    path = folder / "metadata.yaml"
    path.write_text("information:\n  relative_file_paths:\n    - bag_0.mcap\n  version: 9\n")
    return path


def _read_bag_list(path: Path) -> None:
    from vidtok_edge.runtime.joining.bag_files import bag_files

    bag_files(path.parent)


def _lines(folder: Path) -> Path:
    path = folder / "lines"
    lines = [
        {"channel": "action", "values": [0.5, None, -2e9], "fields": ["x", "y", "z"]},
        {"channel": "task", "event": {"open": [1, 2]}, "wall_time_ns": 1},
        {"channel": "grip", "values": 3, "time_ns": 12345},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines * 20))
    return path


def _read_lines(path: Path) -> None:
    """Whatever a line is, the reader goes on."""
    from vidtok_edge.runtime.session.data_lines import DataLines
    from vidtok_edge.runtime.session.data_log import DataLog

    log, said = DataLog(), list[str]()
    with DataLines(str(path), log, said.append) as lines:
        lines.wait(10)
    log.taken()


def _parts(folder: Path) -> Path:
    part = {"file": "a-1.mcap", "begin_ns": 1, "end_ns": 2, "latents": 3, "samples": 0}
    part |= {"bytes": 5, "finished": True, "removed": False}
    path = folder / "a.index.json"
    path.write_text(json.dumps({"schema": 1, "plan": {}, "parts": [part] * 3}, indent=1))
    return path


def _read_parts(path: Path) -> None:
    from vidtok_edge.runtime.session.parts_index import parts_of_before

    parts_of_before(path.with_name("a.mcap"))
