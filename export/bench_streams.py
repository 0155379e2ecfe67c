"""The steps of a bundle in PyTorch, as candidates of the benchmark: the same streams and tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.export.bundle_files import BOTH_FP32, options_of
from vidtok_edge.export.bundle_verify import reference_of
from vidtok_edge.export.interface import KINDS
from vidtok_edge.export.torch_step import TorchStep, TorchStreams
from vidtok_edge.runtime import Bundle, StreamDecoder, StreamEncoder
from vidtok_edge.runtime.bench.candidate import Candidate

__all__ = ["TorchBackend", "open_torch", "torch_candidates"]

TorchBackend = Literal["torch", "torch-compile"]


def torch_candidates(
    bundles: Sequence[Path], backends: Sequence[TorchBackend], threads: int | None = None
) -> list[Candidate]:
    """Each bundle's float32 steps in PyTorch, eager or compiled.

    Raises UsageError for a bundle whose weights came from a file: the bundle does not hold them.
    """
    for path in bundles:
        weights = Bundle.load(path).manifest.weights
        if weights.source == "file":
            raise UsageError(
                f"The weights of {path} came from the file {weights.location}, and PyTorch cannot "
                "be given them here. Leave --torch and --torch-compile out."
            )
    return [
        Candidate(os.path.abspath(path), backend, "fp32", threads, f"{__name__}:open_torch")
        for path in bundles
        for backend in backends
    ]


def open_torch(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    """The `Opener` of these candidates. Compiling is part of it.

    Raises BackendUnavailable where torch.compile does not work here.
    """
    if candidate.threads is not None:
        torch.set_num_threads(candidate.threads)
    streams = TorchStreams(reference_of(bundle, None), options_of(bundle.manifest), BOTH_FP32)
    if candidate.backend == "torch-compile":
        for kind in KINDS if decode else KINDS[:1]:
            _compile(streams.steps[kind])
    return streams.encoder(), streams.decoder() if decode else None


def _compile(step: TorchStep) -> None:
    """Now, not in the first call that is measured; a stream's `start` hides what this one left."""
    step.info = type(step.info)("torch-compile", "torch-compile", step.info.library, "")
    step.module.compile()
    try:
        step.run()
        step.run()
    except Exception as error:  # the compilers that it calls fail in their own ways
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise BackendUnavailable(
            f"torch.compile does not work here: {why[0][:300]}. It needs a C++ compiler. "
            "Leave --torch-compile out."
        ) from None
