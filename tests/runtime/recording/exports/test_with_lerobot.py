"""Pictures of the shipped tokenizer: bit for bit those of `replay`, and what LeRobot itself reads.

`VIDTOK_EDGE_LEROBOT` names a Python that has lerobot 0.4.4 or later with its video readers; it
wants other packages than this one, and is not installed beside it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stamps import stamp

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.data_rows import DataRequest
from vidtok_edge.runtime.recording.exports.existing import RECONSTRUCTION
from vidtok_edge.runtime.recording.exports.exporting import export_recording
from vidtok_edge.runtime.recording.exports.inputs import Inputs
from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest, RowPictures
from vidtok_edge.runtime.recording.format.reader import Recording
from vidtok_edge.runtime.recording.playback import Playback
from vidtok_edge.runtime.streaming.records import SourceRecords

pytestmark = pytest.mark.xdist_group("embedded")
FPS, LATENTS, WALL = 30, 13, 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def drive(embedded: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that becomes brighter with each frame, so that it says when it was taken."""
    path, camera = tmp_path_factory.mktemp("video") / "drive.mcap", SourceRecords(0)
    ramp = np.add.outer(np.arange(64), np.arange(96))[..., None] * [0.3, 0.2, 0.4]
    with (
        embedded.encoder("cpu", threads=2) as encoder,
        RecordingWriter(path, Tokenizer.of(embedded), ["camera"]) as writer,
    ):
        writer.take(camera.start("start", 0, WALL, fps=FPS))
        for number in range(4 * LATENTS - 3):
            time_ns = number * 10**9 // FPS
            frame = (ramp + 4 * number).clip(0, 255).astype(np.uint8)
            for latents in encoder.push(frame, stamp=stamp(time_ns, WALL)):
                for record in camera.encoded(latents, encode_start_ns=0, encode_end_ns=0):
                    writer.take(record)
        writer.take(camera.end("end", time_ns, WALL + time_ns))
    return path


@pytest.fixture(scope="module")
def played(drive: Path, embedded: Bundle) -> list[NDArray[np.uint8]]:
    """All frames."""
    with Recording.open(drive) as recording, embedded.decoder("cpu", threads=2) as decoder:
        playback = Playback(recording=recording, decoder=decoder, source=0, fps=FPS)
        return [frame.pixels for frame in playback]


@pytest.mark.parametrize("start_s", [None, 0.75])
def test_rows_show_the_last_frames_of_latents(
    drive: Path, played: list[NDArray[np.uint8]], embedded: Bundle, start_s: float | None
) -> None:
    inputs = Inputs(
        paths=[drive], source=None, start_s=start_s, end_s=None, gaps="split", data=DataRequest()
    )
    found = {}
    with RowPictures(inputs, PictureRequest(bundle=embedded, backend="cpu")) as pictures:
        for episode in inputs:
            for row in episode.rows:
                found[row.latent.index] = pictures.of(episode, row)
    assert [*found] == [*range(0 if start_s is None else 6, LATENTS)]
    for index, pixels in found.items():
        np.testing.assert_array_equal(pixels, played[4 * index], err_msg=str(index))
        other = played[4 * index - 1] if index else played[1]
        assert (pixels != other).any(), "the test would not see another frame"


READ = f"""
import sys
import numpy as np, torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

if __name__ == "__main__":
    key, step = "{RECONSTRUCTION}", 4 / {FPS}
    times = {{key: [-step, 0.0]}}
    dataset = LeRobotDataset("me/set", root=sys.argv[1], delta_timestamps=times)
    found = [(item[key], item["index"]) for item in torch.utils.data.DataLoader(
        dataset, batch_size=4, num_workers=2)]
    pictures = torch.cat([pair for pair, _ in found]).numpy()
    assert torch.cat([index for _, index in found]).tolist() == list(range(len(dataset)))
    assert (pictures[1:, 0] == pictures[:-1, 1]).all(), "rows before, by time"
    np.save(sys.argv[2], (pictures[:, 1] * 255).round().transpose(0, 2, 3, 1))
"""


def test_lerobot_shows_them(
    drive: Path, played: list[NDArray[np.uint8]], embedded: Bundle, tmp_path: Path
) -> None:
    python = os.environ.get("VIDTOK_EDGE_LEROBOT")
    if not python:
        pytest.skip("VIDTOK_EDGE_LEROBOT names no Python that has lerobot")
    request = PictureRequest(bundle=embedded, backend="cpu")
    export_recording(drive, tmp_path / "set", "lerobot", video=request)
    script = tmp_path / "read.py"
    script.write_text(READ, encoding="utf-8")
    command = [python, str(script), str(tmp_path / "set"), str(tmp_path / "shown.npy")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    shown = np.load(tmp_path / "shown.npy")
    assert len(shown) == LATENTS
    own = [played[4 * index].astype(np.float64) for index in range(LATENTS)]
    errors = np.array([[((one - other) ** 2).mean() for other in own] for one in shown])
    assert errors.argmin(axis=1).tolist() == list(range(LATENTS)), "row i shows latent i"
    assert 10 * np.log10(255**2 / errors.diagonal().max()) > 35  # dB; the codec, and colours halved
