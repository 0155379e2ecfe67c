"""PyTorch as a candidate of the benchmark gives the tokens that the bundle gives."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from vidtok_edge.errors import BackendUnavailable, CheckpointError, UsageError
from vidtok_edge.export.bench_streams import open_torch, torch_candidates
from vidtok_edge.export.verifying.loss import Loss
from vidtok_edge.export.verifying.report import ParityReport
from vidtok_edge.runtime.bench.document import ClipQuality
from vidtok_edge.runtime.bench.measuring.candidate import Candidate, candidates_of
from vidtok_edge.runtime.bench.measuring.frames import moving_frames
from vidtok_edge.runtime.bench.measuring.reports import PARITY_REPORT, qualities_of
from vidtok_edge.runtime.bundle import MANIFEST, Bundle
from vidtok_edge.variants import EMBEDDED
from vidtok_edge.vidtok_ref import embedded_file

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.xdist_group("embedded")


def tokens_of(candidate: Candidate, bundle: Bundle) -> np.ndarray:
    encoder, decoder = candidate.open(bundle, decode=True)
    assert decoder is not None
    with encoder, decoder:
        found = [one for frame in moving_frames(9, 64, 96) for one in encoder.push(frame)]
        pictures = [picture for one in found for picture in decoder.push(one)]
    assert pictures and encoder.step_times.compute_ns > 0
    return np.concatenate([one.values for one in found])


def test_the_same_tokens(embedded: Bundle) -> None:
    [ours] = candidates_of([embedded.path], ["cpu"])
    [eager] = torch_candidates([embedded.path], ["torch-cpu"], 1)
    assert str(eager).endswith("torch-cpu fp32 1 thread(s)")
    same = tokens_of(ours, embedded) == tokens_of(eager, embedded)
    assert same.mean() > 0.999, "but for what lies on a boundary"


def test_compiling_that_does_not_work_is_said_when_opening(
    embedded: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_badly(module: torch.nn.Module) -> None:
        def forward(*arguments: object) -> None:
            raise RuntimeError("no C++ compiler\nand more")

        module.forward = forward

    monkeypatch.setattr(torch.nn.Module, "compile", compile_badly)
    [candidate] = torch_candidates([embedded.path], ["torch-compile-cpu"])
    with pytest.raises(BackendUnavailable, match=r"no C\+\+ compiler and more\. It needs"):
        open_torch(embedded, candidate, False)


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
