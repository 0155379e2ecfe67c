"""Bundles that several tests look at, and a switch for machines with a GPU: `gpu_required`."""

from __future__ import annotations

import gc
import inspect
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click.testing
import pytest
from fake_gpu import assert_fake_gpus_are_clean
from gpu_required import REQUIRE, must_run, required_backends
from hypothesis import settings

if TYPE_CHECKING:  # torch and onnx, which most tests need not wait for
    from export_helpers import Exports
    from quickstart import Ran

    from vidtok_edge.export import Exported
    from vidtok_edge.runtime import Bundle

# Before torch is imported, here and in what tests start: the workers are as many as the cores, and
# threads beside them would wait for each other (the golden numbers took 86 s, and take 31 s).
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What tests build is not remembered as the user's; what they make up was built nowhere.
_STATE = tempfile.TemporaryDirectory(prefix="vidtok_edge_state_")
os.environ["XDG_STATE_HOME"] = _STATE.name
os.environ["VIDTOK_EDGE_TRUST_ENGINES"] = "1"

# Fixtures that export models.
EXPORTED = {"exports", "export_page", "embedded", "precisions", "golden_bundle"}
QUICK = {"vidtok_fsq_causal_488_32768_v1_1", "vidtok_kl_noncausal_488_4chn"}

# The same examples on every run: a commit fails for what it changed. Others are looked for with
# `pytest -m hypothesis --hypothesis-profile search`. A busy machine is no fault of an example's.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("same")


def _split_outputs_as_click_8_2_does() -> None:
    """Before, a result had no `stderr` unless it was asked for, and its `output` then lacked it."""
    made = click.testing.CliRunner.__init__

    def split(self: Any, *given: Any, **named: Any) -> None:
        made(self, *given, **{"mix_stderr": False, **named})

    def output(self: Any) -> str:
        return str(self.stdout + self.stderr)

    click.testing.CliRunner.__init__ = split  # type: ignore[method-assign]
    click.testing.Result.output = property(output)  # type: ignore[assignment]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    value = os.environ.get(REQUIRE, "")
    if report.skipped and must_run(item, required_backends(value)):
        report.outcome = "failed"
        report.longrepr = f"skipped, but {REQUIRE}={value}: {call.excinfo}"
    return report


# A helper of tests that is collected for its doctests imports what the viewer's extra brings.
collect_ignore = [] if find_spec("rerun") else ["rrd_files.py"]


def pytest_configure() -> None:
    if "mix_stderr" in inspect.signature(click.testing.CliRunner).parameters:
        _split_outputs_as_click_8_2_does()
    required_backends(os.environ.get(REQUIRE, ""))  # refuses a wrong name before anything runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow is what waits for an export, and what is done with a variant that is not `QUICK`."""
    for item in items:
        variants = set(re.findall(r"vidtok_(?:fsq|kl)_\w+", item.name.rpartition("[")[2]))
        if EXPORTED & set(getattr(item, "fixturenames", ())) or variants - QUICK:
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """The garbage collector need not look at thousands of tests again and again: a sixth of the
    time of tests that make many objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fake_gpus_are_clean() -> Iterator[None]:
    """Fail a test that misused a fake GPU or left something on it, whether or not it looked."""
    yield
    assert_fake_gpus_are_clean()


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny bundle; do not change it."""
    from tiny_bundle import write_tiny_bundle  # imports onnx, which most tests need not wait for

    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def tiny(tiny_original: Path, tmp_path: Path) -> Path:
    """The folder of a tiny bundle of the test's own."""
    return Path(shutil.copytree(tiny_original, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def layered_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle with layers, in fp32 and INT8; do not change it."""
    from layered_bundle import write_layered_bundle  # imports onnx, as above

    folder = tmp_path_factory.mktemp("layered") / "bundle"
    write_layered_bundle(folder)
    return folder


@pytest.fixture
def layered(layered_original: Path, tmp_path: Path) -> Path:
    """The folder of a bundle with layers of the test's own."""
    return Path(shutil.copytree(layered_original, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Bundles of narrow models, each written once."""
    pytest.importorskip("torch", reason="exports a model")
    from export_helpers import Exports

    return Exports(tmp_path_factory)


@pytest.fixture(scope="session")
def export_page(tmp_path_factory: pytest.TempPathFactory) -> list[Ran]:
    """What the commands of the quick start of `vidtok-export` printed."""
    pytest.importorskip("torch", reason="exports a model")
    from quickstart import run_page

    return run_page("export", tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="session")
def embedded(export_page: list[Ran]) -> Bundle:
    """The shipped tokenizer for uint8 frames of 64x96, as that quick start exported it."""
    from vidtok_edge.runtime import Bundle

    last = export_page[-1]
    assert last.done.returncode == 0, last.done.stderr
    return Bundle.load(last.place / "bundle")


@pytest.fixture(scope="session")
def precisions(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The shipped tokenizer for frames of 32x48 in every precision, as the command exports it."""
    pytest.importorskip("torch", reason="exports a model")
    from vidtok_edge.export import ExportRequest, export_bundle
    from vidtok_edge.lowering.step import StepOptions

    output = tmp_path_factory.mktemp("precisions") / "bundle"
    options = StepOptions(32, 48)
    request = ExportRequest(
        variant="fsq",
        output=output,
        checkpoint=None,
        options=options,
        precisions=("fp32", "fp16", "int8"),
    )
    return export_bundle(request)


@pytest.fixture(scope="session")
def golden_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shipped tokenizer for two streams of 16x16, with a golden stream; do not
    change it."""
    pytest.importorskip("torch", reason="exports a model")
    from vidtok_edge.export.bundle_files import write_graphs
    from vidtok_edge.export.golden_stream import make_golden
    from vidtok_edge.lowering.step import StepOptions
    from vidtok_edge.runtime.manifest.model import WeightsFacts
    from vidtok_edge.vidtok_ref import load_weights

    model, origin = load_weights("fsq", None, 0)
    weights = WeightsFacts(origin.source, origin.location, origin.sha256)
    folder = tmp_path_factory.mktemp("golden") / "bundle"
    folder.mkdir()
    bundle = write_graphs(model, StepOptions(16, 16, streams=2), folder, weights)
    make_golden(bundle, model).save(folder)
    return folder
