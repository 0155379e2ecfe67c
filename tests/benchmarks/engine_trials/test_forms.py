"""Forms of trials compute what the forms of the product compute."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from engine_trials.forms import TRIAL_FORMS
from engine_trials.lowered import lowered, model_of
from engine_trials.reference import outputs_of, reference
from engine_trials.timelines import HostZeroed
from engine_trials.tools import GraphWriter, graph_path
from engine_trials.trial import Trial
from narrow import narrow

from vidtok_edge.calib.placement import planned_numerics
from vidtok_edge.lowering.facts import graph_spec
from vidtok_edge.lowering.forms import FORMS
from vidtok_edge.lowering.interface import interface_of, zeros
from vidtok_edge.lowering.kernels import QuantizedKernels
from vidtok_edge.lowering.numerics import convolutions
from vidtok_edge.lowering.step import StepOptions, lower
from vidtok_edge.lowering.torch_step import TorchStep
from vidtok_edge.runtime.manifest.graphs import KINDS, Kind
from vidtok_edge.vidtok_ref import VidTok

SIZE = 32


CALLS = 3


def torch_step(model: VidTok, trial: Trial, size: int) -> TorchStep:
    step, interface = lowered(model, trial, size)
    return TorchStep(step, graph_spec(trial.kind, step.options, step.numerics, interface))


@pytest.mark.parametrize("model", ["embedded", "narrow, v1.1"])
@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (name, kind)
        for name, form in TRIAL_FORMS.items()
        for kind in form.kinds
        if "fp32" in form.precisions
    ],
)
def test_a_form_computes_what_conv2d_computes(form: str, kind: Any, model: str) -> None:
    given = (
        model_of("embedded")
        if model == "embedded"
        else narrow("vidtok_fsq_causal_488_32768_v1_1", 16)
    )
    calls, expected = reference(given, kind, SIZE, TRIAL_FORMS[form].host_zeroes)
    step = torch_step(given, Trial("embedded", kind, form, "fp32"), SIZE)
    for call, values in list(zip(calls, expected, strict=True))[:CALLS]:
        got = outputs_of(step, call)
        if kind == "encoder":
            np.testing.assert_array_equal(got["tokens"], values["tokens"])
        else:
            difference = got["frames"].astype(int) - values["frames"].astype(int)
            assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_fp16_caches_change_no_value(kind: Kind) -> None:
    """What is quantised before it is kept is quantised to the same before it is used."""
    given = narrow("vidtok_fsq_causal_488_32768", 16)
    trial = Trial("embedded", kind, "conv2d", "int8")
    options = StepOptions(SIZE, SIZE, form="conv2d")
    planned = planned_numerics(given.variant, options, kind, "int8")
    int8 = {name: grids for name, grids in planned.grids.items() if grids.int8}
    numerics = replace(planned, grids=int8)
    interface = interface_of(given.variant, options, kind, numerics)
    graph = graph_spec(kind, options, numerics, interface)
    shipped = TorchStep(lower(given, options, kind, numerics), graph)
    tried = torch_step(given, replace(trial, form="conv2d-fp16-caches"), SIZE)
    assert {spec.dtype for spec, _ in tried.graph.caches} <= {"float16", "uint8", "bool"}
    assert "int8" in {spec.dtype for spec, _ in shipped.graph.caches}
    calls, _ = reference(given, kind, SIZE, False)
    for call in calls[:CALLS]:
        got, wanted = outputs_of(tried, call), outputs_of(shipped, call)
        for name, value in wanted.items():
            np.testing.assert_array_equal(got[name], value)


def test_int8_outputs_are_quantised_behind_each_int8_convolution() -> None:
    given = narrow("vidtok_fsq_causal_488_32768", 16)
    step, _ = lowered(given, Trial("embedded", "encoder", "conv2d-int8-outputs", "int8"), SIZE)
    kernels = [layer.kernels for layer in convolutions(step).values()]
    quantized = [one for one in kernels if isinstance(one, QuantizedKernels)]
    assert quantized and all((one.output is not None) == bool(one.int8) for one in quantized)


def test_few_channels_stay_in_fp16_where_only_wide_layers_are_int8() -> None:
    def int8_layers(form: str) -> set[str]:
        step, _ = lowered(given, Trial("embedded", "encoder", form, "int8"), SIZE)
        layers = convolutions(step).items()
        return {name for name, one in layers if isinstance(one.kernels, QuantizedKernels)}

    given = model_of("embedded")
    wide, shipped = int8_layers("conv2d-wide"), int8_layers("conv2d")
    step, _ = lowered(given, Trial("embedded", "encoder", "conv2d", "fp32"), SIZE)
    shapes = {name: one.kernels.weights[0].shape for name, one in convolutions(step).items()}
    assert wide == {name for name in shipped if min(shapes[name][:2]) >= 32}
    assert wide and wide < shipped


def test_a_form_of_trials_is_not_that_of_the_product() -> None:
    shipped = dict(FORMS)
    trial = Trial("embedded", "encoder", "matmul")
    step, _ = lowered(model_of("embedded"), trial, SIZE)
    assert type(step.form) is type(TRIAL_FORMS["matmul"].form)
    assert shipped == FORMS and type(step.form) is not type(FORMS["channels_last"])


def test_a_graph_without_a_start_finds_zeros_in_its_caches() -> None:
    assert [name for name, form in TRIAL_FORMS.items() if form.host_zeroes] == ["conv3d-no-start"]
    step, _ = lowered(model_of("embedded"), Trial("embedded", "encoder", "conv3d-no-start"), SIZE)
    assert step.causal_timeline is HostZeroed


@pytest.mark.slow
def test_a_graph_that_is_written_computes_the_same(tmp_path: Path) -> None:
    trial = Trial("embedded", "encoder", "chunk-tail", "fp32")
    written = GraphWriter(tmp_path, SIZE, torch.get_num_threads())(trial)
    assert written.operators["Conv"] > 20 and written.operators["LayerNormalization"] > 10
    session = onnxruntime.InferenceSession(
        graph_path(tmp_path, trial), providers=["CPUExecutionProvider"]
    )
    calls, expected = reference(model_of("embedded"), "encoder", SIZE, False)
    _, interface = lowered(model_of("embedded"), trial, SIZE)
    given = {
        spec.name: value.numpy()
        for spec, value in zip(interface.inputs, zeros(interface.inputs), strict=True)
    }
    [tokens] = session.run(["tokens"], {**given, **calls[0]})
    np.testing.assert_array_equal(tokens, expected[0]["tokens"])
