"""The document as a file: whole after a round trip, and nothing of a damaged one gets through."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vidtok_edge.errors import DocumentError
from vidtok_edge.runtime.bench.candidate_result import ProvenQuality
from vidtok_edge.runtime.bench.ceilings import CallWork, Ceilings
from vidtok_edge.runtime.bench.document import Document
from vidtok_edge.runtime.bench.document_file import json_of, read_document, write_document
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.bench.measuring.documents import document_of
from vidtok_edge.runtime.bench.measuring.matrix import run_matrix
from vidtok_edge.runtime.bench.measuring.turn import Turn, run_turn
from vidtok_edge.runtime.bench.settings import Pace, Settings
from vidtok_edge.runtime.bench.showing.page import page_of
from vidtok_edge.runtime.bench.showing.tables import disturbance, tables_of


@pytest.fixture(scope="module")
def done(tiny_original: Path, tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Of two candidates, with pictures and a quality report."""
    folder = tmp_path_factory.mktemp("document") / "bundle"
    shutil.copytree(tiny_original, folder)
    (folder / "reports").mkdir()
    (folder / "reports/parity.json").write_text(
        '{"losses": [{"graphs": "fp32", "clip": "robot", "tokens_equal": null, '
        '"source_psnr_db": 24.25, "source_ssim": 0.75, "loss_db": 0.0}]}'
    )

    def run(candidate: Candidate, settings: Settings, progress: Any) -> Turn:
        return run_turn(candidate, settings, 0)

    settings = Settings(Pace(200.0), seconds=0.2, warmup_s=0.0, decode=True)
    candidates = [Candidate(str(folder), "cpu", "fp32", threads) for threads in (1, 2)]
    return document_of(run_matrix(candidates, settings, run=run), pictures=True)


@pytest.fixture
def plain(done: Document) -> dict[str, Any]:
    """As JSON has it, the test's own."""
    found: dict[str, Any] = json.loads(json_of(done))
    return found


def read(plain: object, folder: Path) -> Document:
    path = folder / "changed.json"
    path.write_text(json.dumps(plain))
    return read_document(path)


def test_it_comes_back_as_it_was(done: Document, tmp_path: Path) -> None:
    write_document(done, tmp_path / "bench.json")
    assert read_document(tmp_path / "bench.json") == done
    assert done.pictures is not None and len(done.pictures.shown) == 3


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is no JSON, or was cut off"),
        ("<html>", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("\xff", "is no"),
        ("[]", "is no document of a benchmark"),
        ('{"format": "something"}', "is no document of a benchmark"),
        (
            '{"format": "vidtok-edge-bench", "schema": 1}',
            "is of schema 1, and .* reads 2",
        ),
        ('{"format": "vidtok-edge-bench"}', "is of schema None"),
        ('{"format": "vidtok-edge-bench", "schema": 2}', "started is missing"),
    ],
)
def test_what_is_no_such_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DocumentError, match=message) as caught:
        read_document(tmp_path / "a.json")
    assert (
        caught.value.exit_code == 3 and "vidtok-edge bench" in str(caught.value)
    ) or "again" in (str(caught.value))


def test_what_is_cut_off_or_too_large_or_absent(done: Document, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_document(done, path)
    data = path.read_bytes()
    with pytest.raises(DocumentError, match="is larger than 1,000 bytes"):
        read_document(path, largest_bytes=1000)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DocumentError, match="cut off"):
        read_document(path)
    for absent in (tmp_path / "gone.json", tmp_path):
        with pytest.raises(DocumentError, match="cannot be read"):
            read_document(absent)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to one of each kind of leaf: of equal things in a list the first."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*path, 0))
    else:
        yield path


def changed(plain: dict[str, Any], path: tuple[Any, ...], to: object) -> Iterator[None]:
    """`plain` with one leaf replaced, and put back afterwards."""
    inner: Any = plain
    for key in path[:-1]:
        inner = inner[key]
    before, inner[path[-1]] = inner[path[-1]], to
    yield
    inner[path[-1]] = before


@pytest.mark.slow
@pytest.mark.parametrize("to", [0, -1, -1e-300, 1e15, 1e300, "<b>", None, [], {}, [[1e9]]])
def test_whatever_one_leaf_is_it_is_refused_or_drawn(
    plain: dict[str, Any], tmp_path: Path, to: object
) -> None:
    """Never a traceback, and never an element of somebody else's."""
    drawn = 0
    for path in list(leaves(plain)):
        for _ in changed(plain, path, to):
            try:
                document = read(plain, tmp_path)
            except DocumentError:
                continue
            drawn += 1
            assert "<b>" not in page_of(document)
            assert tables_of(document) and (disturbance(document) or True)
    assert drawn or not isinstance(to, int | str)


def test_every_field_must_be_there_and_no_other(plain: dict[str, Any], tmp_path: Path) -> None:
    for name in {*plain} - {"ceilings"}:
        with pytest.raises(DocumentError):
            read({key: value for key, value in plain.items() if key != name}, tmp_path)
    with pytest.raises(DocumentError, match="'more' is not a known field"):
        read({**plain, "more": 1}, tmp_path)


