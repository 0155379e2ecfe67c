"""A step on a device: the host's tokens, caches that stay there, and no copy that is not meant."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from narrow import narrow
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vidtok_edge.errors import BackendUnavailable
from vidtok_edge.lowering.facts import BOTH_FP16, BOTH_FP32
from vidtok_edge.lowering.forms import FormName
from vidtok_edge.lowering.interface import KINDS, Kind, zeros
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.lowering.torch_cuda import exact_float32, require_torch_cuda
from vidtok_edge.lowering.torch_device_step import CUDA_GRAPH_MODES, DeviceStep
from vidtok_edge.lowering.torch_step import TorchStep, TorchStreams
from vidtok_edge.runtime.backends.step import poison

VARIANT = "vidtok_fsq_causal_41616_262144"
OPTIONS = StepOptions(16, 16, form="conv2d", streams=2)
on_cpu = partial(DeviceStep, on=torch.device("cpu"))


def pair(kind: Kind, numerics: Any = BOTH_FP32, variant: str = VARIANT) -> list[TorchStep]:
    """The step of the host and the one of a device, which is the CPU."""
    model = narrow(variant, 16)
    return [
        TorchStreams(model, OPTIONS, numerics, make).steps[kind] for make in (TorchStep, on_cpu)
    ]


def called(step: TorchStep, calls: int = 3) -> list[dict[str, Any]]:
    """What each call put out; both slots begin in the first one."""
    random, found = np.random.default_rng(0), []
    for call in range(calls):
        for name, array in step.inputs.items():
            if array.dtype == np.bool_:
                array[...] = {"start": call == 0, "ready": True}.get(name, False)
            else:
                array[...] = random.integers(0, 256, array.shape)
        step.run()
        found.append({name: array.copy() for name, array in step.outputs.items()})
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numerics", [BOTH_FP32, BOTH_FP16], ids=["fp32", "fp16"])
def test_it_computes_what_the_step_of_the_host_does(kind: Kind, numerics: Any) -> None:
    host, device = pair(kind, numerics)
    poison(device)
    np.testing.assert_equal(called(device), called(host))
    np.testing.assert_equal(device.caches(), host.caches())
    times = device.times
    assert min(times.upload_ns, times.compute_ns, times.download_ns) > 0
    assert device.device is None, "its tensors are nobody else's"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_host_writes_next_is_in_no_cache(kind: Kind) -> None:
    step = pair(kind, variant="vidtok_fsq_causal_488_32768_v1_1")[1]
    called(step, 1)
    kept = step.caches()
    for array in step.inputs.values():
        array[...] = 1
    np.testing.assert_equal(step.caches(), kept)


@pytest.mark.parametrize("kind", KINDS)
def test_no_call_makes_a_constant_on_the_host(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a copy from pageable memory, for which torch.compile leaves out CUDA graphs."""
    host, device = pair(kind)
    real, made = torch.tensor, list[object]()

    def tensor(data: object, **options: Any) -> torch.Tensor:
        made.append(data)
        return real(data, **options)

    monkeypatch.setattr(torch, "tensor", tensor)
    called(device, 1)
    assert not made
    called(host, 1)
    assert bool(made) == (kind == "encoder"), "the quantiser's, as it is exported"


class HostTouched(TorchDispatchMode):  # type: ignore[no-untyped-call]  # in PyTorch
    """Notes the operators that read or write tensors of the host."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = tree_leaves((args, kwargs, result))
        if any(isinstance(one, torch.Tensor) and one.device.type != "meta" for one in given):
            self.found.add(str(func))
        return result


@pytest.mark.parametrize("form", ["conv2d", "conv3d"])
@pytest.mark.parametrize("numerics", [BOTH_FP32, BOTH_FP16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_call_is_on_the_host(kind: Kind, numerics: Any, form: FormName) -> None:
    """On PyTorch's device `meta`, where tensors have no numbers: one of the host is seen."""
    model = narrow("vidtok_fsq_causal_488_32768_v1_1", 16)
    step = TorchStreams(model, replace(OPTIONS, form=form), numerics).steps[kind]
    step.module.hold_constants()
    step.module.to("meta")
    with torch.inference_mode(), HostTouched() as host:
        results = step.module(*zeros(step.graph.inputs, "meta"))
    assert {result.device.type for result in results} == {"meta"}
    assert not host.found


class Overwriting(torch.nn.Module):
    """Puts its outputs where those of the call before were, as a CUDA graph does."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.memory = module, list[torch.Tensor]()

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        for old in self.memory:
            old.fill_(1)  # before anything is read: the worst order
        results = self.module(*inputs)
        if not self.memory:
            self.memory = [result.clone() for result in results]
        for old, result in zip(self.memory, results, strict=True):
            old.copy_(result)
        return self.memory


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # PyTorch's own
@pytest.mark.parametrize("mode", ["default", *CUDA_GRAPH_MODES])
def test_caches_outlive_memory_of_a_cuda_graph(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, mode: asked.append(mode))
    host, device = pair("encoder")
    wanted = called(host)
    device.compile(mode)
    assert asked == [mode]
    device.module = Overwriting(device.module)  # type: ignore[assignment]
    same = all(
        np.array_equal(got["tokens"], right["tokens"])
        for got, right in zip(called(device), wanted, strict=True)
    )
    assert same == (mode in CUDA_GRAPH_MODES), "without copies the caches are written over"


@pytest.mark.parametrize(
    ("version", "message"), [(None, "is one for the CPU"), ("13.0", "sees no GPU.*nvidia-smi")]
)
def test_a_pytorch_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, version: str | None, message: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendUnavailable, match=message):
        require_torch_cuda()


def test_float32_is_exact() -> None:
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [one.allow_tf32 for one in backends], torch.backends.cudnn.benchmark
    try:
        exact_float32()
        assert [one.allow_tf32 for one in backends] == [False, False]
    finally:
        for one, value in zip(backends, before[0], strict=True):
            one.allow_tf32 = value
        torch.backends.cudnn.benchmark = before[1]


@pytest.mark.gpu("torch")  # no backend of ours: nobody need have it
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [None, "default", *CUDA_GRAPH_MODES])
def test_on_a_gpu(kind: Kind, mode: str | None) -> None:
    if torch.version.cuda is None or not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    exact_float32()
    make = partial(DeviceStep, on=torch.device("cuda"))
    model = narrow(VARIANT, 16)
    host = TorchStreams(model, OPTIONS, BOTH_FP32).steps[kind]
    device = TorchStreams(model, OPTIONS, BOTH_FP32, make).steps[kind]
    if mode is not None:
        device.compile(mode)
    for got, wanted in zip(called(device, 6), called(host, 6), strict=True):
        for name, array in wanted.items():
            if name == "tokens":
                assert (got[name] == array).mean() > 0.99
            else:
                far = np.abs(got[name].astype(float) - array).max()
                assert far < (0.1 if kind == "encoder" else 2), "of a latent, or levels of a pixel"
