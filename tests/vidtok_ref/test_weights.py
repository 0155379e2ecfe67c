"""Where weights come from, and that their origin can be stored and compared."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from narrow import golden_video, narrow
from safetensors.torch import save_file

from vidtok_edge import variants as variants_module
from vidtok_edge.errors import CheckpointError, UnknownVariant, UsageError
from vidtok_edge.variants import EMBEDDED, SHORT_NAMES, VARIANTS
from vidtok_edge.vidtok_ref import embedded_file, load_checkpoint, load_weights, state_sha256
from vidtok_edge.vidtok_ref import weights as weights_module
from vidtok_edge.vidtok_ref.hub import HubFile
from vidtok_edge.vidtok_ref.weights import model_from_state, random_state

NAME = "vidtok_fsq_causal_488_32768_v1_1"
THIN = replace(VARIANTS[NAME], ch=8)


@pytest.fixture
def thin_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variants are narrow."""
    narrow_ones = {name: replace(v, ch=THIN.ch) for name, v in VARIANTS.items()}
    monkeypatch.setattr(variants_module, "VARIANTS", {**narrow_ones, EMBEDDED.name: EMBEDDED})


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names find narrow variants: full-size weights take seconds each."""
    monkeypatch.setattr(weights_module, "variant_by_name", lambda name: THIN)


def test_fsq_alone_is_the_embedded_tokenizer() -> None:
    model, origin = load_weights("fsq", None)
    assert model.variant is EMBEDDED
    assert origin.source == "embedded"
    assert origin.location == f"{EMBEDDED.name}.safetensors"
    assert origin.path == embedded_file(origin.location)
    assert origin.skipped == 0
    again, same = load_weights(EMBEDDED.name, None)
    assert same == origin
    assert state_sha256(again.state_dict()) == origin.sha256


def test_a_model_is_ready_to_run() -> None:
    model, _ = load_weights("fsq", None)
    assert not model.training
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32 and parameter.device.type == "cpu"
        assert not parameter.requires_grad


@pytest.mark.parametrize("name", ["kl", SHORT_NAMES["fsq"], "vidtok_kl_noncausal_488_4chn"])
def test_without_a_source_other_variants_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"--checkpoint PATH, --checkpoint hub .*random"):
        load_weights(name, None)


@pytest.mark.parametrize("source", [None, "random", "hub", "a.ckpt"])
def test_an_unknown_variant(source: str | None) -> None:
    with pytest.raises(UnknownVariant):
        load_weights("vidtok", source)


@pytest.mark.usefixtures("thin")
def test_random_weights_follow_their_seed() -> None:
    _, zero = load_weights("fsq", "random")
    _, again = load_weights("fsq", "random", seed=0)
    _, one = load_weights("fsq", "random", seed=1)
    assert zero == again
    assert (zero.source, zero.location, zero.path) == ("random", "seed 0", None)
    assert one.location == "seed 1" and one.sha256 != zero.sha256


def test_random_weights_are_the_same_on_every_machine() -> None:
    state = random_state(replace(VARIANTS["vidtok_kl_causal_488_4chn"], ch=4))
    assert state_sha256(state) == PINNED


PINNED = "b25747863c5ae3cbc35b95bae07a7f35bff6d89b609f39e41fe0f1b791ea3a3d"


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="0 or more, got -1"):
        random_state(THIN, seed=-1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAME, "vidtok_kl_noncausal_41616_16chn"])
def test_random_layers_all_matter_and_keep_activations_near_one(name: str) -> None:
    variant = replace(VARIANTS[name], ch=16)
    state = random_state(variant)
    assert all(float(value.abs().min()) > 0 for key, value in state.items() if "mix" in key)
    assert all(float(value.abs().max()) > 0.01 for value in state.values())
    with torch.no_grad():
        model = model_from_state(variant, state)
        latents = model.encode(golden_video(16, 32, 32))
        video = model.decode(latents.latent)
    for result in (latents.encoded, video):
        assert 0.2 < float(result.std()) < 3.0
        assert float(result.abs().max()) < 20.0


def test_temporal_blocks_of_random_models_change_the_result() -> None:
    state = random_state(THIN)
    for key in ("encoder.down_temporal.0.block.1.conv2.conv.weight", "encoder.conv_in.conv.bias"):
        changed = state | {key: torch.zeros_like(state[key])}
        video = golden_video(5, 16, 16)
        a = model_from_state(THIN, state).encode(video).encoded
        b = model_from_state(THIN, changed).encode(video).encoded
        assert float((a - b).abs().max()) > 1e-3


@pytest.mark.usefixtures("thin")
def test_a_file_keeps_the_hash_of_its_weights_in_any_container(tmp_path: Path) -> None:
    state = random_state(THIN, seed=3)
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": state | {"loss.logvar": torch.zeros(())}}, tmp_path / "b.ckpt")
    _, a = load_weights(NAME, str(tmp_path / "a.safetensors"))
    model, b = load_weights(NAME, str(tmp_path / "b.ckpt"))
    assert a.sha256 == b.sha256 == state_sha256(state)
    assert (a.source, a.location, a.skipped) == ("file", "a.safetensors", 0)
    assert (b.source, b.location, b.skipped) == ("file", "b.ckpt", 1)
    assert b.path == tmp_path / "b.ckpt"
    assert model.variant is THIN


@pytest.mark.usefixtures("thin")
def test_the_hub_is_a_file_with_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"{NAME}.ckpt"
    torch.save({"state_dict": random_state(THIN)}, path)
    monkeypatch.setattr(weights_module, "download", lambda variant: HubFile(path, "abc"))
    _, origin = load_weights("fsq", "hub")
    said = f"{NAME}.ckpt of microsoft/VidTok at abc"
    assert (origin.source, origin.location) == ("hub", said)


TWIN = "vidtok_fsq_causal_488_32768"


def saved(folder: Path, name: str) -> str:
    save_file(random_state(THIN), folder / name)
    return str(folder / name)


@pytest.mark.usefixtures("thin_pair")
def test_a_short_name_is_not_enough_where_nothing_tells_twins_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"--variant fsq does not say.*{NAME} or {TWIN}\.$"):
        load_weights("fsq", saved(tmp_path, "weights.safetensors"))


@pytest.mark.usefixtures("thin_pair")
@pytest.mark.parametrize("file", [f"{NAME}.safetensors", f"mine-{NAME}-step3.safetensors"])
@pytest.mark.parametrize("asked", ["fsq", NAME])
def test_a_file_name_tells_twins_apart(asked: str, file: str, tmp_path: Path) -> None:
    model, origin = load_weights(asked, saved(tmp_path, file))
    assert model.variant.name == NAME
    assert origin.assumed.startswith(f"The file's name says {NAME}; ")


@pytest.mark.usefixtures("thin_pair")
@pytest.mark.parametrize("asked", ["fsq", NAME])
def test_a_file_named_for_another_variant_is_refused(asked: str, tmp_path: Path) -> None:
    path = saved(tmp_path, f"{TWIN}.safetensors")
    with pytest.raises(CheckpointError, match=rf"is named for {TWIN}, you asked for {NAME}\. "):
        load_weights(asked, path)
    model, _ = load_weights(NAME, path, identified=True)
    assert model.variant.name == NAME


@pytest.mark.usefixtures("thin_pair")
def test_what_was_assumed_is_said(tmp_path: Path) -> None:
    _, origin = load_weights(NAME, saved(tmp_path, "weights.safetensors"))
    assert origin.assumed.startswith(f"Assumed to be {NAME}, as asked: the weights fit {TWIN} ")
    _, embedded = load_weights("fsq", None)
    assert embedded.assumed == ""


def test_the_embedded_weights_do_not_pass_for_official_ones() -> None:
    path = embedded_file(f"{EMBEDDED.name}.safetensors")
    with pytest.raises(CheckpointError, match=f"is {EMBEDDED.name}, you asked for"):
        load_weights("fsq", str(path))
    model, origin = load_weights(EMBEDDED.name, str(path))
    assert origin.source == "file" and model.variant is EMBEDDED


def test_state_sha256_is_of_the_bytes_in_order_of_key() -> None:
    state = {"b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t(), "a": torch.tensor([5.0])}
    raw = b"".join(state[key].contiguous().numpy().tobytes() for key in "ab")
    assert state_sha256(state) == hashlib.sha256(raw).hexdigest()
    official = narrow("vidtok_fsq_causal_488_4096", ch=4).state_dict()
    assert state_sha256(official) == state_sha256(dict(reversed(official.items())))


@pytest.mark.parametrize(
    "name",
    ["clip_robot.mp4", "clip_film.mp4", "clip_hard.mp4", "clip_hard_unseen.mp4", "CREDITS.md"],
)
def test_embedded_files_are_there(name: str) -> None:
    assert embedded_file(name).stat().st_size > 1000


@pytest.mark.parametrize("name", ["clip_cat.mp4", "../weights.py", ""])
def test_an_embedded_file_that_is_not(name: str) -> None:
    with pytest.raises(UsageError, match=r"There are CREDITS.md, clip_film.mp4, clip_hard.mp4"):
        embedded_file(name)


def test_the_embedded_weights_are_stored_small() -> None:
    path = embedded_file(f"{EMBEDDED.name}.safetensors")
    loaded = load_checkpoint(path, EMBEDDED)
    numbers = sum(value.numel() for value in loaded.state.values())
    assert path.stat().st_size < 2.1 * numbers  # float16
