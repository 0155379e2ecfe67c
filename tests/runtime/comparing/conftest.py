"""A bundle with layers, in fp32 and INT8."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from layered_bundle import write_layered_bundle


@pytest.fixture(scope="session")
def layered_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bundle; do not change it."""
    folder = tmp_path_factory.mktemp("layered") / "bundle"
    write_layered_bundle(folder)
    return folder


@pytest.fixture
def layered(layered_original: Path, tmp_path: Path) -> Path:
    """The folder of one of the test's own."""
    return Path(shutil.copytree(layered_original, tmp_path / "bundle"))
