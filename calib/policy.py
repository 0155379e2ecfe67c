"""Which layers run in INT8: rules by name or pattern, and what they come to, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from vidtok_edge.calib.ranges import make_folder
from vidtok_edge.errors import CalibrationError, UsageError
from vidtok_edge.runtime.manifest.documents import DocumentKind, fields, write_document
from vidtok_edge.runtime.manifest.layer_tensors import check_patterns

__all__ = ["DEFAULT_POLICY", "LEVELS", "POLICY", "Level", "Policy", "Rule"]

POLICY = "calibration/policy.json"
"""Where the file lies inside a bundle."""
_DOCUMENT = DocumentKind(
    schema=1, largest=1 << 20, other_schema="expected an object of schema {schema}"
)

_MOST_RULES = 10_000
_LONGEST_PATTERN = 200

Level = Literal["float", "cache", "int8"]
"""`float`: nothing is rounded. `cache`: the input is rounded to INT8, and so held in the cache, but
the kernel stays in floating point. `int8`: the kernel is INT8 too."""
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class Rule:
    """All layers that `pattern` matches (`*` and `?` as in file names) are at `level`."""

    pattern: str
    level: Level

    @classmethod
    def parse(cls, text: str) -> Rule:
        """`decoder.mid.*=float`; raises UsageError."""
        pattern, equals, level = text.partition("=")
        if not equals or level not in LEVELS or not 0 < len(pattern) <= _LONGEST_PATTERN:
            raise UsageError(
                f"{text!r} is no rule. Write PATTERN=LEVEL, with a level of {', '.join(LEVELS)}, "
                "as decoder.mid.*=float."
            )
        return cls(pattern, level)

    def __str__(self) -> str:
        return f"{self.pattern}={self.level}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in order; the last one that matches a layer decides."""

    rules: tuple[Rule, ...]

    def with_rules(self, rules: Iterable[Rule]) -> Policy:
        """The same with `rules` behind, so that they win."""
        return Policy((*self.rules, *rules))

    def levels(self, layers: Sequence[str]) -> dict[str, Level]:
        """The level of each layer of a graph."""
        levels: dict[str, Level] = dict.fromkeys(layers, "float")
        for rule in self.rules:  # outside: Python keeps few patterns, and makes them anew
            fitting = [layer for layer in layers if fnmatchcase(layer, rule.pattern)]
            levels.update(dict.fromkeys(fitting, rule.level))
        return levels

    def check(self, layers: Sequence[str]) -> None:
        """Raise UsageError unless every rule matches a layer of the model; `layers`: all of them.

        The rules that every policy begins with are not asked: not every variant has each layer.
        """
        asked = (rule.pattern for rule in self.rules if rule not in DEFAULT_POLICY.rules)
        check_patterns(asked, layers)

    def save(self, bundle: Path, layers: Mapping[str, Level]) -> Path:
        """Write the rules and what they come to into the folder `bundle`."""
        path = make_folder(bundle / POLICY)
        content = {"schema": _DOCUMENT.schema, **asdict(self), "layers": dict(layers)}
        write_document(path, content)
        return path

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file; raises CalibrationError."""
        try:
            value = _DOCUMENT.parsed(_DOCUMENT.text(path))
            policy = fields(cls, {"rules": value.get("rules")})
            if len(policy.rules) > _MOST_RULES:
                raise ValueError(f"{len(policy.rules)} rules; allowed: {_MOST_RULES}")
            if any(len(rule.pattern) > _LONGEST_PATTERN for rule in policy.rules):
                raise ValueError(f"a pattern of more than {_LONGEST_PATTERN} characters")
            return policy
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CalibrationError(
                f"{path} cannot be used as a policy: {reason}. "
                "Take one that `vidtok-edge calibrate` wrote."
            ) from None


DEFAULT_POLICY = Policy(
    (
        Rule("*", "int8"),
        Rule("*.attn_1.*", "float"),
        Rule("*.conv_in", "float"),
        Rule("encoder.conv_out", "float"),
        # They read the residual stream, which no norm has brought to a range that bytes hold: in
        # INT8 these few cost most of the tokens that differ, and most of what pictures lose.
        Rule("encoder.*.downsample", "float"),
        Rule("encoder.*.nin_shortcut", "float"),
        Rule("decoder.up_temporal.*.upsample*", "float"),
        # The decoder's last convolution has one of its largest caches: a byte per value there.
        Rule("decoder.conv_out", "cache"),
    )
)
"""The default recipe: first and last convolutions, attention, and the convolutions of the residual
stream that cost most stay in floating point; norms, the residual stream itself and the latents'
quantiser always do."""
