"""A wrong graph fails, and what differs first is named: the half, the place, the phase."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from wrong_graphs import FAULTS, spoil

from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.manifest.graphs import Kind
from vidtok_edge.runtime.proving.prove import prove

FIRST = {
    ("encoder", "weights"): "encoder, latent 0 (start): 4 of 4 tokens are not the reference's",
    ("encoder", "cache"): "encoder, latent 1 (steady state",
    ("encoder", "start"): "encoder, latent 0 (start): 4 of 4 tokens are not the reference's",
    ("encoder", "ready"): "encoder, latent 1 (steady state): 2 of 4 tokens are not",
    ("encoder", "saturates"): "encoder, latent 0 (start): 2 of 4 tokens are not the reference's",
    ("decoder", "weights"): "decoder, picture 0 of latent 0 (start): 19.",
    ("decoder", "cache"): "decoder, picture 1 of latent 1 (steady state): 31.",
    ("decoder", "start"): "decoder, picture 0 of latent 0 (start): 10.",
    ("decoder", "ready"): "decoder, picture 5 of latent 2 (steady state, slot 1 after its reset)",
    ("decoder", "saturates"): "decoder, picture 0 of latent 0 (start): 25.",
}
"""What is said first of each fault in each half."""


@pytest.mark.parametrize(("kind", "fault"), FIRST)
@pytest.mark.xdist_group("golden_bundle")
def test_a_wrong_graph_fails_with_what_differs_first(
    golden_bundle: Path, tmp_path: Path, kind: Kind, fault: str
) -> None:
    folder = Path(shutil.copytree(golden_bundle, tmp_path / "bundle"))
    spoil(folder, kind, FAULTS[fault])
    proof = prove(Bundle.load(folder, check_hashes=True), threads=1)
    assert not proof and proof.verdict == "failed"
    assert proof.differences[0].text.startswith(FIRST[kind, fault])
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
