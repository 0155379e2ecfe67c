"""The steps of a bundle in PyTorch, as candidates of the benchmark: the same streams and tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.export.bundle_verify import reference_of
from vidtok_edge.lowering.facts import BOTH_FP16, BOTH_FP32, options_of
from vidtok_edge.lowering.interface import Kind
from vidtok_edge.lowering.numerics import Numerics
from vidtok_edge.lowering.torch_cuda import exact_float32, require_torch_cuda
from vidtok_edge.lowering.torch_device_step import CUDA_GRAPH_MODES, DeviceStep
from vidtok_edge.lowering.torch_step import TorchStep, TorchStreams
from vidtok_edge.runtime import Bundle, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.bench.measuring.candidate import Candidate
from vidtok_edge.runtime.manifest.manifest import Manifest

__all__ = ["TorchBackend", "open_torch", "open_torch_on", "torch_candidates"]

TorchBackend = Literal["torch-cpu", "torch-compile-cpu", "torch-cuda", "torch-compile-cuda"]

_ON_GPU: tuple[TorchBackend, ...] = ("torch-cuda", "torch-compile-cuda")
_COMPILED: tuple[TorchBackend, ...] = ("torch-compile-cpu", "torch-compile-cuda")
_NUMERICS: Mapping[str, Mapping[Kind, Numerics]] = {"fp32": BOTH_FP32, "fp16": BOTH_FP16}
_COMPILED_CALLS = 3
"""The first compiles, the second may again, and a CUDA graph is recorded after one call."""


def torch_candidates(
    bundles: Sequence[Path],
    backends: Sequence[TorchBackend],
    threads: int | None = None,
    checkpoint: str | None = None,
    *,
    modes: Sequence[str] = ("default",),
    precisions: Sequence[str] = (),
    left_out: Callable[[Candidate], None] = lambda candidate: None,
) -> list[Candidate]:
    """Each bundle's steps in PyTorch: in float32 on the CPU, in fp32 and fp16 on the GPU.

    Args:
        bundles: folders.
        backends: eager, compiled or both, on the CPU or the GPU.
        threads: CPU threads of a call; PyTorch's choice where None.
        checkpoint: the file that weights came from, for the bundles whose weights did.
        modes: of torch.compile on the GPU, a candidate each.
        precisions: on the GPU; where there are none, those of a bundle.
        left_out: is told of those in INT8, which PyTorch has no step for.

    Raises:
        UsageError: the weights came from a file, and none is named; or the reverse. No precision
            that PyTorch has.
    """
    found, needed = [], False
    for path in bundles:
        manifest = Bundle.load(path).manifest
        from_file = manifest.weights.source == "file"
        if from_file and checkpoint is None:
            raise UsageError(
                f"The weights of {path} came from the file {manifest.weights.location}. Name it "
                "with --checkpoint, or leave --torch and --torch-compile out."
            )
        needed |= from_file
        for backend in backends:
            on_gpu = backend in _ON_GPU
            for mode in modes if backend == "torch-compile-cuda" else ("",):
                for precision in _precisions(manifest, precisions) if on_gpu else ("fp32",):
                    candidate = Candidate(
                        os.path.abspath(path),
                        backend,
                        precision,
                        threads,
                        f"{__name__}:open_torch",
                        checkpoint if from_file else None,
                        mode,
                    )
                    if precision in _NUMERICS:
                        found.append(candidate)
                    else:
                        left_out(candidate)
    if checkpoint is not None and not needed:
        raise UsageError("No bundle has weights that came from a file; leave --checkpoint out.")
    return found


def _precisions(manifest: Manifest, asked: Sequence[str]) -> Sequence[str]:
    """Of the candidates on the GPU, those among them that PyTorch has no step for."""
    if asked and not set(asked) & set(_NUMERICS):
        raise UsageError(
            f"PyTorch runs steps in {' and '.join(_NUMERICS)} on the GPU, and --precision is "
            f"{','.join(asked)}. Add one of them, or leave --torch and --torch-compile out."
        )
    there: tuple[str, ...] = manifest.precisions
    return asked or (there if set(there) & set(_NUMERICS) else ("fp32", *there))


def open_torch(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of these candidates. Compiling is part of it.

    Raises BackendUnavailable where PyTorch sees no GPU, or torch.compile does not work here;
    CheckpointError where the weights are not those of the bundle.
    """
    if candidate.backend not in _ON_GPU:
        return open_torch_on(bundle, candidate, decode, None)
    require_torch_cuda()
    exact_float32()
    return open_torch_on(bundle, candidate, decode, torch.device("cuda"))


def open_torch_on(
    bundle: Bundle, candidate: Candidate, decode: bool, device: torch.device | None
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """As `open_torch`; `device` None: in the host's memory, where nothing is copied."""
    assert candidate.backend in get_args(TorchBackend)
    if candidate.threads is not None:
        torch.set_num_threads(candidate.threads)
    numerics = _NUMERICS[candidate.precision]
    options = options_of(bundle.manifest)
    options = replace(options, form=numerics["encoder"].form(options.form))
    model = reference_of(bundle, candidate.checkpoint)
    make = TorchStep if device is None else partial(DeviceStep, on=device)
    streams = TorchStreams(model, options, numerics, make)
    compiled = candidate.backend in _COMPILED
    how = f"torch.compile {candidate.compile_mode}".rstrip() if compiled else "torch eager"
    active = f"{how}, {_name_of(device)}, {candidate.precision}"
    for kind, step in streams.steps.items():
        if compiled and (decode or kind == "encoder"):
            _compile(step, candidate.compile_mode or None)
        step.info = replace(step.info, asked=candidate.backend, active=active)
    if compiled and candidate.compile_mode in CUDA_GRAPH_MODES and _graphs_left_out():
        why = "torch.compile made no CUDA graph of some part; TORCH_LOGS=perf_hints says why"
        for step in streams.steps.values():
            step.info = replace(step.info, fell_back=why)
    return streams.encoder(), streams.decoder() if decode else None


def _name_of(device: torch.device | None) -> str:
    if device is None or device.type == "cpu":
        return "CPU"
    return torch.cuda.get_device_name(device)


def _compile(step: TorchStep, mode: str | None) -> None:
    """Now, not in the first call that is measured; a stream's `start` hides what this one left."""
    # Eager once: its caches lie in memory as those of all later calls, so less is compiled twice.
    step.run()
    step.compile(mode)
    try:
        for _ in range(_COMPILED_CALLS):
            step.run()
    except Exception as error:  # the compilers that it calls fail in their own ways
        # The first line may be no more than the name of what raised.
        why = " ".join(str(error).split()) or type(error).__name__
        raise BackendUnavailable(
            f"torch.compile does not work here: {why[:600]}. It needs a C++ compiler, and on a GPU "
            "Triton. Leave --torch-compile out."
        ) from None


def _graphs_left_out() -> int:
    """How many CUDA graphs torch.compile was asked for in this process and did not make."""
    from torch._dynamo.utils import counters

    return counters["inductor"]["cudagraph_skips"]
