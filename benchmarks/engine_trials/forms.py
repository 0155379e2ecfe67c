"""The forms that are tried, each with what is hoped of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from engine_trials.convolutions import (
    FramesConv,
    FramesUpsample,
    OneConvUpsample,
    TapProducts,
)
from engine_trials.placements import Placing, fp16_caches, int8_outputs, wide_layers
from engine_trials.timelines import ChunkTail, HostZeroed
from vidtok_edge.lowering.forms import (
    ChannelsLastForm,
    Conv2dForm,
    Conv3dForm,
    Convolution,
    Form,
)
from vidtok_edge.lowering.kernels import Padding
from vidtok_edge.lowering.norms import ChannelNorm
from vidtok_edge.lowering.timeline import CausalTimeline
from vidtok_edge.runtime.manifest.graphs import KINDS, Kind, Precision

__all__ = ["TRIAL_FORMS", "TrialForm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialForm:
    """A form, and what else is done otherwise in its graphs.

    Attributes:
        hypothesis: one sentence.
        kinds: of the graphs that it changes.
        precisions: in which it can be computed, and in which it changes something.
        placing: where an INT8 graph quantises otherwise.
        float32_sums: whether its FP16 convolutions sum in float32.
    """

    form: Form
    hypothesis: str
    timeline: type[CausalTimeline] = CausalTimeline
    kinds: tuple[Kind, ...] = KINDS
    precisions: tuple[Precision, ...] = ("fp16", "fp32", "int8")
    placing: Placing | None = None
    float32_sums: bool = False

    @property
    def host_zeroes(self) -> bool:
        """True where the host zeroes the caches of a fresh stream, and `start` does nothing."""
        return self.timeline is HostZeroed


class EngineChannelsLastForm(ChannelsLastForm):
    """`channels_last` without what was done for ONNX Runtime's kernels."""

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> Convolution:
        return super().conv(weight, bias, padding, time_stride, space_stride).joined()

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return ChannelNorm(weight, bias, channel_axis=3)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class MatMulForm(EngineChannelsLastForm):
    """Kernels without an extent in space as products with a matrix."""

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> Convolution:
        if weight.shape[3:] == (1, 1) and space_stride == 1:
            return TapProducts(weight, bias, time_stride)
        return super().conv(weight, bias, padding, time_stride, space_stride)


class FramesForm(Conv2dForm):
    """`conv2d` whose home is [B*T, C, H, W]: frames stand apart only where a kernel needs time."""

    def conv(
        self, weight: Tensor, bias: Tensor, padding: Padding, time_stride: int, space_stride: int
    ) -> Convolution:
        return FramesConv(weight, bias, padding, time_stride, space_stride)

    def norm(self, weight: Tensor, bias: Tensor) -> nn.Module:
        return ChannelNorm(weight, bias, channel_axis=1)

    def upsample_space(self, weight: Tensor, bias: Tensor) -> Convolution:
        return FramesUpsample(weight, bias)

    def interleave(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[1] // 2, *x.shape[2:])

    def to_sequence(self, x: Tensor) -> Tensor:
        return x.flatten(2)

    def from_sequence(self, x: Tensor, like: Tensor) -> Tensor:
        return x.reshape(like.shape[0], -1, *like.shape[2:])

    def to_frames(self, x: Tensor, batch: int) -> Tensor:
        return x.reshape(batch, -1, *x.shape[1:])

    def from_frames(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)

    def from_btchw(self, x: Tensor) -> Tensor:
        return self.from_frames(x)

    def to_btchw(self, x: Tensor, batch: int) -> Tensor:
        return self.to_frames(x, batch)


class OneConvUpsampleForm(Conv3dForm):
    """Upsampling in space as one convolution."""

    def upsample_space(self, weight: Tensor, bias: Tensor) -> Convolution:
        return OneConvUpsample(weight, bias)


TRIAL_FORMS: dict[str, TrialForm] = {
    "conv3d": TrialForm(
        form=Conv3dForm(),
        hypothesis="As it ships: every convolution is 3-D, and the least data is moved.",
    ),
    "conv2d": TrialForm(
        form=Conv2dForm(),
        hypothesis="As it ships: time in the batch axis, every convolution 2-D over joined taps.",
    ),
    "conv3d-float32-sums": TrialForm(
        form=Conv3dForm(),
        kinds=("encoder",),
        float32_sums=True,
        hypothesis="conv3d with FP16 values summed in float32 by TF32: the tokens that FP16 sums "
        "cost, at half the rate of products.",
    ),
    "conv2d-float32-sums": TrialForm(
        form=Conv2dForm(),
        kinds=("encoder",),
        float32_sums=True,
        hypothesis="The same of conv2d.",
    ),
    "chunk-tail": TrialForm(
        form=Conv3dForm(),
        timeline=ChunkTail,
        hypothesis="conv3d with caches cut from the chunk, not from the chunk behind its past: a "
        "copy that waits for nothing.",
    ),
    "conv3d-no-start": TrialForm(
        form=Conv3dForm(),
        timeline=HostZeroed,
        hypothesis="conv3d without a select on `start`, for caches that the host zeroes: what the "
        "selects cost at most (a v1.1 stream would start otherwise, so it is for timing).",
    ),
    "channels_last": TrialForm(
        form=EngineChannelsLastForm(),
        hypothesis="Channels last, as norms and tensor cores read them: transposes that TensorRT "
        "adds around norms fall away.",
    ),
    "matmul": TrialForm(
        form=MatMulForm(),
        precisions=("fp16", "fp32"),
        hypothesis="channels_last with temporal and 1x1 convolutions as products of joined taps "
        "with a matrix: better kernels for few channels.",
    ),
    "one-conv-upsample": TrialForm(
        form=OneConvUpsampleForm(),
        kinds=("decoder",),
        hypothesis="conv3d with nearest 2x and its 3x3 convolution as one convolution with four "
        "times the outputs, and a shuffle: no enlarged frame is read.",
    ),
    "conv2d-frames": TrialForm(
        form=FramesForm(),
        hypothesis="conv2d with frames apart only where a kernel needs time, and taps of one frame "
        "joined by a reshape: 24 of its 62 slices and 28 of 63 reshapes fall away (encoder).",
    ),
    "conv2d-fp16-caches": TrialForm(
        form=Conv2dForm(),
        precisions=("int8",),
        placing=fp16_caches,
        hypothesis="conv2d in INT8 with caches in FP16: each input is quantised once, right before "
        "its convolution, and nothing stands between a select, a join and a slice.",
    ),
    "conv2d-int8-outputs": TrialForm(
        form=Conv2dForm(),
        precisions=("int8",),
        placing=int8_outputs,
        hypothesis="conv2d in INT8 whose convolutions write INT8: half the bytes to the norm or "
        "the sum behind each, which dequantises them.",
    ),
    "conv2d-wide": TrialForm(
        form=Conv2dForm(),
        precisions=("int8",),
        placing=wide_layers,
        hypothesis="conv2d in INT8 only where 32 channels or more go in and come out, as INT8 "
        "tensor cores take them: few channels stay in FP16, without quantising.",
    ),
}
