"""A cache shares memory with its new one only where no order of the nodes can mix them up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from sliding import SLIDING, sliding_graph

from vidtok_edge.runtime.manifest.cache_copies import copied_caches
from vidtok_edge.runtime.manifest.graphs import Placement

if TYPE_CHECKING:
    from vidtok_edge.export.bundle_export import Exported

CACHE = ("cache_000", "new_cache_000")
READ_AGAIN = SLIDING.replace("y = Identity(joined)", "y = Concat <axis = 1> (cache_000, x)")
OTHER_WAY = SLIDING.replace("Slice (joined,", "Slice (longer,").replace(
    "y = Identity(joined)", "longer = Concat <axis = 1> (x, x, x)\n  y = Identity(joined)"
)
NO_COPY = SLIDING.replace("Where (start, zero, cache_000)", "Identity (cache_000)")
AT_ONCE = SLIDING.replace("past = Where", "new_cache_000 = Where").replace(
    "new_cache_000 = Slice (joined, one, three, one)", "past = Identity (new_cache_000)"
)


@pytest.mark.parametrize(
    ("graph", "copied"),
    [
        pytest.param(SLIDING, True, id="a copy, then what is made of it"),
        pytest.param(READ_AGAIN, False, id="read by another node too"),
        pytest.param(OTHER_WAY, False, id="the new one does not need the copy"),
        pytest.param(NO_COPY, False, id="no copy"),
        pytest.param(AT_ONCE, False, id="the copy is the new one"),
    ],
)
def test_what_counts_as_copied(graph: str, copied: bool, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(sliding_graph(graph), path)
    assert copied_caches(path, [CACHE]) == ({"cache_000"} if copied else set())


def test_a_cache_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(sliding_graph(), path)
    assert copied_caches(path, [("cache_001", "new_cache_001"), CACHE]) == {"cache_000"}


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(ValueError, match="no ONNX file"):
        copied_caches(path, [CACHE])


@pytest.mark.xdist_group("precisions")
def test_nearly_all_caches_of_an_export_are_copied(precisions: Exported) -> None:
    bundle = precisions.bundle
    for graph in bundle.manifest.graphs:
        if graph.placement == Placement.TENSORRT:
            continue  # never run on the CPU
        names = [(old.name, new.name) for old, new in graph.caches]
        copied = copied_caches(bundle.path / graph.file, names)
        shared = sum(old.nbytes for old, _ in graph.caches if old.name in copied)
        assert shared > 0.9 * graph.cache_bytes, graph.name
