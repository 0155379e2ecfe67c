"""How many cameras a plan allows, and which device of its table a driver means."""

from __future__ import annotations

import pytest

from vidtok_edge.export.planning.cameras import device_called, planned_cameras
from vidtok_edge.export.planning.devices import DEVICES
from vidtok_edge.lowering.step import StepOptions
from vidtok_edge.variants import EMBEDDED, VARIANTS

H200 = next(device for device in DEVICES if device.name == "H200")
FULL = VARIANTS["vidtok_fsq_causal_488_32768"]


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA GeForce RTX 4070", "RTX 4070"),
        ("NVIDIA GeForce RTX 4070 Ti", None),
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA GeForce RTX 3060", "RTX 3060 12GB"),
        ("", None),
    ],
)
def test_a_device_is_known_by_all_of_its_name(gpu: str, name: str | None) -> None:
    found = device_called(gpu)
    assert (None if found is None else found.name) == name


def planned(fps: float, numbers: list[int], fast: bool = False) -> int | None:
    return planned_cameras(
        EMBEDDED if fast else FULL,
        StepOptions(256, 256),
        device=H200,
        fps=fps,
        kinds=["encoder"],
        precision="fp16",
        numbers=numbers,
    )


def test_more_frames_allow_fewer_cameras() -> None:
    numbers = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    found = [planned(fps, numbers) for fps in (10.0, 30.0, 120.0)]
    known = [number for number in found if number is not None]
    assert known == sorted(known, reverse=True) and known[0] > known[-1]
    assert planned(30.0, [8, 1]) == 8, "in any order"
    assert planned(30.0, numbers, fast=True) == 512, "a smaller model allows more"


def test_no_number_is_allowed() -> None:
    assert planned(1e6, [1, 2]) is None
