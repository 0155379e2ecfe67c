"""A wrong graph fails, and what differs first is named: the half, the place, the phase."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from wrong_graphs import FAULTS, spoil

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.proving.prove import prove

_TOKENS = r"[1-4] of 4 tokens are not the reference's"
FIRST = {
    ("encoder", "weights"): rf"encoder, latent 0 \(start\): {_TOKENS}",
    ("encoder", "cache"): r"encoder, latent [12] \(steady state",
    ("encoder", "start"): rf"encoder, latent 0 \(start\): {_TOKENS}",
    ("encoder", "ready"): rf"encoder, latent [12] \(steady state\): {_TOKENS}",
    ("encoder", "saturates"): rf"encoder, latent [01] \((start|steady state)\): {_TOKENS}",
    ("decoder", "weights"): r"decoder, picture 0 of latent 0 \(start\): [\d.]+ dB",
    ("decoder", "cache"): r"decoder, picture [1-8] of latent [12] \(steady state\): [\d.]+ dB",
    ("decoder", "start"): r"decoder, picture 0 of latent 0 \(start\): [\d.]+ dB",
    ("decoder", "ready"): r"decoder, picture 5 of latent 2 \(steady state, slot 1 after its reset",
    ("decoder", "saturates"): r"decoder, picture 0 of latent 0 \(start\): [\d.]+ dB",
}
"""What is said first of each fault in each half, whatever the weights that ship."""


@pytest.mark.parametrize(("kind", "fault"), FIRST)
@pytest.mark.xdist_group("golden_bundle")
def test_a_wrong_graph_fails_with_what_differs_first(
    golden_bundle: Path, tmp_path: Path, kind: Kind, fault: str
) -> None:
    folder = Path(shutil.copytree(golden_bundle, tmp_path / "bundle"))
    spoil(folder, kind, FAULTS[fault])
    proof = prove(Bundle.load(folder, check_hashes=True), threads=1)
    assert not proof and proof.verdict == "failed"
    assert re.match(FIRST[kind, fault], proof.differences[0].text), proof.differences[0].text
    assert {difference.kind for difference in proof.differences} == {kind}
    parts = {"encoder": proof.encoder, "decoder": proof.decoder}
    if fault == "start":
        assert not parts[kind].runs_equal, "what lay in the caches before is seen"
    if fault in ("start", "ready"):
        assert not parts[kind].slots_equal


@pytest.mark.xdist_group("golden_bundle")
def test_the_graphs_without_a_fault_pass(golden_bundle: Path) -> None:
    proof = prove(Bundle.load(golden_bundle), threads=1)
    assert proof and proof.differences == ()
    for part, items in ((proof.encoder, 22), (proof.decoder, 137)):
        assert part.bit_equal == part.items == items
        assert part.runs_equal and part.slots_equal
        assert part.covered.endswith("all of its reach")
    assert proof.encoder.tokens_differ == 0 and proof.decoder.value == 99.0
