"""Weights that run as a variant they were not trained as are seen, and the right one is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from narrow import narrow

from vidtok_edge import variants
from vidtok_edge.export.verifying.self_check import CLIPS, GOOD_DB, SelfCheck, self_check
from vidtok_edge.variants import EMBEDDED, VARIANTS, Variant
from vidtok_edge.vidtok_ref import VidTok, load_weights
from vidtok_edge.vidtok_ref.weights import model_from_state

TWIN = replace(EMBEDDED, name=f"{EMBEDDED.name}_v1_1", version="1.1")


@pytest.fixture
def a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded tokenizer, trained as v1.0, has a v1.1 beside it, as five published models."""
    both: Mapping[str, Variant] = MappingProxyType({**VARIANTS, TWIN.name: TWIN})
    monkeypatch.setattr(variants, "VARIANTS", both)


@pytest.mark.slow
@pytest.mark.usefixtures("a_pair")
@pytest.mark.parametrize("asked", [TWIN, EMBEDDED])
def test_weights_are_taken_as_what_they_were_trained_as(asked: Variant) -> None:
    trained = load_weights("fsq", None)[0]
    model, check = self_check(model_from_state(asked, trained.state_dict()), try_twins=True)
    assert model.variant is EMBEDDED and check.best == EMBEDDED.name
    figures = dict(check.psnr_db)
    assert set(figures) == {EMBEDDED.name, TWIN.name}
    assert all(a > b for a, b in zip(figures[EMBEDDED.name], figures[TWIN.name], strict=True))
    assert len(check.comparisons) == 2 * len(CLIPS) and all(check.comparisons)
    if asked is TWIN:
        assert f"The weights are {EMBEDDED.name} rather than {TWIN.name}" in check.warning
    else:
        assert check.warning == ""
    key = "encoder.conv_in.conv.weight"
    assert model.state_dict()[key].data_ptr() == trained.state_dict()[key].data_ptr()


@pytest.mark.usefixtures("a_pair")
def test_twins_are_not_tried_where_the_origin_is_known() -> None:
    model, check = self_check(load_weights("fsq", None)[0], try_twins=False)
    assert [name for name, _ in check.psnr_db] == [EMBEDDED.name]
    assert model.variant is EMBEDDED


def untrained() -> VidTok:
    return narrow("vidtok_kl_causal_488_4chn", ch=4)


def test_untrained_weights_stay_what_they_were_asked_as_and_are_warned_about() -> None:
    model, check = self_check(untrained(), try_twins=False)
    assert model.variant == untrained().variant
    assert max(check.psnr_db[0][1]) < GOOD_DB
    assert "the weights are not trained, or their configuration is not" in check.warning


@pytest.mark.parametrize(
    ("asked", "twin", "best"),
    [
        ((30.0, 30.0), (31.0, 31.0), "twin"),
        ((30.0, 30.0), (31.0, 29.0), "asked"),  # the clips do not agree
        ((30.0, 30.0), (30.05, 30.05), "asked"),  # too close to say
        ((8.0, 8.0), (9.0, 9.0), "asked"),  # neither is trained
        ((float("nan"), 30.0), (31.0, 31.0), "asked"),
    ],
)
def test_a_twin_is_taken_only_beyond_doubt(
    asked: tuple[float, ...], twin: tuple[float, ...], best: str
) -> None:
    assert SelfCheck("asked", (("asked", asked), ("twin", twin))).best == best


def test_a_model_that_gives_no_number_fails_its_report() -> None:
    check = SelfCheck("asked", (("asked", (float("nan"), 30.0)),))
    assert [bool(c) for c in check.comparisons] == [False, True]
