"""Slots of a batch do not disturb each other, and what a start finds does not matter."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from export_helpers import LIMIT, Step, call, distance, flags, lowered
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow import golden_video
from torch import Tensor

from vidtok_edge.lowering.forms import FORMS, FormName
from vidtok_edge.lowering.step import StepEncoder

KINDS = ("encoder", "decoder")
VARIANTS_WITH_FORMS = [
    ("vidtok_fsq_causal_488_4096", "conv2d"),
    ("vidtok_fsq_causal_488_32768_v1_1", "conv2d"),
    ("vidtok_kl_causal_288_8chn_v1_1", "conv3d"),
    ("vidtok_kl_causal_288_8chn", "conv3d"),
    ("vidtok_fsq_causal_488_32768_v1_1", "channels_last"),
]
every_step = pytest.mark.parametrize("kind", KINDS)
every_variant = pytest.mark.parametrize(("name", "form"), VARIANTS_WITH_FORMS)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one slot does in one call."""

    ready: bool
    start: bool


turns = st.builds(Turn, ready=st.booleans(), start=st.booleans())


def schedules(slots: int) -> st.SearchStrategy[list[list[Turn]]]:
    """Calls, each with a turn per slot."""
    return st.lists(st.lists(turns, min_size=slots, max_size=slots), min_size=2, max_size=5)


def step_of(name: str, form: FormName, kind: str, streams: int) -> Step:
    steps = lowered(name, form, streams=streams)
    return steps.encoder if kind == "encoder" else steps.decoder


def data_of(step: Step, calls: int, slots: int) -> Tensor:
    """[calls, slots, n, ...], n = 1 latent: different in every call and slot."""
    variant = step.variant
    f, noise = variant.time_factor, golden_video(8 * calls, 16, 16, slots)
    if isinstance(step, StepEncoder):
        frames = noise.permute(0, 2, 3, 4, 1)[:, : calls * f]
        return frames.reshape(slots, calls, f, 16, 16, 3).transpose(0, 1)
    if variant.latent == "fsq":
        tokens = (noise[:, 0, :calls, :2, :2].abs() * variant.codebook_size).to(torch.int32)
        return tokens.transpose(0, 1).unsqueeze(2)
    latents = noise[:, 0, :calls, :, :].reshape(slots, calls, -1)[..., : 4 * variant.z_channels]
    return latents.reshape(slots, calls, 1, variant.z_channels, 2, 2).transpose(0, 1)


def controls_of(step: Step, calls: list[Turn], alone: bool = False) -> list[Tensor]:
    start, ready = flags(*(t.start for t in calls)), flags(*(t.ready for t in calls))
    end = [torch.zeros(len(calls), 1, dtype=torch.bool)] if step.has_end else []
    return [start, *end] if alone else [start, *end, ready]


def equal(a: Tensor, b: Tensor) -> bool:
    """Bit for bit, NaN included."""
    return torch.equal(a.nan_to_num(nan=1e30), b.nan_to_num(nan=1e30))


def nan_like(caches: list[Tensor]) -> list[Tensor]:
    """What uninitialised memory may hold."""
    return [
        torch.full_like(cache, float("nan"))
        if cache.is_floating_point()
        else ~torch.zeros_like(cache)
        for cache in caches
    ]


def begun(schedule: list[list[Turn]]) -> list[list[Turn]]:
    """The schedule with a start at the first call of each slot that is ready."""
    open_slots: set[int] = set()
    result = []
    for row in schedule:
        result.append(
            [Turn(t.ready, t.start or (t.ready and s not in open_slots)) for s, t in enumerate(row)]
        )
        open_slots |= {s for s, t in enumerate(row) if t.ready}
    return result


