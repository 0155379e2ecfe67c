"""PyTorch as a candidate of the benchmark gives the tokens that the bundle gives."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vidtok_edge.errors import BackendUnavailable, CheckpointError, UsageError
from vidtok_edge.export.bench_streams import (
    TorchBackend,
    open_torch,
    open_torch_on,
    torch_candidates,
)
from vidtok_edge.export.verifying.loss import Loss
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.lowering.torch_device_step import DeviceStep
from vidtok_edge.runtime import StreamDecoder, StreamEncoder
from vidtok_edge.runtime.bench.candidate_result import ClipQuality
from vidtok_edge.runtime.bench.measuring.candidate import Candidate, candidates_of
from vidtok_edge.runtime.bench.measuring.frames import moving_frames
from vidtok_edge.runtime.bench.measuring.reports import PARITY_REPORT, qualities_of
from vidtok_edge.runtime.bundle import MANIFEST, Bundle
from vidtok_edge.variants import EMBEDDED
from vidtok_edge.vidtok_ref import embedded_file

pytestmark = pytest.mark.xdist_group("embedded")


def tokens_of(candidate: Candidate, bundle: Bundle) -> np.ndarray:
    return streamed(*candidate.open(bundle, decode=True))


def streamed(encoder: StreamEncoder, decoder: StreamDecoder | None) -> np.ndarray:
    assert decoder is not None
    with encoder, decoder:
        found = [one for frame in moving_frames(9, 64, 96) for one in encoder.push(frame)]
        pictures = [picture for one in found for picture in decoder.push(one)]
    assert pictures and encoder.step_times.compute_ns > 0
    return np.concatenate([one.values for one in found])


def on_cpu(
    bundle: Bundle, candidate: Candidate, decode: bool
) -> tuple[StreamEncoder, StreamDecoder | None]:
    return open_torch_on(bundle, candidate, decode, torch.device("cpu"))


def test_the_same_tokens(embedded: Bundle) -> None:
    [ours] = candidates_of([embedded.path], ["cpu"])
    [eager] = torch_candidates([embedded.path], ["torch-cpu"], 1)
    assert str(eager).endswith("torch-cpu fp32 1 thread(s)")
    same = tokens_of(ours, embedded) == tokens_of(eager, embedded)
    assert same.mean() > 0.999, "but for what lies on a boundary"


def test_compiling_that_does_not_work_is_said_when_opening(
    embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_badly(module: torch.nn.Module, mode: str | None) -> None:
        def forward(*arguments: object) -> None:
            raise RuntimeError("no C++ compiler\nand more")

        module.forward = forward

    monkeypatch.setattr(torch.nn.Module, "compile", compile_badly)
    [candidate] = torch_candidates([embedded.path], ["torch-compile-cpu"])
    with pytest.raises(BackendUnavailable, match=r"no C\+\+ compiler and more\. It needs"):
        open_torch(embedded, candidate, False)


@pytest.mark.parametrize("backend", ["torch-cuda", "torch-compile-cuda"])
def test_a_device_gives_the_tokens_of_the_host(
    embedded: Bundle, monkeypatch: pytest.MonkeyPatch, backend: TorchBackend
) -> None:
    """With the CPU as the device; traced as torch.compile does, but not compiled."""
    traced = list[str | None]()

    def compile_nothing(module: torch.nn.Module, mode: str | None) -> None:
        traced.append(mode)
        module.forward = torch.compile(module.forward, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_nothing)
    [host] = torch_candidates([embedded.path], ["torch-cpu"], 1)
    [device] = torch_candidates([embedded.path], [backend], 1, precisions=["fp32"])
    found = streamed(*on_cpu(embedded, device, True))
    assert (found == tokens_of(host, embedded)).mean() > 0.999
    assert traced == (["default"] * 2 if backend == "torch-compile-cuda" else [])


def test_in_fp16_most_tokens_are_those_of_fp32(embedded: Bundle) -> None:
    [host] = torch_candidates([embedded.path], ["torch-cpu"], 1)
    [half] = torch_candidates([embedded.path], ["torch-cuda"], 1, precisions=["fp16"])
    encoder, decoder = on_cpu(embedded, half, True)
    assert encoder.backend.active == "torch eager, CPU, fp16"
    share = (streamed(encoder, decoder) == tokens_of(host, embedded)).mean()
    assert 0.9 < share < 1


def test_modes_and_precisions_are_candidates_of_their_own(tiny: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    graphs = manifest["graphs"]
    for precision, placement in (("fp16", "any"), ("int8", "tensorrt")):
        other = {"precision": precision, "placement": placement}
        manifest["graphs"] = [*manifest["graphs"], *({**graph, **other} for graph in graphs)]
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    wanted: tuple[TorchBackend, ...] = ("torch-cuda", "torch-compile-cuda")
    left_out = list[Candidate]()
    modes = ["default", "reduce-overhead"]
    candidates = torch_candidates([tiny], wanted, modes=modes, left_out=left_out.append)
    assert [str(one) for one in candidates] == [
        *("bundle torch-cuda fp32", "bundle torch-cuda fp16"),
        *(f"bundle torch-compile-cuda {mode} {p}" for mode in modes for p in ("fp32", "fp16")),
    ]
    assert {one.precision for one in left_out} == {"int8"} and len(left_out) == 3


def test_a_mode_that_made_no_cuda_graph_says_so(
    embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.utils import counters

    def skip(module: torch.nn.Module, mode: str | None) -> None:
        counters["inductor"]["cudagraph_skips"] += 1

    monkeypatch.setattr(torch.nn.Module, "compile", skip)
    monkeypatch.setattr(DeviceStep, "run", lambda step: None)
    try:
        for mode in ("default", "reduce-overhead"):
            [one] = torch_candidates(
                [embedded.path], ["torch-compile-cuda"], modes=[mode], precisions=["fp32"]
            )
            encoder, _ = on_cpu(embedded, one, False)
            assert encoder.backend.active == f"torch.compile {mode}, CPU, fp32"
            assert bool(encoder.backend.fell_back) == (mode == "reduce-overhead")
    finally:
        counters.clear()


def test_without_a_gpu_it_is_said_when_opening(
    embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    for backend in ("torch-cuda", "torch-compile-cuda"):
        candidate = Candidate(str(embedded.path), backend, "fp32")
        with pytest.raises(BackendUnavailable, match="is one for the CPU"):
            open_torch(embedded, candidate, False)


def test_int8_alone_is_refused(embedded: Bundle) -> None:
    with pytest.raises(UsageError, match=r"PyTorch runs steps in fp32 and fp16 .* is int8\."):
        torch_candidates([embedded.path], ["torch-cuda"], precisions=["int8"])
    [one] = torch_candidates([embedded.path], ["torch-cpu"], precisions=["int8"])
    assert one.precision == "fp32", "on the CPU, whatever the others run in"


def test_weights_from_a_file_are_named(embedded: Bundle, tiny: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["weights"]["source"] = "file"
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"came from the file .* Name it with --checkpoint"):
        torch_candidates([tiny], ["torch-cpu"])
    path = str(embedded_file(f"{EMBEDDED.name}.safetensors"))
    both = torch_candidates([embedded.path, tiny], ["torch-cpu"], checkpoint=path)
    assert [one.checkpoint for one in both] == [None, path]
    with pytest.raises(UsageError, match="leave --checkpoint out"):
        torch_candidates([embedded.path], ["torch-cpu"], checkpoint=path)


def test_a_checkpoint_must_be_the_one_of_the_bundle(embedded: Bundle) -> None:
    found = embedded.manifest
    path = str(embedded_file(f"{EMBEDDED.name}.safetensors"))
    candidate = Candidate(str(embedded.path), "torch-cpu", "fp32", 1, checkpoint=path)
    for sha256, fits in ((found.weights.sha256, True), ("0" * 64, False)):
        weights = replace(found.weights, source="file", sha256=sha256)
        bundle = Bundle(embedded.path, replace(found, weights=weights))
        if fits:
            encoder, _ = open_torch(bundle, candidate, False)
            assert str(encoder.backend).startswith("torch eager, CPU, fp32 on torch 2")
        else:
            with pytest.raises(CheckpointError, match="Name the checkpoint"):
                open_torch(bundle, candidate, False)


def test_the_document_reads_what_a_verification_writes(tmp_path: Path) -> None:
    loss = Loss(
        graphs="int8",
        clip="robot",
        tokens=6144,
        tokens_equal=0.61,
        off_by_one=0.3,
        flips=(1, 2, 3, 4),
        psnr_db=31.0,
        source_psnr_db=23.9,
        source_ssim=0.71,
        loss_db=0.35,
        ssim_loss=0.02,
        drift_db=0.4,
    )
    same = replace(loss, graphs="fp32", tokens_equal=None, psnr_db=math.inf, loss_db=0.0)
    ParityReport("tiny", "cpu", (), (same, loss)).write(tmp_path / PARITY_REPORT)
    assert qualities_of(tmp_path) == [
        ClipQuality(
            graphs="fp32", clip="robot", tokens_equal=None, psnr_db=23.9, ssim=0.71, loss_db=0.0
        ),
        ClipQuality(
            graphs="int8", clip="robot", tokens_equal=0.61, psnr_db=23.9, ssim=0.71, loss_db=0.35
        ),
    ]
