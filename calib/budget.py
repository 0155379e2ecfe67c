"""As much INT8 as a loss of quality allows: layers go back to float until a budget holds.

Layers are ordered by what they cost alone for each part of the work that they do in INT8, and each
limit takes layers back from the front of its own order: tokens depend on the encoder alone. How
many are needed is found by bisection, for quality all but rises with their number. Whatever comes
out was measured whole, and so was the mix with one layer less, which did not hold the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vidtok_edge.calib.mix import Damage, MixMeter, Work
from vidtok_edge.calib.policy import Level, Policy, Rule
from vidtok_edge.calib.sensitivity import LayerDamage
from vidtok_edge.errors import CheckFailed, UsageError
from vidtok_edge.runtime.progress import Progress, no_progress

__all__ = ["Budget", "Budgeted", "MixPoint", "Mixes", "measure_quarters", "within_budget"]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a mix may cost at most; None: whatever it costs.

    Attributes:
        loss_db: PSNR lost against the source.
        tokens_equal: least share of tokens that equal those of float32.
    """

    loss_db: float | None = None
    tokens_equal: float | None = None

    def __post_init__(self) -> None:
        if self.loss_db is not None and not 0 <= self.loss_db < math.inf:
            raise UsageError(f"--budget-db is {self.loss_db:g}; allowed: 0 dB or more.")
        if self.tokens_equal is not None and not 0 < self.tokens_equal <= 1:
            raise UsageError(
                f"--budget-tokens is {self.tokens_equal:g}; allowed: a share above 0, at most 1. "
                "For 90 % write 0.9."
            )

    def __bool__(self) -> bool:
        return self.loss_db is not None or self.tokens_equal is not None

    def __str__(self) -> str:
        parts = [] if self.loss_db is None else [f"a loss of {self.loss_db:g} dB at most"]
        parts += [] if self.tokens_equal is None else [f"{self.tokens_equal:.1%} of tokens equal"]
        return " and ".join(parts) or "no limit"

    def check(self, latent: str) -> None:
        """Raise UsageError where a model with such latents cannot be held to it."""
        if self.tokens_equal is not None and latent != "fsq":
            raise UsageError(
                "--budget-tokens is for models with tokens; the latents of this one are real "
                "numbers. Use --budget-db."
            )

    def tokens_hold(self, damage: Damage | MixPoint) -> bool:
        """Whether as many tokens are equal as must be."""
        if self.tokens_equal is None:
            return True
        return damage.tokens_equal is not None and damage.tokens_equal >= self.tokens_equal

    def holds(self, damage: Damage | MixPoint) -> bool:
        """Whether both limits hold."""
        return self.tokens_hold(damage) and (self.loss_db is None or damage.loss_db <= self.loss_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixPoint:
    """A mix that was measured whole, with the worse figures of both placements.

    Attributes:
        work_int8_share: of the multiply-adds of both graphs, 0 to 1.
        tokens_equal: share of all tokens that equal those of float32; None for KL.
        loss_db: PSNR lost against the source.
        psnr_db: against the reconstruction of float32; inf where they are equal.
        layers: those in INT8.
    """

    work_int8_share: float
    tokens_equal: float | None
    loss_db: float
    psnr_db: float
    layers: tuple[str, ...]

    def __str__(self) -> str:
        tokens = "" if self.tokens_equal is None else f", {self.tokens_equal:.1%} of tokens equal"
        return (
            f"{self.work_int8_share:.1%} of the work in INT8, {len(self.layers)} layers: loss "
            f"{self.loss_db:+.3f} dB{tokens}, {self.psnr_db:.2f} dB against fp32"
        )


@dataclass(frozen=True, slots=True)
class Budgeted:
    """A policy that holds a budget, and what led to it.

    Attributes:
        policy: the one that was given, with the rules that take layers back.
        levels: what it comes to.
        point: how its mix measured.
        curve: every mix that was measured, the least work in INT8 first.
        damages: of each layer alone.
    """

    policy: Policy
    levels: Mapping[str, Level]
    point: MixPoint
    curve: tuple[MixPoint, ...]
    damages: tuple[LayerDamage, ...]


@dataclass(slots=True)
class Mixes:
    """Mixes of one policy, measured whole and once each.

    Attributes:
        meter: of the clip that they are measured on.
        work: of the model.
        policy: the most INT8 that is wanted.
        levels: what it comes to, layer by layer.
        progress: called after each mix with how many were measured, and 0: nobody knows how many
            there will be.
    """

    meter: MixMeter
    work: Work
    policy: Policy
    levels: Mapping[str, Level]
    progress: Progress = no_progress
    _points: dict[frozenset[str], MixPoint] = field(default_factory=dict)

    def without(self, back: Sequence[str]) -> MixPoint:
        """The mix with the layers `back` in float."""
        key = frozenset(back)
        if key not in self._points:
            levels = self.levels_without(back)
            damage = self.meter.measure_both(levels)
            self._points[key] = MixPoint(
                work_int8_share=self.work.int8_share(levels),
                tokens_equal=damage.tokens_equal,
                loss_db=damage.loss_db,
                psnr_db=damage.psnr_db,
                layers=tuple(name for name, level in levels.items() if level == "int8"),
            )
            self.progress(len(self._points), 0)
        return self._points[key]

    def levels_without(self, back: Sequence[str]) -> dict[str, Level]:
        """The levels with the layers `back` in float."""
        changed = dict(self.levels)
        changed.update(dict.fromkeys(back, "float"))
        return changed

    @property
    def points(self) -> tuple[MixPoint, ...]:
        """What was measured, the least work in INT8 first."""
        return tuple(sorted(self._points.values(), key=lambda point: point.work_int8_share))


def measure_quarters(mixes: Mixes, damages: Sequence[LayerDamage]) -> None:
    """Measure mixes from the whole policy to float alone, a quarter of the layers at a time.

    Layers go back in the order of a limit on the loss.
    """
    order = _ordered(damages, lambda damage: damage.error)
    for quarter in range(5):
        mixes.without(order[: round(len(order) * quarter / 4)])


def within_budget(mixes: Mixes, damages: Sequence[LayerDamage], budget: Budget) -> Budgeted:
    """The policy with the fewest layers taken back to float, in order of damage, that holds.

    Args:
        mixes: of the policy with the most INT8 that is wanted.
        damages: of each layer that it has not in float.
        budget: what may be lost.

    Raises:
        CheckFailed: it holds only where no layer is left in INT8; names the best mix with one.
    """
    back: tuple[str, ...] = ()
    if budget.tokens_equal is not None:
        encoder = [damage for damage in damages if damage.kind == "encoder"]
        order = _ordered(encoder, lambda damage: damage.tokens_changed)
        back = _fewest(mixes, back, order, budget.tokens_hold)
    if not budget.holds(mixes.without(back)):
        order = [name for name in _ordered(damages, lambda d: d.error) if name not in back]
        back = _fewest(mixes, back, order, budget.holds)
    point = mixes.without(back)
    if not point.layers:
        raise CheckFailed(_unreachable(budget, mixes.points))
    policy = mixes.policy.with_rules(Rule(name, "float") for name in back)
    return Budgeted(policy, mixes.levels_without(back), point, mixes.points, tuple(damages))


def _ordered(damages: Sequence[LayerDamage], cost: Callable[[LayerDamage], float]) -> list[str]:
    """Layers by damage per work, the worst first; equal ones in the order that they have."""
    return [d.layer for d in sorted(damages, key=lambda d: cost(d) / d.work_share, reverse=True)]


def _fewest(
    mixes: Mixes, back: tuple[str, ...], order: Sequence[str], holds: Callable[[MixPoint], bool]
) -> tuple[str, ...]:
    """`back` and the fewest layers from the front of `order` with which the mix `holds`.

    It does with all of `order`: nothing that `holds` looks at is rounded then.
    """
    if holds(mixes.without(back)):
        return back
    few, enough = 0, len(order)
    while enough - few > 1:
        middle = (few + enough) // 2
        if holds(mixes.without((*back, *order[:middle]))):
            enough = middle
        else:
            few = middle
    return (*back, *order[:enough])


def _unreachable(budget: Budget, points: Sequence[MixPoint]) -> str:
    """The sentence for a budget that leaves nothing in INT8."""
    some = [point for point in points if point.layers]
    best = max(some, key=lambda point: (budget.tokens_hold(point), point.psnr_db), default=None)
    reached = f" The best mix with INT8 in it has {best}." if best else ""
    return (
        f"No layer can be left in INT8 within the budget, {budget}.{reached} "
        "Allow more, calibrate on clips like those that will be streamed, or use fp16."
    )
