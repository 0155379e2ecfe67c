"""What is planned is what an export then writes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from document_tables import Row, both_of, table_in
from export_helpers import NarrowBundle, golden_bundle, on_one_worker
from hypothesis import given
from hypothesis import strategies as st

from vidtok_edge.calib.placement import planned_numerics
from vidtok_edge.export.planning.cost import Bound, GraphCost, bound, cost_of, rates_of
from vidtok_edge.export.planning.devices import DEVICES, Device
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.numerics import FP16, FP32
from vidtok_edge.lowering.step import Kind, StepOptions
from vidtok_edge.lowering.work import multiply_adds
from vidtok_edge.runtime.manifest.graphs import Placement, Precision
from vidtok_edge.variants import EMBEDDED, VARIANTS

if TYPE_CHECKING:
    from export_helpers import Exports

    from vidtok_edge.export import Exported

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@pytest.mark.xdist_group("precisions")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_is_what_an_export_writes(
    precisions: Exported, kind: Kind, precision: Precision
) -> None:
    options = StepOptions(32, 48)
    cost = cost_of(EMBEDDED, options, kind, planned_numerics(EMBEDDED, options, kind, precision))
    bundle = precisions.bundle
    placement = Placement.TENSORRT if precision == "int8" else Placement.ANY
    graph = bundle.manifest.graph(kind, precision, placement)
    assert cost.caches == graph.cache_bytes
    convolutions = sum(multiply_adds(EMBEDDED, options, kind).values())
    assert round(1000 * cost.int8_multiply_adds / convolutions) == graph.work_int8_permille
    written = (bundle.path / graph.data_file).stat().st_size
    # Scales of INT8 weights, and what is small enough to lie in the graph itself; of this narrow
    # model more than of others.
    assert cost.weights == pytest.approx(written, rel=0.01 if precision != "int8" else 0.05)


NARROW = [
    golden_bundle("vidtok_fsq_causal_488_32768_v1_1"),
    golden_bundle("vidtok_kl_causal_288_8chn", "conv3d"),
]
"""Bundles that other tests export too."""


@pytest.mark.parametrize("what", on_one_worker(NARROW))
def test_a_plan_of_other_variants_is_what_their_exports_write(
    exports: Exports, what: NarrowBundle
) -> None:
    bundle = exports(what)
    for kind in KINDS:
        cost = cost_of(what.model.variant, what.options, kind, FP32)
        graph = bundle.manifest.graph(kind, "fp32")
        assert cost.caches == graph.cache_bytes
        assert cost.host == sum(
            spec.nbytes for spec in (*graph.inputs, *graph.outputs) if "cache_" not in spec.name
        )
        written = (bundle.path / graph.data_file).stat().st_size
        assert cost.weights == pytest.approx(written, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("row", table_in("docs/streaming.md", "4.5"), ids=lambda r: r["variant"])
def test_caches_and_work_are_those_of_the_document(row: Row) -> None:
    """docs/streaming.md, section 4.5: graphs fold upsampling, the models as written do not."""
    variant = VARIANTS[row["variant"]]
    columns = [both_of(row[title]) for title in ("cache MB", "GFLOP", "GFLOP of graphs")]
    for kind, megabytes, wanted, of_graph in zip(KINDS, *columns, strict=True):
        cost = cost_of(variant, StepOptions(form="conv3d"), kind, FP16)
        assert round(cost.caches / 1e6) == megabytes
        layers = multiply_adds(variant, StepOptions(form="conv3d"), kind)
        saved = 0
        if variant.version == "1.0":  # nearest upsampling in time: kernels of 3 frames become 2
            in_time = [n for n in layers if n.startswith("decoder.up_temporal") and "upsample" in n]
            saved = sum(layers[n] for n in in_time) // 2
            assert (saved > 0) == (kind == "decoder")
        per_4_frames = 2 * (cost.multiply_adds + saved) * 4 / variant.time_factor
        assert round(per_4_frames / 1e9) == wanted
        flat = multiply_adds(variant, StepOptions(form="conv2d"), kind)
        folded = cost.multiply_adds - sum(layers.values()) + sum(flat.values())
        assert round(2 * folded * 4 / variant.time_factor / 1e9) == of_graph
        in_space = [n for n in layers if n.startswith("decoder.up.") and n.endswith(".upsample")]
        assert sum(flat.values()) + sum(flat[n] for n in in_space) * 5 // 4 == sum(layers.values())


def device(memory_gb: float, bandwidth_gbs: float = 1, shared: bool = False) -> Device:
    return Device(
        name="a",
        memory_gb=memory_gb,
        bandwidth_gbs=bandwidth_gbs,
        fp32_tflops=1,
        fp16_tflops=2,
        int8_tops=4,
        source="made up",
        shared=shared,
    )


def test_activations_by_hand() -> None:
    """The encoder's second convolution: 4 frames and 2 of its past, 16 channels of 32x48."""
    options = StepOptions(32, 48)
    largest = (6 + 4) * 32 * 48 * 16
    for numerics, per_value in ((FP32, 4), (FP16, 2)):
        assert cost_of(EMBEDDED, options, "encoder", numerics).activations == largest * per_value
    int8 = planned_numerics(EMBEDDED, options, "encoder", "int8")
    cost = cost_of(EMBEDDED, options, "encoder", int8)
    assert cost.activations == largest // 10 * (6 * 1 + 4 * 2)
    assert cost.memory == cost.weights + 2 * cost.caches + cost.host + cost.activations


