"""Streams that mix calls of different lengths, against the whole clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vidtok_edge.export.verifying.comparison import Comparison
from vidtok_edge.export.verifying.step_pair import StepPair, poison
from vidtok_edge.export.verifying.whole_clip import Array, WholeClip, noise, whole_clip
from vidtok_edge.lowering.facts import BOTH_FP32, options_of
from vidtok_edge.lowering.torch_step import TorchStreams
from vidtok_edge.runtime.backends.step import Step
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.runtime.streaming.framing import Framing
from vidtok_edge.vidtok_ref import VidTok

__all__ = ["compare_plans"]


def compare_plans(manifest: Manifest, model: VidTok, steps: StepPair) -> list[Comparison]:
    """Streams that mix calls of N and 2N latents, caches handed over, against the whole clip.

    Calls of N are those of `steps`; those of 2N, for which there are no graphs, run in PyTorch.
    """
    n = manifest.chunk
    framing = Framing.of(manifest.model)
    clip = whole_clip(model, manifest, noise(manifest, framing.first_frame(4 * n), seed=1))
    twice = TorchStreams(model, replace(options_of(manifest), chunk=2 * n), BOTH_FP32)
    runners = {n: steps, 2 * n: StepPair(*twice.steps.values())}
    plans = [[n, 2 * n, n], [2 * n, n, n]]
    return [c for plan in plans for c in _compare_plan(runners, framing, clip, plan)]


def _compare_plan(
    runners: Mapping[int, StepPair], framing: Framing, clip: WholeClip, plan: list[int]
) -> list[Comparison]:
    name = "chunks of " + "+".join(map(str, plan)) + " latents"
    frames = np.concatenate([np.repeat(clip.frames[:1], framing.lead_in - 1, 0), clip.frames])
    outputs = _run_plan({n: s.encoder for n, s in runners.items()}, "frames", frames, plan)
    if clip.tokens is None:
        encoded = np.concatenate([outputs["mean"], outputs["logvar"]], axis=1)
        source = "latent"
    else:
        encoded, source = outputs["latent"], "tokens"
    decoders = {n: pair.decoder for n, pair in runners.items()}
    raw = _run_plan(decoders, source, clip.values, plan)["frames"]
    got = np.stack([f for i, f in enumerate(raw) if framing.frame_of_output(i) is not None])
    # A delayed decoder still holds the last frames: there is no end call here.
    return [
        *clip.compare_encoded(f"encode, {name}", encoded, outputs.get("tokens")),
        clip.compare_decoded(f"decode, {name}", got),
    ]


def _run_plan(
    steps: dict[int, Step], source: str, items: Array, plan: list[int]
) -> dict[str, Array]:
    """Run `items` through slot 0 in calls of `plan` latents; the outputs, concatenated."""
    per_latent = len(items) // sum(plan)
    outputs: dict[str, list[Array]] = {}
    caches: dict[str, Array] = {}
    position = 0
    for number, n in enumerate(plan):
        step = steps[n]
        step.inputs[source][0] = items[position : position + n * per_latent]
        for name in ("start", "ready", "end"):
            if name in step.inputs:
                step.inputs[name][:] = False
        step.inputs["start"][0] = number == 0
        if "ready" in step.inputs:
            step.inputs["ready"][0] = True
        if number == 0:
            poison(step)
        else:
            step.set_caches(caches)
        step.run()
        caches = step.caches()
        for name, value in step.outputs.items():
            outputs.setdefault(name, []).append(value[0].copy())
        position += n * per_latent
    return {name: np.concatenate(parts) for name, parts in outputs.items()}
