"""Names of trials: what they say, and what is refused."""

from __future__ import annotations

import pytest
from engine_trials.forms import TRIAL_FORMS
from engine_trials.trial import DEFAULT_TRIALS, Trial, trials_of

from vidtok_edge.errors import UsageError


@pytest.mark.parametrize(
    ("text", "trial"),
    [
        ("embedded-encoder-conv3d", Trial("embedded", "encoder", "conv3d")),
        ("full-decoder-one-conv-upsample", Trial("full", "decoder", "one-conv-upsample")),
        ("full-decoder-conv2d-int8@4", Trial("full", "decoder", "conv2d", "int8", 4)),
        ("full-encoder-conv2d-wide", Trial("full", "encoder", "conv2d-wide", "int8")),
        (
            "full-decoder-one-conv-upsample-fp32@2@0",
            Trial("full", "decoder", "one-conv-upsample", "fp32", 2, 0),
        ),
    ],
)
def test_a_name_says_all(text: str, trial: Trial) -> None:
    assert Trial.parse(text) == trial
    assert trial.name == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tiny-encoder-conv3d", "there is no model 'tiny'; it is one of embedded, full"),
        ("full-conv3d", "there is no kind 'conv3d'; it is one of encoder, decoder"),
        ("full-encoder-conv4d", "there is no form 'conv4d'; it is one of conv3d, conv2d"),
        ("full-encoder", "there is no form ''"),
        ("full-encoder-one-conv-upsample", "Try full-decoder-one-conv-upsample"),
        ("full-encoder-matmul-int8", "matmul is tried in fp16, fp32 only"),
        ("full-encoder-conv2d-wide-fp16", "conv2d-wide is tried in int8 only"),
        ("full-encoder-conv3d@high", "got @high. Write for example full-encoder-conv3d@3"),
        ("full-encoder-conv3d@9", "a level of optimization is 0 to 5, got 9"),
        (" , ", "--trials names nothing"),
    ],
)
def test_what_is_no_trial_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        trials_of(text)
    assert said in str(raised.value)


def test_the_most_informative_come_first_and_every_form_comes() -> None:
    names = [trial.name for trial in DEFAULT_TRIALS]
    assert len({*names}) == len(names) and trials_of(",".join(names)) == [*DEFAULT_TRIALS]
    assert names[:4] == [
        f"embedded-{kind}-{form}"
        for form in ("conv3d", "conv2d")
        for kind in ("encoder", "decoder")
    ]
    assert {trial.form for trial in DEFAULT_TRIALS} == {*TRIAL_FORMS}
    assert "embedded-encoder-conv2d-int8" in names, "what INT8 quantises otherwise is held to it"