def test_attention_is_not_in_int8() -> None:
    """At large sizes it is much of a narrow model's work."""
    options = StepOptions(256, 512)
    cost = cost_of(
        EMBEDDED, options, "encoder", planned_numerics(EMBEDDED, options, "encoder", "int8")
    )
    convolutions = sum(multiply_adds(EMBEDDED, options, "encoder").values())
    assert cost.int8_multiply_adds < 0.999 * convolutions < 0.95 * cost.multiply_adds
    assert cost.int8_share == cost.int8_multiply_adds / cost.multiply_adds


@pytest.mark.parametrize(
    "name", ["vidtok_kl_causal_488_4chn_v1_1", "vidtok_fsq_causal_41616_262144"]
)
def test_work_is_that_of_the_convolutions_and_attention(name: str) -> None:
    variant, options = VARIANTS[name], StepOptions(64, 64)
    for kind in KINDS:
        cost = cost_of(variant, options, kind, FP32)
        convolutions = sum(multiply_adds(variant, options, kind).values())
        assert convolutions < cost.multiply_adds < 1.05 * convolutions


def test_work_grows_with_streams_and_pixels() -> None:
    one = cost_of(EMBEDDED, StepOptions(64, 64), "encoder", FP32)
    four = cost_of(EMBEDDED, StepOptions(64, 64, streams=4), "encoder", FP32)
    wide = cost_of(EMBEDDED, StepOptions(64, 128), "encoder", FP32)
    assert four.multiply_adds == 4 * one.multiply_adds
    assert four.caches == 4 * one.caches and wide.caches == 2 * one.caches
    assert four.weights == one.weights == wide.weights


def test_rates_at_30_frames_per_second() -> None:
    rates = rates_of(EMBEDDED, StepOptions(256, 256), 30)
    assert rates.tokens_per_second == 32 * 32 * 7.5
    assert rates.bits_per_second == 15 * rates.tokens_per_second
    assert rates.period_ms == pytest.approx(4000 / 30)
    assert rates_of(EMBEDDED, StepOptions(256, 256, chunk=2), 30).period_ms == 2 * rates.period_ms


COST = GraphCost(
    kind="encoder",
    precision="int8",
    weights=100,
    caches=200,
    host=10,
    activations=50,
    multiply_adds=1000,
    int8_multiply_adds=500,
)


def test_a_bound_by_hand() -> None:
    slow = device(1e-6, 1e-6)
    found = bound([COST], slow)
    assert found.compute_ms == pytest.approx(1000 * (1000 / 4e12 + 1000 / 2e12))
    assert found.memory_ms == pytest.approx(1000 * 510 / 1e3)
    assert found == Bound(found.compute_ms, found.memory_ms, fits=True)
    assert (found.ms, found.limit) == (found.memory_ms, "memory")
    assert not bound([COST, COST], slow).fits


def test_memory_to_the_byte() -> None:
    """Of 100 + 2 * 200 + 10 + 50 bytes; a board's system keeps 1.5 GB."""
    assert COST.memory == 560
    assert bound([COST], device(560e-9, 1)).fits
    assert not bound([COST], device(559e-9, 1)).fits
    assert bound([COST], device(1.5 + 561e-9, 1, shared=True)).fits
    assert not bound([COST], device(1.5 + 559e-9, 1, shared=True)).fits


@given(st.sampled_from(DEVICES), st.sampled_from(PRECISIONS), st.floats(0, 1))
def test_less_precision_never_takes_longer(
    device: Device, precision: Precision, int8_share: float
) -> None:
    times = [
        bound(
            [
                GraphCost(
                    kind="encoder",
                    precision=p,
                    weights=0,
                    caches=0,
                    host=0,
                    activations=0,
                    multiply_adds=10**9,
                    int8_multiply_adds=round(int8_share * 10**9) if p == "int8" else 0,
                )
            ],
            device,
        )
        for p in PRECISIONS
    ]
    assert all(a.ms >= b.ms > 0 for a, b in pairwise(times))


def test_the_table_of_devices_is_consistent() -> None:
    assert len({device.name for device in DEVICES}) == len(DEVICES)
    for device in DEVICES:
        assert device.memory_gb > 0 and device.bandwidth_gbs > 0
        assert "https://" in device.source or "http://" in device.source, device.name
        assert device.fp32_tflops < device.fp16_tflops
        assert device.int8_tops == pytest.approx(2 * device.fp16_tflops, rel=0.03), device.name
