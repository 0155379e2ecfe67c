"""A small world model: the next latent from the last ones and from how the camera turns meanwhile.

python examples/world_model.py BUNDLE RECORDING [STEPS]

Where there is no such recording, the shipped clip of a robot is recorded as by a camera that turns
left and right by chance, and says so in a data channel.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import vidtok_edge
from vidtok_edge.datasets import TokenStream, TokenWindows
from vidtok_edge.runtime import Bundle
from vidtok_edge.runtime.clips.reading import ClipReader
from vidtok_edge.runtime.recording import RecordingWriter, Tokenizer
from vidtok_edge.runtime.streaming.latents import Latents, Stamp
from vidtok_edge.runtime.streaming.records import Sample, SourceRecords

CLIP = Path(vidtok_edge.__file__).parent / "vidtok_ref" / "embedded" / "clip_robot.mp4"
PAST, BATCH, WIDTH = 2, 4, 32


def record_clip(bundle: Bundle, recording: Path) -> None:
    """Record the clip, turned by a token for each latent, and at each frame by how much it was."""
    model, begin = bundle.manifest.model, Stamp.at()
    size = bundle.manifest.height, bundle.manifest.width
    camera, chance = SourceRecords(0), np.random.default_rng(0)
    with (
        ClipReader(CLIP, size=size) as clip,
        bundle.encoder() as encoder,
        RecordingWriter(recording, Tokenizer.of(bundle), ["robot"]) as writer,
    ):
        writer.take(camera.start("start", begin.capture_time_ns, begin.wall_time_ns, fps=30))

        def take(ready: list[Latents]) -> None:
            now = time.monotonic_ns()
            for latents in ready:
                for one in camera.encoded(latents, encode_start_ns=now, encode_end_ns=now):
                    writer.take(one)

        turn, angle = 0, 0.0
        for number, frame in enumerate(clip):
            if number % model.time_factor == 1:  # the first frame of a latent
                turn = int(chance.integers(-1, 2))
            angle += turn * model.space_factor / model.time_factor
            stamp = Stamp(
                capture_time_ns=begin.capture_time_ns + frame.time_ns,
                wall_time_ns=begin.wall_time_ns + frame.time_ns,
                media_time_ns=frame.time_ns,
            )
            sample = Sample(
                channel="action",
                time_ns=stamp.capture_time_ns,
                wall_time_ns=stamp.wall_time_ns,
                values=np.array([turn], np.float64),
            )
            writer.log(sample, ["turn"])
            take(encoder.push(np.roll(frame.pixels, round(angle), axis=1), stamp=stamp))
        take(encoder.finish())


class NextLatent(nn.Module):
    """Logits of every digit of the next tokens, [B, N, h, w].

    A token of FSQ is a number whose digits are the levels of its channels: of 32768 tokens there
    are five digits of eight levels, which is what is predicted. The action says how much of the
    last latent to take over from the left, from the same place and from the right; convolutions
    say the rest.
    """

    def __init__(self, levels: tuple[int, ...], past: int, actions: int) -> None:
        super().__init__()
        self.levels = levels
        self.act = nn.Sequential(nn.Linear(actions, WIDTH), nn.GELU())
        self.moves = nn.Linear(WIDTH, 3)
        self.first = nn.Conv2d(past * sum(levels), WIDTH, 3, padding=1)
        self.rest = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.last = nn.Conv2d(WIDTH, sum(levels), 1)
        for parameter in (*self.moves.parameters(), *self.last.parameters()):
            nn.init.zeros_(parameter)  # it begins by not knowing anything

    def digits(self, tokens: Tensor) -> list[Tensor]:
        """Of each level its digit, in the shape of `tokens`."""
        found = []
        for level in self.levels:
            found.append(tokens % level)
            tokens = tokens // level
        return found

    def forward(self, past: Tensor, action: Tensor) -> Tensor:
        """[B, sum of levels, h, w] from tokens [B, past, h, w] and actions [B, a]."""
        hot = [
            nn.functional.one_hot(digit, level)
            for digit, level in zip(self.digits(past), self.levels, strict=True)
        ]
        one_hot = torch.cat(hot, dim=-1).movedim(-1, 2).float()  # [B, past, sum of levels, h, w]
        action = self.act(action)
        hidden = nn.functional.gelu(self.first(one_hot.flatten(1, 2)) + action[:, :, None, None])
        hidden = hidden + nn.functional.gelu(self.rest(hidden))
        logits: Tensor = self.last(hidden)
        for move, share in zip((-1, 0, 1), self.moves(action).T, strict=True):
            logits = logits + share[:, None, None, None] * one_hot[:, -1].roll(move, dims=-1)
        return logits

    def loss(self, tokens: Tensor, actions: Tensor) -> Tensor:
        """Nats per token, of windows [B, past + 1, h, w] and actions [B, past + 1, a].

        The action of a latent is the last one up to its time: that of the next latent led to it.
        """
        logits = self(tokens[:, :-1], actions[:, -1]).split(self.levels, dim=1)
        pairs = zip(logits, self.digits(tokens[:, -1]), strict=True)
        return torch.stack([nn.functional.cross_entropy(*pair) for pair in pairs]).sum()


def without_past(model: NextLatent, tokens: Tensor) -> float:
    """Nats per token of the best guess that looks at nothing: the entropy of every digit."""
    total = 0.0
    for digit, level in zip(model.digits(tokens), model.levels, strict=True):
        share = torch.bincount(digit.flatten(), minlength=level) / digit.numel()
        total -= float((share * share.clamp(min=1e-12).log()).sum())
    return total


def main(path: str, recording: str, steps: int = 150) -> None:
    if not Path(recording).exists():
        record_clip(Bundle.load(path), Path(recording))
    torch.manual_seed(0)
    windows = TokenWindows(recording, length=PAST + 1)
    actions = windows.facts.channels["action"]
    model = NextLatent(windows.facts.tokenizer.levels, PAST, actions)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    stream = TokenStream(windows, batch_size=BATCH, seed=0)
    [every] = TokenStream(windows, batch_size=len(windows), shuffle=False)
    entropy = without_past(model, every["tokens"][:, -1])
    print(f"{len(windows)} windows of {PAST + 1} latents; {actions} numbers of action")

    losses: list[float] = []
    epoch, began = 0, time.monotonic()
    while len(losses) < steps:
        stream.set_epoch(epoch)
        for batch in stream:
            loss = model.loss(batch["tokens"], batch["data"]["action"])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.item())
        epoch += 1
    last = float(np.mean(losses[-len(stream) :]))
    print(f"{len(losses)} steps, {epoch} epochs, {time.monotonic() - began:.0f} s")
    with torch.no_grad():
        other = float(model.loss(every["tokens"], every["data"]["action"].roll(7, dims=0)))
    print(f"loss {losses[0]:.2f} at first, {last:.2f} at last, {entropy:.2f} without the past")
    print(f"{other:.2f} with the actions of other windows")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
