"""`export-recording`: a recording as training data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vidtok_edge.commands.options import (
    PathName,
    backend_option,
    comma_list,
    force_option,
    given_options,
    output_option,
    precision_option,
)
from vidtok_edge.commands.printing import (
    frame_bar,
    load_bundle,
    need,
    need_record,
    warn,
    warn_of_missing,
)
from vidtok_edge.commands.sections import SectionedCommand, section
from vidtok_edge.commands.terminal import say

if TYPE_CHECKING:
    from vidtok_edge.runtime.recording.exports.exporting import Exported


@click.command("export-recording", cls=SectionedCommand)
@click.argument("recordings", nargs=-1, required=True, type=PathName(), metavar="REC...")
@output_option
@click.option(
    "--format",
    "format_",
    required=True,
    type=click.Choice(["npz", "webdataset", "lerobot", "parquet"]),
)
@click.option("--source", type=int, help="Which camera, from 0.  [default: all]")
@click.option("--start", type=float, help="Seconds from the beginning, of a clip on its own clock.")
@click.option("--end", type=float, help="Seconds from the beginning, of a clip on its own clock.")
@click.option(
    "--gaps",
    type=click.Choice(["split", "keep"]),
    default="split",
    show_default=True,
    help="Where frames were dropped, the camera was away, latents are missing or times have a gap: "
    "end the episode, or keep it as one; columns say what happened before each latent.",
)
@click.option(
    "--append",
    is_flag=True,
    help="Add to the set that is there, of the same format, tokenizer, rate, channels and options; "
    "it stays as it was until all is added.",
)
@force_option
@section(
    "Data channels",
    click.option(
        "--channels",
        callback=comma_list,
        metavar="A,B",
        help="Data channels that go along.  [default: all that hold numbers]",
    ),
    click.option(
        "--align",
        type=click.Choice(["last", "interpolate"]),
        default="last",
        show_default=True,
        help="The value of a channel at a latent: its last sample, or on the line to the next.",
    ),
    click.option(
        "--max-age",
        type=click.FloatRange(0, min_open=True),
        default=1.0,
        show_default=True,
        metavar="SECONDS",
        help="Where the last sample is older, the value is missing.",
    ),
    click.option(
        "--missing",
        type=click.Choice(["split", "keep"]),
        default="split",
        show_default=True,
        help="Where a value is missing: leave the latent out and end the episode, or keep NaN.",
    ),
)
@section(
    "WebDataset",
    click.option(
        "--sample-latents",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        help="Latents in one sample.",
    ),
    click.option(
        "--shards",
        type=click.IntRange(1, 256),
        help="How many, to which samples are dealt out in turn: a reader (a worker of a "
        "rank) needs one of its own.  [default: 8, or as many as there are samples]",
    ),
)
@section(
    "LeRobot",
    click.option("--task", default="recorded", show_default=True, help="What the robot was doing."),
    click.option("--action", default="action", show_default=True, help="Which channel it is."),
    click.option("--state", default="state", show_default=True, help="Which channel it is."),
    click.option(
        "--video",
        is_flag=True,
        help="A video beside the tokens, to look at; decoded from them with --bundle, and not "
        "the camera's own picture. A row shows the last frame of its latent.",
    ),
    click.option(
        "--bundle",
        "-b",
        type=PathName(),
        help="Of --video: folder that `export` wrote, of the tokenizer of the recordings.",
    ),
    backend_option,
    precision_option,
)
@click.pass_context
def export_recording(
    context: click.Context,
    recordings: tuple[Path, ...],
    output: Path,
    format_: Literal["npz", "webdataset", "lerobot", "parquet"],
    source: int | None,
    start: float | None,
    end: float | None,
    gaps: Literal["split", "keep"],
    task: str,
    sample_latents: int,
    shards: int | None,
    channels: tuple[str, ...],
    align: Literal["last", "interpolate"],
    max_age: float,
    missing: Literal["split", "keep"],
    action: str,
    state: str,
    video: bool,
    bundle: Path | None,
    backend: str,
    precision: str | None,
    append: bool,
    force: bool,
) -> None:
    """Recordings, or a part of each, as one set of training data.

    A folder of token files, of shards, of Parquet files, or a LeRobot dataset. NAME.index.json
    stands for the parts that it lists.
    """
    _refuse_what_would_be_ignored(context, format_, video)
    if append and force:
        raise click.UsageError("--append adds to a set, --force replaces it: give one of them.")
    if video and bundle is None:
        raise click.UsageError(
            "--video decodes the tokens: name the bundle that wrote them with --bundle."
        )
    need_record()
    if video:
        need("video", but=("pillow",))
    from vidtok_edge.runtime.recording.data_rows import DataRequest
    from vidtok_edge.runtime.recording.exports.exporting import export_recording as export
    from vidtok_edge.runtime.recording.exports.row_pictures import PictureRequest
    from vidtok_edge.runtime.session.parts_index import parts_in

    request = None
    if bundle is not None:
        loaded = load_bundle(bundle)
        request = PictureRequest(bundle=loaded, backend=backend, precision=precision)
    with frame_bar("exporting, latents") as progress:
        done = export(
            [path for name in recordings for path in parts_in(name)],
            output,
            format_,
            source=source,
            start_s=start,
            end_s=end,
            gaps=gaps,
            task=task,
            sample_latents=sample_latents,
            shards=shards,
            data=DataRequest(
                channels=channels or None, align=align, max_age_s=max_age, missing=missing
            ),
            action=action,
            state=state,
            video=request,
            append=append,
            force=force,
            progress=progress,
        )
    say(f"{done.latents} latents in {done.episodes} episodes, {done.files} files\n{output}")
    for doubt in done.doubts:
        warn(doubt)
    at_each = "an episode ends at each" if gaps == "split" else "columns say where"
    warn_of_missing(done.broken, done.damaged_bytes, done.unreadable, at_each)
    if happened := _happened(done):
        warn(f"while it was recorded, {happened}; {at_each}")
    _warn_of_data(done)
    if done.unended:
        why = "it is still being recorded to" if done.growing else "the recording was cut off"
        warn(f"{done.unended} sources have no end: {why}")


_OF_FORMAT = {
    "webdataset": {"sample_latents": "--sample-latents", "shards": "--shards"},
    "lerobot": {"task": "--task", "action": "--action", "state": "--state", "video": "--video"},
}


def _refuse_what_would_be_ignored(context: click.Context, format_: str, video: bool) -> None:
    given = given_options(context)
    for of, options in _OF_FORMAT.items():
        for name in sorted(given & set(options)) if of != format_ else ():
            raise click.UsageError(f"{options[name]} is for --format {of}.")
    if not video and given & {"bundle", "backend", "precision"}:
        raise click.UsageError("--bundle, --backend and --precision are for --video.")


def _warn_of_data(done: Exported) -> None:
    counts: dict[str, Counter[str]] = {}
    for data in done.data:
        for name, one in data.facts()["channels"].items():
            counts.setdefault(name, Counter()).update({key: one[key] for key in _ODD})
    for name, found in counts.items():
        if odd := [f"{found[key]} {said}" for key, said in _ODD.items() if found[key]]:
            warn(f"{name}: {', '.join(odd)}")
    if left_out := sum(data.left_out for data in done.data):
        warn(f"{left_out} latents were left out; --missing keep keeps them")


_ODD = {
    "latents_without": "latents lack a value",
    "not_finite": "samples hold a NaN or an infinity",
    "late": "samples were written late",
}


def _happened(done: Exported) -> str:
    """What the markers say that a user should know, with counts."""
    counts = done.markers
    told = []
    if done.frames_dropped:
        told.append(f"{done.frames_dropped} frames were dropped in {counts['drop']} places")
    if counts.get("paused") or done.frames_paused:
        told.append(f"it was paused, and {done.frames_paused} frames were left out")
    for what, streams in done.given_up.items():
        told.append(f"{streams} streams were encoded with {what}, because encoding was late")
    if done.gaps:
        gaps = "1 gap" if done.gaps == 1 else f"{done.gaps} gaps"
        told.append(f"times have {gaps}, in which no frame came")
    if counts.get("lost"):
        told.append(f"a source was lost {counts['lost']} times")
    if counts.get("reconnect"):
        told.append(f"one came back {counts['reconnect']} times")
    return ", ".join(told)
