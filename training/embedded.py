#!/usr/bin/env python3
"""Train the embedded tokenizer further, from the weights that ship.

    python training/embedded.py --data FOLDER --output FOLDER
    python training/embedded.py --smoke

README.md beside it says on what, for how long, and what came of it. Needs torch, safetensors,
click, and PyAV with Pillow or OpenCV.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import torch
from fast_model import FastModel
from moving_pictures import DataError, MovingPictures, Window, read_folder
from objective import Quality, reconstruct
from picture_files import Pixels, UnreadableFile, read_clip, write_png
from trainer import CannotGoOn, NotFinite, Recipe, Trainer, save_weights

from vidtok_edge.errors import VidTokEdgeError
from vidtok_edge.vidtok_ref import EMBEDDED, VidTok, embedded_file, load_weights

CHECKPOINT, REPORT, PICTURES = "checkpoint.pt", "report.json", "pictures.png"
WEIGHTS_FILE = f"{EMBEDDED.name}.safetensors"
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130

ON_CUDA = (
    Window(frames=17, height=128, width=128, share=0.66),
    Window(frames=33, height=96, width=96, share=0.17),
    Window(frames=9, height=256, width=256, share=0.17, batch=0.5),
)
ON_CPU = (
    Window(frames=17, height=80, width=80, share=0.7),
    Window(frames=33, height=64, width=64, share=0.15),
    Window(frames=9, height=128, width=128, share=0.15, batch=0.75),
)
IN_SMOKE = (Window(frames=9, height=48, width=48, share=1.0),)
SMOKE_STEPS, SMOKE_NOISE = 40, 0.3

_FRAMES, _SIZE = 33, 256  # of a clip that is measured
_SHOWN = 16  # the frame of the contact sheet


def say(text: str) -> None:
    """Print at once, so that a log shows how far it is."""
    click.echo(text)
    sys.stdout.flush()


@click.command(help=(__doc__ or "").partition("\n")[0])
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folders film, natural, robot, photo."
)
@click.option("--held-out", type=click.Path(path_type=Path), help="Clips that are only measured.")
@click.option("--output", type=click.Path(path_type=Path), help="Weights, report, checkpoint.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=10_800,
    show_default=True,
    help="Of training, in all.",
)
@click.option("--resume", is_flag=True, help="Go on from OUTPUT/checkpoint.pt.")
@click.option("--weights", type=click.Path(path_type=Path), help="Start from this file.")
@click.option("--batch", type=click.IntRange(min=1), help="Clips of a step: 4, on CUDA 32.")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=4e-4,
    show_default=True,
    help="The highest learning rate.",
)
@click.option(
    "--precision",
    type=click.Choice(["bf16", "fp32"]),
    default="bf16",
    show_default=True,
    help="Of convolutions.",
)
@click.option("--device", help="A device of PyTorch's. Default: CUDA where it is, else the CPU.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU.")
@click.option(
    "--compile", "compiled", is_flag=True, help="With torch.compile: minutes, then speed."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--skip-damaged", is_flag=True, help="Leave out files that cannot be read.")
@click.option("--dry-run", is_flag=True, help="Read the data, time a step, train nothing.")
@click.option(
    "--smoke",
    is_flag=True,
    help=f"{SMOKE_STEPS} steps on the clips that ship: do they lower the loss?",
)
def main(**options: Any) -> None:
    try:
        code = _smoke(options) if options["smoke"] else _run(options)
    except (DataError, UnreadableFile, CannotGoOn, VidTokEdgeError, click.UsageError) as error:
        message = error.message if isinstance(error, click.UsageError) else str(error)
        click.echo(f"Error: {message}", err=True)
        code = BAD_INPUT
    except OSError as error:
        click.echo(f"Error: {error}", err=True)
        code = FAILED
    sys.exit(code)


def _run(options: Mapping[str, Any]) -> int:
    data, output = options["data"], options["output"]
    if data is None or (output is None and not options["dry_run"]):
        raise click.UsageError("--data and --output are needed; or try --smoke.")
    device = _device(options["device"])
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    cuda = device.type == "cuda"
    recipe = Recipe(
        windows=ON_CUDA if cuda else ON_CPU,
        batch=options["batch"] or (32 if cuda else 4),
        rate=options["rate"],
        seconds=options["seconds"],
        precision=options["precision"],
        seed=options["seed"],
    )
    source = None if options["weights"] is None else str(options["weights"])
    model, origin = load_weights(EMBEDDED.name, source)
    trainer = Trainer(model.to(device), recipe, compiled=options["compiled"])
    if output is not None:
        if (output / CHECKPOINT).exists() and not options["resume"]:
            raise click.UsageError(f"{output / CHECKPOINT} exists: --resume, or another --output.")
        output.mkdir(parents=True, exist_ok=True)
    if options["resume"]:
        trainer.resume(output / CHECKPOINT)
        say(f"goes on at step {trainer.progress.step}, {trainer.progress.seconds:.0f} s")
    clips = measured_clips(options["held_out"])
    pixels, problems = read_folder(data, skip_damaged=options["skip_damaged"])
    for problem in problems:
        say(f"left out: {problem}")
    pictures = MovingPictures(pixels, recipe.windows, device)
    del pixels
    say(f"{pictures.frames} frames, {pictures.photos} photographs; starts from {origin.location}")
    _require_equal(trainer.model, pictures, recipe)
    if options["dry_run"]:
        return _dry_run(trainer, pictures)
    code, why = _train(trainer, pictures, output)
    say(f"stopped: {why}")
    save_weights(trainer.averaged, output / WEIGHTS_FILE)
    loaded, origin = load_weights(EMBEDDED.name, str(output / WEIGHTS_FILE))
    shipped, _ = load_weights(EMBEDDED.name, None)
    before, pictures_before = reconstruct(shipped.to(device), clips)
    after, pictures_after = reconstruct(loaded.to(device), clips)
    report = {
        "why_stopped": why,
        "weights_sha256": origin.sha256,
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()}",
        "torch": torch.__version__,
        "recipe": asdict(recipe),
        "frames_read": pictures.frames,
        "photos_read": pictures.photos,
        "left_out": problems,
        "before": {name: asdict(quality) for name, quality in before.items()},
        "after": {name: asdict(quality) for name, quality in after.items()},
        **asdict(trainer.progress),
    }
    (output / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    sheet = contact_sheet(clips, pictures_before, pictures_after)
    write_png(output / PICTURES, sheet)
    _say_qualities(before, after)
    return code


def _train(trainer: Trainer, pictures: MovingPictures, output: Path) -> tuple[int, str]:
    """Train and save; the exit code, and why it stopped."""

    def save() -> None:
        """A checkpoint that cannot be written is said, and tried again a minute later."""
        try:
            trainer.save(output / CHECKPOINT)
        except OSError as error:
            say(f"not saved at step {trainer.progress.step}, the last checkpoint stays: {error}")

    def tell(row: Mapping[str, float]) -> None:
        share = row["seconds"] / trainer.recipe.seconds
        say(
            f"step {row['step']:.0f}, {share:.0%}: L1 {row['l1']:.4f}, MSE {row['mse']:.5f}, "
            f"1 - SSIM {row['ssim']:.4f}, {row['seconds_per_step']:.2f} s a step"
        )

    try:
        why = trainer.train(pictures, save=save, tell=tell)
    except NotFinite as error:
        return FAILED, str(error)
    trainer.save(output / CHECKPOINT)
    if why == "interrupted":
        return INTERRUPTED, f"{why}; --resume goes on"
    return 0, why


def _dry_run(trainer: Trainer, pictures: MovingPictures) -> int:
    recipe, random = trainer.recipe, Random(0)
    mean = 0.0
    for window in recipe.windows:
        size = recipe.clips_of(window)
        seconds = []
        for _ in range(3):
            began = time.monotonic()
            trainer._backward(pictures.batch(random, size, window)).sum().item()
            seconds.append(time.monotonic() - began)
        say(f"{size} clips of {window}: {min(seconds):.2f} s")
        mean += window.share * min(seconds)
    left = recipe.seconds - trainer.progress.seconds
    say(f"about {left / mean:.0f} steps in {left:.0f} s; nothing was trained or written")
    return 0


def _smoke(options: Mapping[str, Any]) -> int:
    """Every part once, on the clips that ship: weights that were disturbed must get better."""
    recipe = Recipe(
        windows=IN_SMOKE, batch=2, rate=2e-4, seconds=1e6, seed=options["seed"], steps=SMOKE_STEPS
    )
    film, robot = (read_clip(embedded_file(f"clip_{name}.mp4"), 24) for name in ("film", "robot"))
    pixels = {"film": [film], "robot": [robot], "photo": [film[0], robot[0]]}
    pictures = MovingPictures(pixels, IN_SMOKE)
    model, _ = load_weights(EMBEDDED.name, None)
    random = torch.Generator().manual_seed(recipe.seed)
    for value in model.state_dict().values():
        value += SMOKE_NOISE * value.abs().mean() * torch.randn(value.shape, generator=random)
    trainer = Trainer(model, recipe)
    _require_equal(trainer.model, pictures, recipe)
    tested = pictures.batch(Random(recipe.seed + 1), 8, IN_SMOKE[0])
    before = trainer.loss(tested)
    with tempfile.TemporaryDirectory() as name:
        code, why = _train(trainer, pictures, Path(name))
        save_weights(trainer.averaged, Path(name) / WEIGHTS_FILE)
        trained, _ = load_weights(EMBEDDED.name, str(Path(name) / WEIGHTS_FILE))
    after = Trainer(trained, recipe).loss(tested)
    say(f"{why}: loss {before:.4f} to {after:.4f}")
    if after >= before:
        say("The loss is not lower: something in the recipe is broken.")
        return FAILED
    return code


def _device(asked: str | None) -> torch.device:
    name = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise click.UsageError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


def measured_clips(held_out: Path | None) -> dict[str, Pixels]:
    """The two clips that ship and those of a folder: 33 frames each, 256x256 at most.

    Raises:
        UnreadableFile: one cannot be read, or is shorter.
    """
    paths = {name: embedded_file(f"{name}.mp4") for name in ("clip_robot", "clip_film")}
    if held_out is not None:
        found = sorted(held_out.glob("*.mp4"))
        if not found:
            raise UnreadableFile(f"{held_out} holds no clips (.mp4).")
        paths |= {path.stem: path for path in found}
    clips = {name: read_clip(path, _FRAMES)[:, :_SIZE, :_SIZE] for name, path in paths.items()}
    for name, clip in clips.items():
        if len(clip) < _FRAMES:
            raise UnreadableFile(f"{paths[name]} has {len(clip)} frames; {_FRAMES} are needed.")
    return clips


@torch.no_grad()
def _require_equal(model: VidTok, pictures: MovingPictures, recipe: Recipe) -> None:
    """Hold the fast model to the reference: what is trained must be what ships."""
    fast, small = FastModel(model), min(recipe.windows, key=lambda w: w.frames)
    small = Window(frames=small.frames, height=48, width=48, share=1.0)
    video = pictures.batch(Random(3), 1, small)
    latents = model.encode(video)
    wanted = latents.encoded.permute(0, 2, 3, 4, 1)
    codes = latents.latent.permute(0, 2, 3, 4, 1)
    made = model.decode(latents.latent).permute(0, 2, 3, 4, 1)
    encoded = float((fast.encode(video) - wanted).abs().max())
    decoded = float((fast.decode(codes) - made).abs().max())
    if max(encoded, decoded) > 1e-3:
        raise CannotGoOn(
            f"The fast model differs from the reference by {encoded:.2g} in what it encodes and "
            f"{decoded:.2g} in what it decodes: it would train another model than the one that "
            "ships. On CUDA, switch off TF32; else this is a fault of training/fast_model.py."
        )


def contact_sheet(
    clips: Mapping[str, Pixels], before: Mapping[str, Pixels], after: Mapping[str, Pixels]
) -> Pixels:
    """One row for each clip: original, before, after, three times the error after."""
    rows: list[Pixels] = []
    for name, clip in clips.items():
        original, made = clip[_SHOWN], after[name][_SHOWN]
        error = (np.abs(made.astype(np.int16) - original) * 3).clip(0, 255).astype(np.uint8)
        rows.append(np.concatenate([original, before[name][_SHOWN], made, error], axis=1))
    return np.concatenate(rows, axis=0)


def _say_qualities(before: Mapping[str, Quality], after: Mapping[str, Quality]) -> None:
    for name, b in before.items():
        a = after[name]
        say(
            f"{name:16} PSNR {b.psnr_db:.2f} to {a.psnr_db:.2f} dB, SSIM {b.ssim:.4f} to "
            f"{a.ssim:.4f}, tokens {b.tokens_used} to {a.tokens_used}"
        )


def command(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command line `arguments`."""
    try:
        main(args=arguments, prog_name="embedded.py", standalone_mode=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    main()
