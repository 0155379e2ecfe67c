"""How many layers go back to float, on a model of arithmetic: each layer's damage is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from vidtok_edge.calib.budget import Budget, Mixes, MixPoint, measure_quarters, within_budget
from vidtok_edge.calib.mix import Damage, Work
from vidtok_edge.calib.policy import Level, Policy, Rule
from vidtok_edge.calib.sensitivity import LayerDamage
from vidtok_edge.errors import CheckFailed, UsageError

FLOAT_ERROR = 0.01  # of float32 against the source
ERRORS = {
    "encoder.a": 1e-3,
    "encoder.b": 4e-4,
    "encoder.c": 1e-6,
    "decoder.a": 2e-3,
    "decoder.b": 1e-6,
    "decoder.c": 5e-5,
    "decoder.d": 1e-5,
}
TOKENS = {"encoder.a": 0.05, "encoder.b": 0.2, "encoder.c": 0.01}
WORK = dict(zip(ERRORS, (0.1, 0.05, 0.2, 0.02, 0.4, 0.13, 0.1), strict=True))
POLICY = Policy((Rule("*", "int8"), Rule("decoder.d", "cache")))
LEVELS = POLICY.levels(list(ERRORS))


class Meter:
    """Damages that add up; `floor` is what any rounding costs."""

    def __init__(self, floor: float = 0.0, tokens: bool = True) -> None:
        self.floor, self.tokens, self.measured = floor, tokens, 0

    def measure_both(self, levels: Mapping[str, Level]) -> Damage:
        self.measured += 1
        rounded = [name for name, level in levels.items() if level != "float"]
        error = sum(ERRORS[name] for name in rounded) + self.floor * bool(rounded)
        equal = 1 - sum(TOKENS.get(name, 0.0) for name in rounded)
        return Damage(
            equal if self.tokens else None,
            -10 * math.log10(error) if error else math.inf,
            10 * math.log10(1 + error / FLOAT_ERROR),
        )


def mixes_of(meter: Meter) -> Mixes:
    work: Any = Work.__new__(Work)
    work.shares = WORK
    stand_in: Any = meter
    return Mixes(stand_in, work, POLICY, LEVELS)


def alone(meter: Meter) -> list[LayerDamage]:
    found = []
    for name, level in LEVELS.items():
        d = meter.measure_both({name: level})
        kind: Any = name.split(".")[0]
        found.append(
            LayerDamage(
                kind=kind,
                layer=name,
                level=level,
                work_share=WORK[name],
                tokens_equal=d.tokens_equal,
                psnr_db=d.psnr_db,
                loss_db=d.loss_db,
            )
        )
    return found


def test_a_budget_that_holds_at_once() -> None:
    meter = Meter()
    damages, meter.measured = alone(meter), 0
    done = within_budget(mixes_of(meter), damages, Budget(3.0, 0.5))
    assert done.policy == POLICY and done.levels == LEVELS
    assert meter.measured == 1 and done.curve == (done.point,)
    assert done.point.work_int8_share == pytest.approx(0.9)
    assert done.point.layers == tuple(name for name in LEVELS if LEVELS[name] == "int8")


def test_the_most_damage_per_work_goes_first() -> None:
    done = within_budget(mixes_of(Meter()), alone(Meter()), Budget(0.35))
    assert [rule.pattern for rule in done.policy.rules[2:]] == ["decoder.a", "encoder.a"]
    assert all(rule.level == "float" for rule in done.policy.rules[2:])
    assert done.levels["decoder.a"] == "float" and done.levels["encoder.b"] == "int8"
    assert done.point.loss_db <= 0.35
    assert sum(point.loss_db > 0.35 for point in done.curve) >= 2  # one layer less did not do
    shares = [point.work_int8_share for point in done.curve]
    assert shares == sorted(shares)


def test_tokens_take_back_layers_of_the_encoder_alone() -> None:
    done = within_budget(mixes_of(Meter()), alone(Meter()), Budget(tokens_equal=0.93))
    assert [rule.pattern for rule in done.policy.rules[2:]] == ["encoder.b"]


def test_both_limits_hold() -> None:
    budget = Budget(0.1, 0.93)
    done = within_budget(mixes_of(Meter()), alone(Meter()), budget)
    assert budget.holds(done.point)
    assert {rule.pattern for rule in done.policy.rules[2:]} == {
        "encoder.a",
        "encoder.b",
        "decoder.a",
    }


def test_a_budget_that_cannot_be_reached() -> None:
    meter = Meter(floor=1e-3)
    with pytest.raises(CheckFailed) as failure:
        within_budget(mixes_of(meter), alone(meter), Budget(0.1))
    sentence = str(failure.value)
    assert "No layer can be left in INT8 within the budget, a loss of 0.1 dB at most" in sentence
    assert "The best mix with INT8 in it has " in sentence and "Allow more" in sentence
    assert failure.value.exit_code == 1


def test_few_mixes_are_measured() -> None:
    meter = Meter()
    damages, meter.measured = alone(meter), 0
    within_budget(mixes_of(meter), damages, Budget(0.35))
    assert meter.measured <= 1 + math.ceil(math.log2(len(ERRORS))) + 1


def test_quarters_go_from_all_to_nothing() -> None:
    mixes = mixes_of(Meter())
    measure_quarters(mixes, alone(Meter()))
    assert len(mixes.points) == 5
    assert mixes.points[0].layers == () and mixes.points[0].loss_db == 0
    assert mixes.points[-1] == mixes.without(())


@pytest.mark.parametrize(
    ("loss_db", "tokens", "sentence"),
    [
        (-1.0, None, r"--budget-db is -1; allowed: 0 dB or more"),
        (math.nan, None, r"--budget-db is nan"),
        (None, 0.0, r"--budget-tokens is 0; allowed: a share above 0, at most 1"),
        (None, 90.0, r"--budget-tokens is 90; .* For 90 % write 0.9"),
    ],
)
def test_budgets_that_cannot_be(loss_db: float | None, tokens: float | None, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Budget(loss_db, tokens)


def test_tokens_of_a_model_without_tokens() -> None:
    with pytest.raises(UsageError, match="Use --budget-db"):
        Budget(tokens_equal=0.9).check("kl")
    Budget(0.5).check("kl")
    done = within_budget(mixes_of(Meter(tokens=False)), alone(Meter(tokens=False)), Budget(0.35))
    assert done.point.tokens_equal is None and "tokens" not in str(done.point)


def test_a_point_reads_well() -> None:
    point = MixPoint(
        work_int8_share=0.935, tokens_equal=0.91, loss_db=0.12, psnr_db=38.5, layers=("a", "b")
    )
    assert str(point) == (
        "93.5% of the work in INT8, 2 layers: loss +0.120 dB, 91.0% of tokens equal, "
        "38.50 dB against fp32"
    )
