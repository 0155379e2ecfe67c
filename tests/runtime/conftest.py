from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def tiny_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny bundle; do not change it."""
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def tiny(tiny_original: Path, tmp_path: Path) -> Path:
    """The folder of a tiny bundle of the test's own."""
    return Path(shutil.copytree(tiny_original, tmp_path / "bundle"))
