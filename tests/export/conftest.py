"""Bundles that several tests look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from export_helpers import Exports

from vidtok_edge.export import Exported, ExportRequest, StepOptions, export_bundle


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Narrow models are faster on one thread, and workers beside each other much faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Bundles of narrow models, each written once."""
    return Exports(tmp_path_factory)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The shipped tokenizer for uint8 frames of 64x96, as the command exports it."""
    output = tmp_path_factory.mktemp("embedded") / "bundle"
    return export_bundle(ExportRequest("fsq", output, options=StepOptions(64, 96)))
