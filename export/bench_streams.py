"""The steps of a bundle in PyTorch, as candidates of the benchmark: the same streams and tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.export.bundle_verify import reference_of
from vidtok_edge.lowering.facts import BOTH_FP32, options_of
from vidtok_edge.lowering.interface import KINDS
from vidtok_edge.lowering.torch_step import TorchStep, TorchStreams
from vidtok_edge.runtime import Bundle, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.bench.measuring.candidate import Candidate

__all__ = ["TorchBackend", "open_torch", "torch_candidates"]

TorchBackend = Literal["torch-cpu", "torch-compile-cpu"]


def torch_candidates(
    bundles: Sequence[Path],
    backends: Sequence[TorchBackend],
    threads: int | None = None,
    checkpoint: str | None = None,
) -> list[Candidate]:
    """Each bundle's float32 steps in PyTorch on the CPU, eager or compiled.

    Args:
        bundles: folders.
        backends: eager, compiled or both.
        threads: CPU threads of a call; PyTorch's choice where None.
        checkpoint: the file that weights came from, for the bundles whose weights did.

    Raises:
        UsageError: the weights came from a file, and none is named; or the reverse.
    """
    found, needed = [], False
    for path in bundles:
        weights = Bundle.load(path).manifest.weights
        from_file = weights.source == "file"
        if from_file and checkpoint is None:
            raise UsageError(
                f"The weights of {path} came from the file {weights.location}. Name it with "
                "--checkpoint, or leave --torch and --torch-compile out."
            )
        needed |= from_file
        found += [
            Candidate(
                os.path.abspath(path),
                backend,
                "fp32",
                threads,
                f"{__name__}:open_torch",
                checkpoint if from_file else None,
            )
            for backend in backends
        ]
    if checkpoint is not None and not needed:
        raise UsageError("No bundle has weights that came from a file; leave --checkpoint out.")
    return found


def open_torch(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of these candidates. Compiling is part of it.

    Raises BackendUnavailable where torch.compile does not work here, CheckpointError where the
    weights are not those of the bundle.
    """
    if candidate.threads is not None:
        torch.set_num_threads(candidate.threads)
    model = reference_of(bundle, candidate.checkpoint)
    streams = TorchStreams(model, options_of(bundle.manifest), BOTH_FP32)
    compiled = candidate.backend == "torch-compile-cpu"
    for step in streams.steps.values():
        how = "torch.compile" if compiled else "torch eager"
        step.info = replace(step.info, asked=candidate.backend, active=f"{how}, CPU, fp32")
    if compiled:
        for kind in KINDS if decode else KINDS[:1]:
            _compile(streams.steps[kind])
    return streams.encoder(), streams.decoder() if decode else None


def _compile(step: TorchStep) -> None:
    """Now, not in the first call that is measured; a stream's `start` hides what this one left."""
    step.module.compile()
    try:
        step.run()
        step.run()
    except Exception as error:  # the compilers that it calls fail in their own ways
        # The first line may be no more than the name of what raised.
        why = " ".join(str(error).split()) or type(error).__name__
        raise BackendUnavailable(
            f"torch.compile does not work here: {why[:600]}. It needs a C++ compiler. "
            "Leave --torch-compile out."
        ) from None
