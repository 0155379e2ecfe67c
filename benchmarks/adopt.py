"""Make weights of the embedded tokenizer those that ship, and anew what depends on them.

    python benchmarks/adopt.py WEIGHTS --held-out FOLDER --trained "3 h on two cores, ..."

Measured and drawn: clips before and after (docs/measured/embedded.json, docs/figures/embedded.jpg),
what precisions cost (docs/measured/precision.json, but for its step times), the picture of the
README. Written: the weights, tests/golden/embedded.npz by the reference, the documents' tables.
What is left to do by hand is said at the end. About ten minutes on two cores.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from report import begin
from tables import MEASURED, ROOT

from vidtok_edge.runtime.clips.quality import Quality
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.files import write_beside
from vidtok_edge.runtime.manifest.manifest import Manifest
from vidtok_edge.vidtok_ref import EMBEDDED, VidTok, embedded_file, load_weights

FRAMES, SIZE = 33, 256
SHIPPED = ("clip_robot", "clip_film")
CLIPS = ("robot", "film", "hard")
"""Of the table of precisions."""
GOLDEN = ROOT / "tests/golden/embedded.npz"
FIGURE = ROOT / "docs/figures/embedded.jpg"
STRIP = ROOT / "docs/figures/strip.png"
WORSE_DB, WORSE_SSIM = 0.005, 0.0005
"""What rounding may do to a clip that did not change."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Seen:
    """A clip as a model gives it back: uint8 [T, H, W, 3], and how good that is."""

    pictures: Pixels
    quality: Quality


@click.command(help=__doc__)
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--held-out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--before",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Weights to compare with. Default: those that ship.",
)
@click.option("--trained", required=True, help="How long, on what; for the documents.")
@click.option("--although-worse", is_flag=True, help="Even where a clip is worse than before.")
@click.option("--dry-run", is_flag=True, help="Compare, and write nothing.")
def main(
    weights: Path,
    held_out: Path | None,
    before: Path | None,
    trained: str,
    although_worse: bool,
    dry_run: bool,
) -> None:
    new, origin = load_weights(EMBEDDED.name, str(weights))
    old, was = load_weights(EMBEDDED.name, None if before is None else str(before))
    if origin.sha256 == was.sha256:
        raise click.ClickException(f"{weights} holds the weights that are to be replaced.")
    clips = measured_clips(held_out)
    seen = {}
    for name, clip in clips.items():
        seen[name] = (reconstruct(old, clip), reconstruct(new, clip))
        click.echo(sentence(name, *seen[name]))
    worse = [name for name, (a, b) in seen.items() if is_worse(a.quality, b.quality)]
    if worse:
        said = f"Worse than before: {', '.join(worse)}."
        if not although_worse:
            raise click.ClickException(f"{said} Nothing is written; see --although-worse.")
        click.echo(said)
    if dry_run:
        click.echo("Nothing is written.")
        return
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / "bundle"  # what may fail its limits, before anything is written
        asked = ["--variant", EMBEDDED.name, "--checkpoint", weights, "--output", bundle]
        run("-m", "vidtok_edge.cli", "export", *asked, "--precision", "fp32,fp16,int8")
        update_precisions(bundle)
        run(ROOT / "benchmarks/strip.py", bundle, embedded_file("clip_robot.mp4"), STRIP)
    report = begin("embedded", how(trained, clips))
    report.tables["embedded"] = [row(name, *pair) for name, pair in seen.items()]
    report.write(MEASURED / "embedded.json")
    save_picture(FIGURE, worst_frames(clips, seen), "JPEG", quality=88)
    write_golden(new)
    with write_beside(embedded_file(f"{EMBEDDED.name}.safetensors"), force=True) as part:
        shutil.copy(weights, part)
    run(ROOT / "benchmarks/tables.py")
    click.echo(
        f"By hand: {origin.sha256} into EMBEDDED_SINCE (runtime/manifest/identity.py), the "
        "version, CHANGELOG.md, vidtok_ref/embedded/CREDITS.md, numbers in the prose of README.md "
        "and docs/performance.md; then `make test`."
    )


def measured_clips(held_out: Path | None) -> dict[str, Pixels]:
    """The first frames of what ships, and of every clip of a folder: uint8 [33, 256, 256, 3]."""
    paths = {name: embedded_file(f"{name}.mp4") for name in SHIPPED}
    if held_out is not None:
        paths |= {path.stem: path for path in sorted(held_out.glob("*.mp4"))}
    clips = {}
    for name, path in paths.items():
        with ClipReader(path, size=(SIZE, SIZE)) as reader:
            frames = [frame.pixels for _, frame in zip(range(FRAMES), reader, strict=False)]
        if len(frames) < FRAMES:
            raise click.ClickException(f"{path} has {len(frames)} frames; {FRAMES} are needed.")
        clips[name] = np.stack(frames)
    return clips


