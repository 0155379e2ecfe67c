"""A folder of Parquet files: rows that every reader gives their shape, and what they are of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from recordings import FSQ, KL, WALL, latents, record, values_of, write
from stories import eventful

from vidtok_edge.errors import RecordingError
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.recording.exports.exporting import export_recording
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords


@pytest.mark.parametrize("tokenizer", [FSQ, KL], ids=["fsq", "kl"])
def test_rows_have_their_shape(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = record(tmp_path / "a.mcap", 10, key=6, tokenizer=tokenizer)
    export_recording(path, tmp_path / "out", "parquet")
    [file] = (tmp_path / "out" / "data").iterdir()
    table = pq.read_table(file)
    name = "tokens" if tokenizer is FSQ else "latent"
    found = np.array(table.column(name).to_pylist())
    of_source = [[values_of(s, i, tokenizer) for i in (*range(6), *range(4))] for s in range(2)]
    np.testing.assert_array_equal(found, np.array(of_source[0] + of_source[1]))
    side = table.schema.field(name).type
    for length in tokenizer.shape:
        assert side.list_size == length
        side = side.value_type
    assert str(side) == ("uint16" if tokenizer is FSQ else "float")
    assert table.column("episode_index").to_pylist() == [0] * 10 + [1] * 10
    assert table.column("position").to_pylist() == [*range(10)] * 2
    assert table.column("begins").to_pylist()[:7] == ["start", *[""] * 5, "key"]
    told = json.loads(table.schema.metadata[b"vidtok_edge"])
    assert Tokenizer.from_map(told["tokenizer"]) == tokenizer
    assert (told["format"], told["latents_per_s"], told["channels"]) == (1, 10.0, {})
    assert told["data"] == {"align": "last", "max_age_s": 1.0, "missing": "split"}


def test_the_card_says_where_and_what(tmp_path: Path) -> None:
    export_recording(eventful(tmp_path / "a.mcap"), tmp_path / "out", "parquet")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nconfigs:\n") and "path: data/*.parquet" in card
    assert "| `tokens` | uint16 [2 x 3] |" in card
    assert "| `action` | float32 [2] s, minus_s |" in card


def test_a_large_set_is_split_between_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtok_edge.runtime.recording.exports.parquet._FILE_BYTES", 100)
    export_recording(record(tmp_path / "a.mcap", 10), tmp_path / "out", "parquet")
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert [(file.name, pq.read_table(file).num_rows) for file in files] == [
        ("train-00000.parquet", 10),
        ("train-00001.parquet", 10),
    ]
    document = json.loads((tmp_path / "out" / "recording.json").read_text())
    assert [e["file"] for e in document["episodes"]] == [f"data/{file.name}" for file in files]


@pytest.mark.parametrize("name", ["tokens", "stream", "age_ns.x"])
def test_a_channel_that_is_called_as_a_column(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with RecordingWriter(path, FSQ, ["cam"]) as writer:
        camera = SourceRecords(0)
        writer.take(camera.start("start", 0, WALL, fps=40))
        writer.log(Sample(channel=name, time_ns=0, wall_time_ns=WALL, values=np.ones(1)))
        write(writer, camera, latents(0, 0))
    with pytest.raises(RecordingError, match=f"would be the column {name}"):
        export_recording(path, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


LOADED = """
import sys
sys.path = [place for place in sys.path if place not in ("", ".")]
import datasets
import numpy as np
for given in ({"path": sys.argv[1]}, {"path": "parquet", "data_dir": sys.argv[1]}):
    rows = datasets.load_dataset(**given)["train"]
    batch = rows.with_format("numpy")[0:3]
    assert len(rows) == 26 and batch["tokens"].shape == (3, 2, 3), batch
    assert batch["action"].dtype == np.float32 and batch["action"].shape == (3, 2)
    first = next(iter(datasets.load_dataset(**given, streaming=True)["train"]))
    assert (np.array(first["tokens"]) == batch["tokens"][0]).all()
"""


@pytest.mark.slow
def test_hugging_face_loads_it(tmp_path: Path) -> None:
    """In a process of its own, without the paths of this one: a folder here has the same name."""
    place = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    place |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    ask = "import datasets, sys; sys.exit(not hasattr(datasets, 'load_dataset'))"
    there = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, env=place, check=False)
    if there.returncode:
        pytest.skip("needs the package datasets of Hugging Face")
    path = eventful(tmp_path / "a.mcap")
    export_recording(path, tmp_path / "out", "parquet")
    export_recording(path, tmp_path / "out", "parquet", append=True)
    command = [sys.executable, "-c", LOADED, str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, env=place, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
