"""An engine that was built elsewhere is not run unasked, and what is built here is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vidtok_edge.errors import EngineUntrusted
from vidtok_edge.hashes import sha256_of_parts
from vidtok_edge.runtime.backends.engines.trust import TRUST, remember_engine, require_trusted

ENGINE = Path("engines/encoder.fp16.tensorrt.sm87.engine")
CONTENT = b"kernels"


@pytest.fixture(autouse=True)
def nothing_built_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(TRUST)


def test_an_engine_of_another_machine_needs_an_opt_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "0", "yes"):
        monkeypatch.setenv(TRUST, value)
        with pytest.raises(EngineUntrusted, match=rf"{ENGINE} was not built.*Set {TRUST}=1.*again"):
            require_trusted(ENGINE, CONTENT, "again")
    monkeypatch.setenv(TRUST, "1")
    require_trusted(ENGINE, CONTENT, "again")


def test_what_was_built_here_runs_until_a_byte_differs() -> None:
    remember_engine(ENGINE, sha256_of_parts([CONTENT]))
    require_trusted(ENGINE, CONTENT, "again")
    with pytest.raises(EngineUntrusted):
        require_trusted(ENGINE, CONTENT + b"!", "again")


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("[]")])
def test_without_the_record_nothing_was_built_here(
    spoil: Callable[[Path], object], tmp_path: Path
) -> None:
    remember_engine(ENGINE, sha256_of_parts([CONTENT]))
    spoil(tmp_path / "state" / "vidtok-edge" / "engines.json")
    with pytest.raises(EngineUntrusted):
        require_trusted(ENGINE, CONTENT, "again")
