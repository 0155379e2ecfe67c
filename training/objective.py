"""What training lowers, and how good whole clips come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from fast_model import FastModel
from picture_files import Pixels
from torch import Tensor

from vidtok_edge.vidtok_ref import EMBEDDED, VidTok

__all__ = ["WEIGHTS", "Quality", "loss_parts", "reconstruct", "ssim"]

WEIGHTS = {"l1": 1.0, "mse": 2.0, "gradient": 0.25, "time": 0.1, "ssim": 0.2, "bound": 0.05}
"""Of the parts of the loss, in their order."""

_BOUND = 1.5
"""Beyond this |z| the quantiser's tanh is flat, and little gradient comes back."""

_WINDOW = 7  # pixels of SSIM's window on each side
_C1, _C2 = 0.01**2, 0.03**2  # for values from 0 to 1


def loss_parts(fast: FastModel, video: Tensor) -> Tensor:
    """The parts of `WEIGHTS` for `video`, [B, 3, T, H, W] in [-1, 1]: one tensor of means."""
    z = fast.encode(video)
    made = fast.decode(fast.quantise(z))
    wanted = video.permute(0, 2, 3, 4, 1)
    d = made - wanted
    rows, columns = d[:, :, 1:] - d[:, :, :-1], d[:, :, :, 1:] - d[:, :, :, :-1]
    return torch.stack(
        [
            d.abs().mean(),
            d.square().mean(),
            (rows.abs().mean() + columns.abs().mean()) / 2,
            (d[:, 1:] - d[:, :-1]).abs().mean(),
            1 - ssim((made + 1) / 2, (wanted + 1) / 2).mean(),
            F.relu(z.abs() - _BOUND).square().mean(),
        ]
    )


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """[...]: SSIM of pictures [..., H, W, 3] with values from 0 to 1.

    Source: Wang et al. 2004, with windows of 7x7 and sample covariances, as
    `vidtok_edge.runtime.clips.quality`.
    """
    x, y = (v.flatten(0, -4).permute(0, 3, 1, 2) for v in (a, b))
    sums = F.avg_pool2d(torch.cat([x, y, x * x, y * y, x * y], dim=1), _WINDOW, 1)
    mean_x, mean_y, xx, yy, xy = (sums[:, k : k + 3] for k in range(0, 15, 3))
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    var_x, var_y = unbiased * (xx - mean_x**2), unbiased * (yy - mean_y**2)
    covariance = unbiased * (xy - mean_x * mean_y)
    similarity = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    means: Tensor = similarity.mean((1, 2, 3)).reshape(a.shape[:-3])
    return means


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Of a reconstructed clip: means over its frames."""

    psnr_db: float
    ssim: float
    tokens_used: int
    """How many different tokens it took."""


@torch.no_grad()
def reconstruct(
    model: VidTok, clips: Mapping[str, Pixels]
) -> tuple[dict[str, Quality], dict[str, Pixels]]:
    """How good clips [T, H, W, 3] come out, each in one causal pass in float32, and what comes."""
    device = next(model.parameters()).device
    fast = FastModel(model)
    base = torch.tensor(
        [float(np.prod(EMBEDDED.levels[:k])) for k in range(len(EMBEDDED.levels))], device=device
    )
    qualities, pictures = {}, {}
    for name, clip in clips.items():
        pixels = torch.tensor(clip, device=device)
        codes = fast.quantise(fast.encode((pixels.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]))
        made = ((fast.decode(codes)[0].clamp(-1, 1) + 1) * 127.5).round().byte()
        a, b = pixels.double() / 255, made.double() / 255
        # an equal frame would have an infinite PSNR
        error = (a - b).square().mean((1, 2, 3)).clamp(min=1e-10)
        qualities[name] = Quality(
            psnr_db=float(-10 * torch.log10(error).mean()),
            ssim=float(ssim(a, b).mean()),
            tokens_used=len(torch.unique((codes * fast.width).round() @ base)),
        )
        pictures[name] = made.cpu().numpy()
    return qualities, pictures