@torch.no_grad()
def reconstruct(model: VidTok, clip: Pixels) -> Seen:
    """A clip in one causal pass, float32."""
    video = (torch.from_numpy(clip).float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
    made = model.decode(model.encode(video).latent)[0].permute(1, 2, 3, 0)
    pictures = ((made.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    quality = Quality()
    for a, b in zip(clip, pictures, strict=True):
        quality.add(a, b)
    return Seen(pictures, quality)


def is_worse(before: Quality, after: Quality) -> bool:
    """Whether a clip lost more than rounding explains."""
    lost_db, lost_ssim = before.psnr_db - after.psnr_db, before.ssim - after.ssim
    return lost_db > WORSE_DB or lost_ssim > WORSE_SSIM


def sentence(name: str, before: Seen, after: Seen) -> str:
    a, b = before.quality, after.quality
    return f"{name}: {a.psnr_db:.2f} to {b.psnr_db:.2f} dB, SSIM {a.ssim:.4f} to {b.ssim:.4f}"


def row(name: str, before: Seen, after: Seen) -> Mapping[str, Any]:
    """Of the table `embedded`."""
    a, b = before.quality, after.quality
    assert b.worst is not None
    return {
        "clip": name if name in SHIPPED else f"held out: {name}",
        "psnr_before": round(a.psnr_db, 2),
        "psnr_after": round(b.psnr_db, 2),
        "ssim_before": round(a.ssim, 3),
        "ssim_after": round(b.ssim, 3),
        "worst_frame": b.worst.index,
        "worst_psnr": round(b.worst.psnr_db, 2),
    }


def how(trained: str, clips: Mapping[str, Pixels]) -> str:
    return (
        "`python benchmarks/adopt.py`, the reference in float32, whole clips of "
        f"{FRAMES} frames at {SIZE}x{SIZE}, {len(clips)} clips; trained {trained}"
    )


def worst_frames(clips: Mapping[str, Pixels], seen: Mapping[str, tuple[Seen, Seen]]) -> Pixels:
    """A row for each clip, its worst frame: the original, before, after."""
    rows = []
    for name, (before, after) in seen.items():
        assert after.quality.worst is not None
        k = after.quality.worst.index
        rows.append(np.concatenate([clips[name][k], before.pictures[k], after.pictures[k]], axis=1))
    return np.concatenate(rows, axis=0)


def save_picture(path: Path, picture: Pixels, kind: str, **options: Any) -> None:
    with write_beside(path, force=True) as part, part.open("wb") as file:
        Image.fromarray(picture).save(file, format=kind, **options)


@torch.no_grad()
def write_golden(model: VidTok) -> None:
    """What the reference makes of the frames of the golden file."""
    with np.load(GOLDEN) as golden:
        frames = golden["frames"]
    video = (torch.from_numpy(frames).float() / 127.5 - 1.0).permute(3, 0, 1, 2)[None]
    latents = model.encode(video)
    assert latents.tokens is not None
    arrays = {
        "frames": frames,
        "encoded": latents.encoded.numpy(),
        "tokens": latents.tokens.numpy(),
        "reconstruction": model.decode_tokens(latents.tokens).numpy(),
    }
    with write_beside(GOLDEN, force=True) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def update_precisions(bundle: Path) -> None:
    """Take sizes and quality from a bundle into the table; its step times stay."""
    path = MEASURED / "precision.json"
    document = json.loads(path.read_text("utf-8"))
    manifest = Manifest.from_json((bundle / "manifest.json").read_text("utf-8"))
    losses = json.loads((bundle / "reports/parity.json").read_text("utf-8"))["losses"]
    for line in document["tables"]["precisions"]:
        graphs = [g for g in manifest.graphs if g.name.partition(".")[2] == line["graphs"]]
        files = [bundle / name for g in graphs for name in (g.file, g.data_file)]
        line["files_mb"] = round(sum(file.stat().st_size for file in files) / 1e6, 1)
        line["caches_mb"] = round(sum(g.cache_bytes for g in graphs) / 1e6, 1)
        for clip in CLIPS:
            [loss] = [x for x in losses if (x["graphs"], x["clip"]) == (line["graphs"], clip)]
            line[clip] = {
                "tokens_equal": round(loss["tokens_equal"], 3),
                "psnr_db": round(loss["source_psnr_db"], 2),
                "gain_db": None if line["graphs"] == "fp32" else -round(loss["loss_db"], 2),
                "ssim": round(loss["source_ssim"], 3),
            }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def run(*command: object) -> None:
    """A Python program, whose failure ends this one."""
    words: Sequence[str] = [sys.executable, *map(str, command)]
    if subprocess.run(words, cwd=ROOT).returncode:
        raise click.ClickException(f"{' '.join(words)} failed: see above. Run this again.")


if __name__ == "__main__":
    main()
