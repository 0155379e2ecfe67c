"""Exported graphs, in the runtime that users run, against the numbers of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from export_helpers import (
    BOUNDARY,
    LIMIT,
    TWO_LATENTS,
    Exports,
    NarrowBundle,
    decode_in_calls,
    distance,
    encode_in_calls,
    frames_from_video,
    golden_bundle,
    lowered,
    on_one_worker,
)
from narrow import GOLDENS, golden_arrays, golden_video
from numpy.typing import NDArray

from vidtok_edge.lowering.forms import FORMS, FormName
from vidtok_edge.runtime import Bundle, Latents, StreamEncoder
from vidtok_edge.runtime.backends.choosing import open_step
from vidtok_edge.variants import VARIANTS
from vidtok_edge.vidtok_ref.regularizer import fsq_bound

Array = NDArray[Any]
Record = Callable[[str, object], None]

V1_1 = [golden.name for golden in GOLDENS if VARIANTS[golden.name].version == "1.1"]


def streamed_encode(bundle: Bundle, frames: Iterable[Array]) -> tuple[Array | None, Array]:
    """Tokens [t, h, w] or None, and [t, C, h, w]: before quantisation, or mean and logvar."""
    graph = bundle.manifest.graph("encoder")
    results: list[Latents] = []
    encoded: list[Array] = []
    step = open_step(bundle.path, graph, to_compare=True)
    with StreamEncoder(bundle.manifest, step) as encoder:

        def keep(new: list[Latents]) -> None:
            for part in new:
                names = ["latent"] if part.tokens is not None else ["mean", "logvar"]
                raw = np.concatenate([step.outputs[name][0] for name in names], axis=1)
                encoded.append(raw[: len(part)])
            results.extend(new)

        for frame in frames:
            keep(encoder.push(frame))
        keep(encoder.finish())
    values = np.concatenate([part.values for part in results])
    tokens = values if results[0].tokens is not None else None
    return tokens, np.concatenate(encoded)


def streamed_decode(bundle: Bundle, values: Array) -> Array:
    """[T, H, W, 3] of tokens [t, h, w] or latents [t, z, h, w], one latent pushed at a time."""
    with bundle.decoder() as decoder:
        pictures = [p for value in values for p in decoder.push_values(value[None])]
        pictures += decoder.finish()
    assert [p.frame for p in pictures] == list(range(len(pictures)))
    return np.stack([p.pixels for p in pictures])


def frames_of(video: torch.Tensor) -> Array:
    """[1, 3, T, H, W] to [T, H, W, 3]."""
    return np.ascontiguousarray(video[0].permute(1, 2, 3, 0).numpy())


def near(got: Array, want: Array) -> None:
    """Latents `got` [t, C, h, w] are `want` [1, C, t, h, w] within the limit."""
    want = want[0].swapaxes(0, 1)
    assert got.shape == want.shape
    assert float(np.abs(got - want).max()) <= LIMIT


def near_tokens(got: Array, want: Array, z: Array, levels: tuple[int, ...], record: Record) -> None:
    """Tokens [t, h, w] are equal to `want`, but where `z` [1, z, t, h, w] is at a boundary."""
    bound = fsq_bound(torch.from_numpy(z), levels)[0]
    margin = (0.5 - (bound - bound.round()).abs()).amin(dim=0).numpy()
    assert got.shape == want.shape
    differ = got != want
    record("tokens_at_a_boundary_that_differ", int(differ.sum()))
    assert not (differ & (margin >= BOUNDARY)).any()


def check_encode(
    bundle: Bundle, video: torch.Tensor, want: dict[str, Array], record: Record
) -> None:
    tokens, encoded = streamed_encode(bundle, frames_of(video))
    model = bundle.manifest.model
    if tokens is None:
        near(encoded[:, : model.z_channels], want["z_enc"][:, : model.z_channels])
        near(encoded[:, model.z_channels :], want["logvar"])
    else:
        near(encoded, want["z_enc"])
        near_tokens(tokens, want["indices"][0], want["z_enc"], model.levels, record)


def check_decode(bundle: Bundle, want: dict[str, Array]) -> None:
    values = want["indices"][0] if "indices" in want else want["z_reg"][0].swapaxes(0, 1)
    video = streamed_decode(bundle, np.ascontiguousarray(values))
    near(video.transpose(0, 3, 1, 2), want["rec"])


# All variants are held to the golden numbers below, as lowered modules, and in tests/vidtok_ref. As
# graphs every version with each causality, every space and time factor, and all forms (a causal
# model of version 1.0 in channels_last is the shipped one, below).
GOLDEN_BUNDLES = [
    golden_bundle(TWO_LATENTS),
    golden_bundle("vidtok_fsq_noncausal_488_262144"),
    golden_bundle("vidtok_fsq_causal_41616_262144_v1_1", "channels_last"),
    golden_bundle("vidtok_kl_causal_288_8chn", "conv3d"),
]


def test_what_is_exported_differs_in_all_that_variants_differ_in() -> None:
    def kinds(names: Iterable[str]) -> list[set[object]]:
        variants = [VARIANTS[name] for name in names]
        return [
            {(v.version, v.causal) for v in variants},
            {v.time_factor for v in variants},
            {v.space_factor for v in variants},
            {v.latent for v in variants},
        ]

    assert kinds(what.name for what in GOLDEN_BUNDLES) == kinds(g.name for g in GOLDENS)


@pytest.mark.parametrize("what", on_one_worker(GOLDEN_BUNDLES))
def test_streaming_gives_the_golden_numbers(
    what: NarrowBundle, exports: Exports, record_property: Record
) -> None:
    bundle, want = exports(what), golden_arrays(what.name)
    frames = 17 if bundle.manifest.model.causal else 16
    check_encode(bundle, golden_video(frames, 32, 48), want, record_property)
    check_decode(bundle, want)


def arrays_of_33_frames(name: str) -> dict[str, Array]:
    """The golden numbers of 33 frames of 16x32, named as those of 17."""
    want = golden_arrays(name)
    renamed = {"z_enc": want["z33_full"], "z_reg": want["z33_reg"]}
    return {**renamed, "rec": want["rec33_full"][:, :, -33:]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", V1_1)
def test_33_frames_through_the_lowered_modules(name: str, form: FormName) -> None:
    steps, want = lowered(name, form, ch=32), arrays_of_33_frames(name)
    frames = frames_from_video(golden_video(33, 16, 32), steps.framing)
    _, encoded = encode_in_calls(steps.encoder, frames, [1] * 9)
    z = steps.model.variant.z_channels
    assert distance(encoded[:, :z], torch.from_numpy(want["z_enc"])[:, :z]) <= LIMIT
    values = torch.from_numpy(want["z_reg"]).transpose(1, 2)
    if steps.model.variant.latent == "fsq":
        tokens = steps.model.encode(golden_video(33, 16, 32)).tokens
        assert tokens is not None
        values = tokens
    video = decode_in_calls(steps.decoder, values, [1] * 10, steps.framing)
    assert distance(video, torch.from_numpy(want["rec"])) <= LIMIT


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((g.name, "conv3d") for g in GOLDENS),
        ("vidtok_kl_causal_288_8chn", "channels_last"),
        ("vidtok_kl_noncausal_41616_4chn", "channels_last"),
    ],
)
def test_lowered_modules_give_the_golden_numbers(name: str, form: FormName) -> None:
    steps = lowered(name, form, ch=32)
    want = {key: torch.from_numpy(a) for key, a in golden_arrays(name).items()}
    variant, framing = steps.model.variant, steps.framing
    video = golden_video(17 if variant.causal else 16, 32, 48)
    n = framing.latents(video.shape[2])
    plan = [1] * n if variant.causal else [n]
    _, encoded = encode_in_calls(steps.encoder, frames_from_video(video, framing), plan)
    wanted = want["z_enc"]
    if variant.latent == "kl":
        wanted = torch.cat([wanted[:, : variant.z_channels], want["logvar"]], dim=1)
    assert distance(encoded, wanted) <= LIMIT
    values = want["indices"] if variant.latent == "fsq" else want["z_reg"].transpose(1, 2)
    tail = [1] if framing.delayed else []
    assert (
        distance(decode_in_calls(steps.decoder, values, plan + tail, framing), want["rec"]) <= LIMIT
    )


def test_eightfold_time_gives_the_whole_clip_through_the_lowered_modules() -> None:
    """The one time factor that has no golden numbers."""
    steps = lowered("vidtok_fsq_causal_888_32768_v1_1", "conv3d")
    video = golden_video(17, 16, 24)
    latents = steps.model.encode(video)
    assert latents.tokens is not None
    frames = frames_from_video(video, steps.framing)
    _, encoded = encode_in_calls(steps.encoder, frames, [1] * 3)
    assert distance(encoded, latents.encoded) <= LIMIT
    decoded = decode_in_calls(steps.decoder, latents.tokens, [1] * 4, steps.framing)
    assert distance(decoded, steps.model.decode(latents.latent)[:, :, -17:]) <= LIMIT


@pytest.mark.xdist_group("embedded")
def test_the_shipped_tokenizer_in_bytes(embedded: Bundle, record_property: Record) -> None:
    want, bundle = golden_arrays("embedded"), embedded
    tokens, encoded = streamed_encode(bundle, want["frames"])
    assert tokens is not None
    near(encoded, want["encoded"])
    levels = bundle.manifest.model.levels
    near_tokens(tokens, want["tokens"][0], want["encoded"], levels, record_property)
    pictures = streamed_decode(bundle, want["tokens"][0])
    exact = (want["reconstruction"][0].transpose(1, 2, 3, 0).clip(-1, 1) + 1) * 127.5
    assert pictures.dtype == np.uint8 and pictures.shape == exact.shape
    assert float(np.abs(pictures - exact).max()) <= 0.5 + LIMIT * 127.5
