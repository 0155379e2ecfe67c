"""The step of a trial: lowered by the product, in a form that it does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

from full_width import VARIANT

from engine_trials.forms import TRIAL_FORMS
from engine_trials.trial import Trial
from vidtok_edge.calib.placement import planned_numerics
from vidtok_edge.lowering.forms import FORMS, Form
from vidtok_edge.lowering.interface import Interface, interface_of
from vidtok_edge.lowering.step import StepDecoder, StepEncoder, StepOptions, lower
from vidtok_edge.variants import EMBEDDED, Variant, variant_by_name
from vidtok_edge.vidtok_ref import VidTok, load_weights

__all__ = ["lowered", "model_of", "registered", "variant_of"]


@cache
def model_of(name: str) -> VidTok:
    """The model of trials called `name`, float32."""
    model, _ = load_weights(variant_of(name), "random" if name == "full" else None)
    return model


def variant_of(name: str) -> Variant:
    """The variant of the model of trials called `name`."""
    return variant_by_name(VARIANT) if name == "full" else EMBEDDED


def lowered(model: VidTok, trial: Trial, size: int) -> tuple[StepEncoder | StepDecoder, Interface]:
    """The step of `trial` for frames of `size` x `size`, and the interface of its graph.

    A trial's caches are those of the form that it is made from, and so is the interface.
    """
    tried = TRIAL_FORMS[trial.form]
    options = StepOptions(size, size, form=tried.form.name)
    numerics = planned_numerics(model.variant, options, trial.kind, trial.precision)
    if tried.placing is not None:
        numerics = tried.placing(numerics, partial(lower, model, options, trial.kind))
    interface = interface_of(model.variant, options, trial.kind, numerics)
    with registered(tried.form):
        step = lower(model, options, trial.kind, numerics)
    step.causal_timeline = tried.timeline
    return step, interface


@contextmanager
def registered(form: Form) -> Iterator[None]:
    """Lower in `form` where its name is asked for."""
    shipped = FORMS[form.name]
    FORMS[form.name] = form
    try:
        yield
    finally:
        FORMS[form.name] = shipped
