"""ONNX Runtime's CUDA provider, of host memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import onnxruntime as ort
import pytest

from vidtok_edge.runtime.backends.onnxruntime import PROVIDERS

__all__ = ["HostCuda"]


class HostCuda:
    """ONNX Runtime with a CUDA provider that is made of host memory.

    A binding copies a value that lies elsewhere than where the session reads it, once.

    Attributes:
        on_cpu: inputs that are read on the CPU.
        providers: what sessions were opened with.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, on_cpu: set[str]) -> None:
        self.on_cpu, self.providers = on_cpu, list[Any]()
        self.addresses: set[int] = set()
        value = ort.OrtValue
        from_numpy, from_shape = value.ortvalue_from_numpy, value.ortvalue_from_shape_and_type

        def placed(made: Any, device: str) -> Any:
            if device == "cuda":
                self.addresses.add(made.data_ptr())
            return made

        monkeypatch.setattr(
            value,
            "ortvalue_from_numpy",
            lambda array, device="cpu", _=0: placed(
                from_numpy(array.copy() if device == "cuda" else array), device
            ),
        )
        monkeypatch.setattr(
            value,
            "ortvalue_from_shape_and_type",
            lambda shape, kind, device, _: placed(from_shape(shape, kind, "cpu", 0), device),
        )
        session = ort.InferenceSession
        monkeypatch.setattr(ort, "get_available_providers", lambda: list(PROVIDERS.values()))
        monkeypatch.setattr(
            ort,
            "InferenceSession",
            lambda path, options, providers, **_: HostSession(
                self, session, path, options, providers
            ),
        )


class HostSession:
    def __init__(self, cuda: HostCuda, real: Any, path: str, options: Any, providers: Any) -> None:
        cuda.providers.append(providers)
        self.cuda, self.real = cuda, real(path, options, providers=[PROVIDERS["cpu"]])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_providers(self) -> list[str]:
        return list(PROVIDERS.values())

    def get_input_memory_infos(self) -> list[Any]:
        names = [node.name for node in self.real.get_inputs()]
        return [SimpleNamespace(name="Cpu" if n in self.cuda.on_cpu else "Cuda") for n in names]

    def io_binding(self) -> Any:
        binding = self.real.io_binding()
        bind = binding.bind_ortvalue_input

        def bind_ortvalue_input(name: str, value: Any) -> None:
            if (value.data_ptr() in self.cuda.addresses) is (name in self.cuda.on_cpu):
                value = ort.OrtValue.ortvalue_from_numpy(value.numpy().copy())
            bind(name, value)

        binding.bind_ortvalue_input = bind_ortvalue_input
        return binding
