"""PyTorch as a candidate of the benchmark gives the tokens that the bundle gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from vidtok_edge.errors import BackendUnavailable, UsageError
from vidtok_edge.export.bench_streams import open_torch, torch_candidates
from vidtok_edge.runtime.bench.candidate import Candidate, candidates_of
from vidtok_edge.runtime.bench.frames import moving_frames
from vidtok_edge.runtime.bundle import MANIFEST, Bundle

if TYPE_CHECKING:
    from vidtok_edge.export import Exported

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.xdist_group("embedded"),
]


def tokens_of(candidate: Candidate, bundle: Bundle) -> np.ndarray:
    encoder, decoder = candidate.open(bundle, decode=True)
    assert decoder is not None
    with encoder, decoder:
        found = [one for frame in moving_frames(9, 64, 96) for one in encoder.push(frame)]
        pictures = [picture for one in found for picture in decoder.push(one)]
    assert pictures and encoder.step_times.compute_ns > 0
    return np.concatenate([one.values for one in found])


def test_the_same_tokens(embedded: Exported) -> None:
    [ours] = candidates_of([embedded.bundle.path], ["cpu"])
    [eager] = torch_candidates([embedded.bundle.path], ["torch"], 1)
    assert str(eager).endswith("torch fp32 1 thread(s)")
    same = tokens_of(ours, embedded.bundle) == tokens_of(eager, embedded.bundle)
    assert same.mean() > 0.999, "but for what lies on a boundary"


def test_compiling_that_does_not_work_is_said_when_opening(
    embedded: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_badly(module: torch.nn.Module) -> None:
        def forward(*arguments: object) -> None:
            raise RuntimeError("no C++ compiler\nand more")

        module.forward = forward

    monkeypatch.setattr(torch.nn.Module, "compile", compile_badly)
    [candidate] = torch_candidates([embedded.bundle.path], ["torch-compile"])
    with pytest.raises(BackendUnavailable, match=r"no C\+\+ compiler\. It needs"):
        open_torch(embedded.bundle, candidate, False)


def test_weights_from_a_file_are_refused_at_once(tiny: Path) -> None:
    manifest = json.loads((tiny / MANIFEST).read_text())
    manifest["weights"]["source"] = "file"
    (tiny / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"came from the file .* Leave --torch"):
        torch_candidates([tiny], ["torch"])