@pytest.mark.slow
@every_step
@every_variant
@settings(max_examples=5)
@given(schedule=st.integers(2, 3).flatmap(schedules))
def test_a_slot_gives_what_its_stream_gives_alone(
    name: str, form: FormName, kind: str, schedule: list[list[Turn]]
) -> None:
    slots, schedule = len(schedule[0]), begun(schedule)
    step, single = step_of(name, form, kind, slots), step_of(name, form, kind, 1)
    data = data_of(step, len(schedule), slots)
    _, probed = call(step, data[0], controls_of(step, schedule[0]))
    caches = nan_like(probed)
    alone: dict[int, list[Tensor]] = {}
    for row, chunk in zip(schedule, data, strict=True):
        before = caches
        outputs, caches = call(step, chunk, controls_of(step, row), caches)
        for slot, turn in enumerate(row):
            if not turn.ready:
                assert all(equal(a[slot], b[slot]) for a, b in zip(caches, before, strict=True))
                continue
            own = slice(slot, slot + 1)
            controls = controls_of(single, [turn], alone=True)
            wanted, alone[slot] = call(single, chunk[own], controls, alone.get(slot))
            continuous = [i for i, out in enumerate(wanted) if out.is_floating_point()]
            assert all(distance(outputs[i][own], wanted[i]) <= LIMIT for i in continuous)


@every_step
@every_variant
def test_a_start_forgets_even_nan(name: str, form: FormName, kind: str) -> None:
    step = step_of(name, form, kind, 2)
    data = data_of(step, 1, 2)[0]
    controls = controls_of(step, [Turn(ready=True, start=True)] * 2)
    wanted, zero_based = call(step, data, controls)
    zeros = [torch.zeros_like(cache) for cache in zero_based]
    for caches in (zeros, nan_like(zero_based)):
        outputs, new = call(step, data, controls, caches)
        assert all(torch.isfinite(out).all() for out in (*outputs, *new))
        assert all(torch.equal(a, b) for a, b in zip(outputs, wanted, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(new, zero_based, strict=True))


@every_step
@every_variant
def test_caches_matter_without_a_start(name: str, form: FormName, kind: str) -> None:
    """Else the test above would pass on a step that forgets everything."""
    step = step_of(name, form, kind, 2)
    first, second = data_of(step, 2, 2)
    go, begin = ([Turn(ready=True, start=start)] * 2 for start in (False, True))
    _, caches = call(step, first, controls_of(step, begin))
    carried, _ = call(step, second, controls_of(step, go), caches)
    fresh, _ = call(step, second, controls_of(step, begin), caches)
    assert not torch.equal(carried[-1], fresh[-1])
    poisoned, _ = call(step, second, controls_of(step, go), nan_like(caches))
    assert not torch.isfinite(poisoned[-1]).all()


@every_step
@every_variant
def test_a_start_beside_disturbs_nobody(name: str, form: FormName, kind: str) -> None:
    step = step_of(name, form, kind, 2)
    first, second = data_of(step, 2, 2)
    go, begin = Turn(ready=True, start=False), Turn(ready=True, start=True)
    _, caches = call(step, first, controls_of(step, [begin, begin]))
    quiet, quiet_caches = call(step, second, controls_of(step, [go, go]), caches)
    beside, beside_caches = call(step, second, controls_of(step, [go, begin]), caches)
    for a, b in zip((*quiet, *quiet_caches), (*beside, *beside_caches), strict=True):
        assert torch.equal(a[0], b[0])
    assert not torch.equal(quiet[-1][1], beside[-1][1])


@every_step
@every_variant
def test_a_slot_that_is_not_ready_ignores_its_start(name: str, form: FormName, kind: str) -> None:
    step = step_of(name, form, kind, 2)
    first, second = data_of(step, 2, 2)
    begin, idle = Turn(ready=True, start=True), Turn(ready=False, start=True)
    _, caches = call(step, first, controls_of(step, [begin, begin]))
    _, kept = call(step, second, controls_of(step, [begin, idle]), caches)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(caches, kept, strict=True))


def test_every_form_is_covered() -> None:
    assert {form for _, form in VARIANTS_WITH_FORMS} == set(FORMS)
