"""Which memory an engine's tensors use: in turn, and never one for both ends of a cache."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.runtime.backends.engines.buffers import SCRATCH, BufferPlan, DeviceBuffer
from vidtok_edge.runtime.manifest.graphs import TensorSpec

SHAPES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple), max_size=12)


def plan_of(shapes: list[tuple[int, ...]], scratch: int = 0) -> BufferPlan:
    frames, tokens = TensorSpec("frames", "uint8", (1, 4)), TensorSpec("tokens", "int32", (1, 2))
    latent = TensorSpec("latent", "float32", (1, 3))
    caches = tuple(
        (
            TensorSpec(f"cache_{i:03}", "float16", shape),
            TensorSpec(f"new_cache_{i:03}", "float16", shape),
        )
        for i, shape in enumerate(shapes)
    )
    return BufferPlan((frames,), (tokens,), (latent,), caches, scratch)


@given(SHAPES)
def test_what_a_call_writes_the_next_one_reads(shapes: list[tuple[int, ...]]) -> None:
    plan = plan_of(shapes)
    even, odd = plan.bindings(0), plan.bindings(1)
    for old, new in plan.caches:
        assert even[new.name] == odd[old.name]
        assert odd[new.name] == even[old.name]
    assert plan.current(1) == {old.name: even[new.name] for old, new in plan.caches}


@given(SHAPES)
def test_no_two_tensors_of_a_call_share_memory(shapes: list[tuple[int, ...]]) -> None:
    plan = plan_of(shapes)
    sizes = {buffer.name: buffer.size for buffer in plan.device}
    assert len(sizes) == len(plan.device)
    for turn in (0, 1):
        bound = plan.bindings(turn)
        assert len(set(bound.values())) == len(bound) == 3 + 2 * len(shapes)
        caches = [spec for pair in plan.caches for spec in pair]
        specs = [*plan.uploads, *plan.downloads, *plan.unread, *caches]
        assert all(sizes[bound[spec.name]] == spec.nbytes for spec in specs)
    assert plan.device_bytes == 4 + 8 + 12 + 2 * sum(old.nbytes for old, _ in plan.caches)


def test_scratch_memory_is_one_buffer_that_no_tensor_is_bound_to() -> None:
    plan = plan_of([(2, 3)], scratch=1024)
    assert DeviceBuffer(SCRATCH, 1024) in plan.device
    assert plan.device_bytes == plan_of([(2, 3)]).device_bytes + 1024
    assert all(SCRATCH not in plan.bindings(turn).values() for turn in (0, 1))