def test_what_was_added_later_may_be_absent(
    done: Document, plain: dict[str, Any], tmp_path: Path
) -> None:
    for one in plain["candidates"]:
        for name in ("proof", "compile_mode", "proven", "work"):
            del one[name]
    del plain["ceilings"]
    [old, _] = read(plain, tmp_path).candidates
    assert old == replace(done.candidates[0], proof="")
    assert (old.compile_mode, old.proven, old.work) == ("", None, ())
    for table in tables_of(read(plain, tmp_path)):
        assert "Gop" not in table.rows[0]


def test_modes_quality_and_work_come_back(done: Document, tmp_path: Path) -> None:
    work = CallWork(kind="encoder", operations=3.5e9, moved_bytes=2e6)
    one = replace(
        done.candidates[0],
        compile_mode="reduce-overhead",
        proven=ProvenQuality(tokens_equal=0.9995, pictures_db=None),
        work=(work,),
    )
    ceilings = Ceilings(device="CPU", copy_gbs=20.0, fp32_tflops=0.1, fp16_tflops=None)
    document = replace(done, candidates=(one, done.candidates[1]), ceilings=(ceilings,))
    write_document(document, tmp_path / "bench.json")
    assert read_document(tmp_path / "bench.json") == document
    tables = {table.title: table for table in tables_of(document)}
    speed, calls = tables["Speed and backlog"], tables["Where the time of a call goes"]
    shown = [dict(zip(speed.rows[0], row, strict=True)) for row in speed.rows[1:]]
    quality = [(row["tokens equal"], row["pictures dB"]) for row in shown]
    assert quality == [("99.950%", "-"), ("-", "-")]
    shown = [dict(zip(calls.rows[0], row, strict=True)) for row in calls.rows[1:]]
    assert [(row["Gop"], row["MB"]) for row in shown] == [
        ("3.50", "2.00"),
        *[("-", "-")] * 3,
    ]
    taken = one.figures.encoder
    assert taken is not None and taken.upload_ms is None, "it ran on the CPU"
    share = 35 / taken.compute_ms
    assert [row["of the roofline"] for row in shown] == [f"{share:.0%}", "-", "-", "-"]
    assert "CPU copied (20 GB/s) and multiplied (FP32 0.1 Top/s) in this run" in calls.note
    assert "99.950%" in page_of(document)
    elsewhere = replace(document, ceilings=(replace(ceilings, device="a GPU"),))
    [calls] = [t for t in tables_of(elsewhere) if t.title == "Where the time of a call goes"]
    assert {row[-1] for row in calls.rows[1:]} == {"-"}, "of another device"


def test_the_slower_of_both_ceilings_decides() -> None:
    here = Ceilings(device="x", copy_gbs=1000.0, fp32_tflops=1.0, fp16_tflops=10.0)
    work = CallWork(kind="encoder", operations=2e9, moved_bytes=1.0)
    assert work.least_ms(here, "fp32") == pytest.approx(2.0)
    assert work.least_ms(here, "fp16") == pytest.approx(0.2)
    assert replace(work, moved_bytes=1e9).least_ms(here, "fp16") == pytest.approx(1.0)
    assert work.least_ms(here, "int8") is None
    assert work.roofline_share(here, "fp16", 0.4) == pytest.approx(0.5)
    assert work.roofline_share(here, "fp16", 0.0) is None, "too short to be told"
    assert work.roofline_share(here, "int8", 1.0) is work.roofline_share(None, "fp16", 1.0) is None


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("proven", {"tokens_equal": 1.5, "pictures_db": None}, "a share of equal tokens"),
        ("work", [{"kind": "both", "operations": 1, "moved_bytes": 1}], "'encoder' or 'decoder'"),
        ("work", [{"kind": "encoder", "operations": -1, "moved_bytes": 1}], "work is negative"),
    ],
)
def test_what_is_no_quality_or_work(
    plain: dict[str, Any], tmp_path: Path, field: str, value: object, message: str
) -> None:
    plain["candidates"][0][field] = value
    with pytest.raises(DocumentError, match=message):
        read(plain, tmp_path)


def test_a_rate_of_nothing_is_none(plain: dict[str, Any], tmp_path: Path) -> None:
    one = {"device": "CPU", "copy_gbs": 0.0, "fp32_tflops": 1.0, "fp16_tflops": None}
    plain["ceilings"] = [one]
    with pytest.raises(DocumentError, match="a rate is not positive"):
        read(plain, tmp_path)


@pytest.mark.parametrize(
    "png",
    [
        "not base64!",
        'iVBORw0KGgo="><script>',
        "R0lGODlhAQABAIAAAAUEBA==",
        "iVBORw0KGgoAAAANSUhEUgAA/wAAAP8ACAIAAAA=",
    ],
)
def test_only_pictures_are_pictures(plain: dict[str, Any], tmp_path: Path, png: str) -> None:
    plain["pictures"]["shown"][0]["png"] = png
    with pytest.raises(DocumentError, match="a picture"):
        read(plain, tmp_path)


def test_what_is_nested_too_deeply(plain: dict[str, Any], tmp_path: Path) -> None:
    text = json.dumps(plain)
    for key in ("schema", "rounds", "candidates", "machine"):
        assert f'"{key}": ' in text
        for depth in (300, 900, 960, 980, 2000):
            nested = "[" * depth + "]" * depth
            changed = re.sub(rf'"{key}": ', f'"{key}": {nested}, "{key}_": ', text, count=1)
            (tmp_path / "a.json").write_text(changed)
            with pytest.raises(DocumentError):
                read_document(tmp_path / "a.json")
