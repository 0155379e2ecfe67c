"""The ways to compute a step: PyTorch eager and compiled, a naive ONNX export, and our two forms.

Eager, compiled and naive keep their libraries' defaults; our forms run as the runtime opens them.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from paired import KINDS, Candidate, Kind, Table, compare, measure, progress

from vidtok_edge.export.bundle_files import write_graphs
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.backends.backend import Backend
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.vidtok_ref import VidTok, load_weights
from vidtok_edge.vidtok_ref.regularizer import codes_from_tokens

FORMS: tuple[FormName, ...] = ("conv2d", "conv3d")


@dataclass(frozen=True)
class Case:
    """A model at one size."""

    variant: str
    weights: str | None
    size: int


CASES = {
    "full-64": Case("vidtok_fsq_causal_488_32768", "random", 64),
    "full-128": Case("vidtok_fsq_causal_488_32768", "random", 128),
    "embedded-256": Case("fsq", None, 256),
}


@dataclass(frozen=True)
class StepInput:
    """One chunk, as the graphs and as the original modules take it."""

    name: str
    array: NDArray[Any]
    tensor: torch.Tensor


def run_case(name: str, runs: int, compiled: bool, notes: list[str]) -> list[Table]:
    """Encoder and decoder of one case; what there is to say beside the numbers goes to `notes`."""
    case, tables = CASES[name], list[Table]()
    model, _ = load_weights(case.variant, case.weights)
    with tempfile.TemporaryDirectory(prefix="step_graph_") as scratch:
        folder = Path(scratch)
        with progress(FORMS, f"{name}: exporting") as forms:
            bundles = [write_bundle(model, case.size, form, folder / form) for form in forms]
        for kind in KINDS:
            given = step_input(model, kind, case.size)
            module = model.encoder if kind == "encoder" else model.decoder
            candidates = [torch_candidate("eager", module, given)]
            if compiled:
                candidates += compiled_candidate(module, given, f"{name} {kind}", notes)
            candidates.append(naive_candidate(module, given, folder / f"naive.{kind}.onnx"))
            with ExitStack() as steps:
                for bundle in bundles:
                    step = steps.enter_context(open_kind(bundle, kind))
                    candidates.append(form_candidate(step, kind, given))
                tables.append(compare(name, kind, candidates, runs))
            del candidates
            gc.collect()
    return tables


def write_bundle(model: VidTok, size: int, form: FormName, folder: Path) -> Bundle:
    folder.mkdir()
    return write_graphs(model, StepOptions(height=size, width=size, form=form), folder)


def write_embedded(folder: Path) -> Bundle:
    """The bundle that a user of the embedded model gets."""
    case = CASES["embedded-256"]
    model, _ = load_weights(case.variant, case.weights)
    return write_bundle(model, case.size, "conv2d", folder)


def open_kind(bundle: Bundle, kind: Kind) -> Step:
    """The step inside `Bundle.encoder("cpu")` or `Bundle.decoder("cpu")`, and its latents."""
    graph = bundle.manifest.graph(kind)
    return open_step(bundle.path, graph, Backend.CPU, to_compare=True)


def step_input(model: VidTok, kind: Kind, size: int) -> StepInput:
    """f random frames, or one latent of random tokens."""
    variant, random = model.variant, np.random.default_rng(0)
    if kind == "encoder":
        shape = (1, variant.time_factor, size, size, 3)
        frames = random.integers(0, 256, shape, dtype=np.uint8)
        video = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
        return StepInput("frames", frames, video.contiguous())
    grid = size // variant.space_factor
    tokens = random.integers(0, variant.codebook_size, (1, 1, grid, grid), dtype=np.int32)
    codes = codes_from_tokens(torch.from_numpy(tokens), variant.levels)
    return StepInput("tokens", tokens, codes.contiguous())


def torch_candidate(name: str, module: Callable[[Any], Any], given: StepInput) -> Candidate:
    def run() -> Any:
        with torch.inference_mode():
            return module(given.tensor)

    return Candidate(name, run, lambda: np.asarray(run().numpy()))


def compiled_candidate(
    module: torch.nn.Module, given: StepInput, label: str, notes: list[str]
) -> list[Candidate]:
    """The module after `torch.compile`; nothing, and a note, where that fails."""
    torch.compiler.reset()  # else it makes the sizes of the second case dynamic
    candidate = torch_candidate("torch.compile", torch.compile(module), given)
    try:
        seconds = measure(candidate.run).wall
    except Exception as error:  # a missing C++ compiler, above all
        notes.append(f"{label}: torch.compile failed: {str(error).strip().partition(chr(10))[0]}")
        return []
    notes.append(f"{label}: torch.compile needed {seconds:.0f} s to compile.")
    return [candidate]


def naive_candidate(module: torch.nn.Module, given: StepInput, path: Path) -> Candidate:
    """The original module as `torch.onnx.export` writes it, in ONNX Runtime with its defaults."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (given.tensor,), dynamo=True, opset_version=20, verbose=False
        )
    assert program is not None
    program.save(str(path), external_data=True)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: given.tensor.numpy()}

    def run() -> Any:
        return session.run(None, feed)[0]

    return Candidate("naive export", run, run)


def form_candidate(step: Step, kind: Kind, given: StepInput) -> Candidate:
    step.inputs[given.name][:] = given.array

    def output() -> NDArray[Any]:
        step.inputs["start"][:] = True  # the original sees a zero past
        step.run()
        step.inputs["start"][:] = False
        if kind == "encoder":
            return step.outputs["latent"].transpose(0, 2, 1, 3, 4).copy()
        return step.outputs["frames"].transpose(0, 4, 1, 2, 3) / np.float32(127.5) - 1

    return Candidate(step.graph.form, step.run, output)
