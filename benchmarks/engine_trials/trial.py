"""What is tried, by its name: `MODEL-KIND-FORM[-PRECISION][@LEVEL[@AUX]]`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from engine_trials.forms import TRIAL_FORMS
from vidtok_edge.errors import UsageError
from vidtok_edge.runtime.manifest.graphs import KINDS, Kind, Precision

__all__ = ["DEFAULT_TRIALS", "LEVEL", "MODELS", "Trial", "trials_of"]

MODELS = ("embedded", "full")
LEVEL = 2
"""Of optimization, where none is named: about half of the building time of TensorRT's default."""
LEVELS = range(6)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class Trial:
    """One graph, and how the builder makes an engine of it.

    Attributes:
        model: `embedded`, with the weights that ship, or `full`, with random ones.
        level: of optimization.
        aux: most streams beside the main one; None: as TensorRT likes.
    """

    model: str
    kind: Kind
    form: str
    precision: Precision = "fp16"
    level: int = LEVEL
    aux: int | None = None

    @classmethod
    def parse(cls, text: str) -> Trial:
        """The trial called `text`.

        Raises:
            UsageError: it names none.
        """
        graph, *builder = text.strip().split("@")
        model, _, rest = graph.partition("-")
        kind, _, form = rest.partition("-")
        _require(text, "model", model, MODELS)
        _require(text, "kind", kind, KINDS)
        precision = next((p for p in PRECISIONS if form.endswith(f"-{p}")), None)
        form = form.removesuffix(f"-{precision}")
        _require(text, "form", form, TRIAL_FORMS)
        found = cls(model, "encoder" if kind == "encoder" else "decoder", form)
        found = replace(found, precision=precision or TRIAL_FORMS[form].precisions[0])
        found._check(text)
        return found._with_builder(text, builder)

    def _check(self, text: str) -> None:
        form = TRIAL_FORMS[self.form]
        if self.kind not in form.kinds:
            raise UsageError(
                f"{text}: {self.form} changes nothing in the {self.kind}. Try "
                f"{self.model}-{form.kinds[0]}-{self.form}, or another form."
            )
        if self.precision not in form.precisions:
            raise UsageError(
                f"{text}: {self.form} is tried in {', '.join(form.precisions)} only. Leave the "
                "precision out, or name another form."
            )

    def _with_builder(self, text: str, options: Sequence[str]) -> Trial:
        if len(options) > 2 or not all(option.isdecimal() for option in options):
            raise UsageError(
                f"{text}: behind the graph come @LEVEL and @AUX, whole numbers, got "
                f"@{'@'.join(options)}. Write for example {self.graph}@3 or {self.graph}@2@0."
            )
        level = int(options[0]) if options else LEVEL
        if level not in LEVELS:
            raise UsageError(
                f"{text}: a level of optimization is {LEVELS[0]} to {LEVELS[-1]}, got {level}."
            )
        return replace(self, level=level, aux=int(options[1]) if len(options) == 2 else None)

    @property
    def graph(self) -> str:
        """The name of the graph; several trials may have it."""
        usual = self.precision == TRIAL_FORMS[self.form].precisions[0]
        precision = "" if usual else f"-{self.precision}"
        return f"{self.model}-{self.kind}-{self.form}{precision}"

    @property
    def name(self) -> str:
        """As it is parsed, without what needs not be said."""
        if self.aux is not None:
            return f"{self.graph}@{self.level}@{self.aux}"
        return self.graph if self.level == LEVEL else f"{self.graph}@{self.level}"

    @property
    def compared(self) -> bool:
        """Whether its numbers mean something: not with random weights, or with made-up ranges."""
        return self.model == "embedded" and self.precision != "int8"


def trials_of(names: str) -> list[Trial]:
    """Those that `names` lists, comma-separated, each once.

    Raises:
        UsageError: none, or a name of no trial.
    """
    found = [Trial.parse(name) for name in names.split(",") if name.strip()]
    if not found:
        raise UsageError("--trials names nothing. Name some that --list shows, or leave it out.")
    return list(dict.fromkeys(found))


def _require(text: str, what: str, got: str, allowed: Collection[str]) -> None:
    if got not in allowed:
        raise UsageError(
            f"{text}: there is no {what} {got!r}; it is one of {', '.join(allowed)}. A trial is "
            "called MODEL-KIND-FORM[-PRECISION][@LEVEL[@AUX]], for example "
            "embedded-encoder-conv3d or full-decoder-chunk-tail-fp32@3."
        )


def _default() -> list[Trial]:
    """The most informative first, since time may end anywhere."""
    wide = "conv3d-float32-sums"
    first = {
        "embedded": ["conv3d", "conv2d", wide, "channels_last", "chunk-tail"],
        "full": ["conv3d", "conv2d", wide, "channels_last"],
    }
    found = [
        Trial(model, kind, form)
        for model in MODELS
        for form in first[model]
        for kind in TRIAL_FORMS[form].kinds
    ]
    found += [
        Trial(model, kind, name)
        for model in MODELS
        for name, form in TRIAL_FORMS.items()
        for kind in form.kinds
        if name not in first[model] and form.placing is None
    ]
    placings = [name for name, form in TRIAL_FORMS.items() if form.placing is not None]
    found += [
        Trial(model, kind, name, "int8")
        for model in MODELS
        for name in ("conv2d", *placings)
        for kind in TRIAL_FORMS[name].kinds
    ]
    decoder = Trial("embedded", "decoder", "chunk-tail")
    return [*found, replace(decoder, aux=0), replace(decoder, level=3), replace(decoder, level=4)]


DEFAULT_TRIALS: tuple[Trial, ...] = tuple(_default())
