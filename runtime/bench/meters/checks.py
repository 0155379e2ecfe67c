"""A machine's settings against those that a machine of its kind should have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vidtok_edge.errors import MissingDependency
from vidtok_edge.runtime.bench.meters.reference import Reference, reference_for
from vidtok_edge.runtime.bench.meters.settings import Settings, read_settings

__all__ = ["Check", "check_machine", "checks_of", "off_reference"]

_OTHER_WORK = "other work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One setting: what was found, what is expected, and what mends it.

    Truthy where it is as expected, or where the machine does not tell.
    """

    name: str
    found: str
    """Empty where the machine does not tell."""
    expected: str
    remedy: str
    as_expected: bool

    def __bool__(self) -> bool:
        return self.as_expected or not self.found

    def __str__(self) -> str:
        return f"{self.name}: {self.found or 'not told'}, expected {self.expected}"


def check_machine(folder: Path = Path()) -> list[Check]:
    """All checks of this machine; `folder` lies on the disk that is meant.

    MissingDependency: see `reference_for`.
    """
    return _checked(read_settings(folder))


def off_reference(settings: Settings) -> tuple[str, ...]:
    """What is not set as expected, in words; nothing where it cannot be looked at.

    Without other work, which is no setting: documents have the load average.
    """
    with suppress(MissingDependency):
        checks = _checked(settings)
        return tuple(str(it) for it in checks if not it and it.name != _OTHER_WORK)
    return ()


def _checked(settings: Settings) -> list[Check]:
    return list(checks_of(settings, reference_for(settings.board, settings.gpu)))


def checks_of(settings: Settings, wanted: Reference) -> Iterator[Check]:
    """What `wanted` asks for, in its order."""
    if wanted.power_mode:
        yield Check(
            name="power mode",
            found=settings.power_mode,
            expected=wanted.power_mode.strip("^$"),
            remedy="sudo nvpmodel -p --verbose lists the modes, sudo nvpmodel -m NUMBER takes one",
            as_expected=bool(re.search(wanted.power_mode, settings.power_mode)),
        )
    if wanted.fixed_clocks:
        yield Check(
            name="clocks",
            found={True: "fixed", False: "they vary", None: ""}[settings.clocks_fixed],
            expected="fixed",
            remedy="sudo jetson_clocks",
            as_expected=settings.clocks_fixed is True,
        )
    if wanted.governor:
        yield Check(
            name="CPU governor",
            found=", ".join(sorted(settings.governors)),
            expected=wanted.governor,
            remedy=f"sudo cpupower frequency-set -g {wanted.governor}",
            as_expected=settings.governors == {wanted.governor},
        )
    yield _headroom(settings, wanted)
    remedy = "end what is not needed: a desktop, browsers, other models"
    yield _free("free memory", settings.memory_free_mb, wanted.memory_free_mb, remedy)
    yield _swap(settings, wanted)
    remedy = "remove recordings that were copied away"
    yield _free("free disk", settings.disk_free_mb, wanted.disk_free_mb, remedy)
    yield Check(
        name=_OTHER_WORK,
        found="" if settings.load is None else f"{settings.load:.1f} of {settings.cores} cores",
        expected=f"{wanted.load * settings.cores:.1f} cores at most",
        remedy="look at top, and end or move what works there",
        as_expected=settings.load is not None and settings.load <= wanted.load * settings.cores,
    )
    if settings.gpu and wanted.driver and not wanted.l4t:
        yield _version("NVIDIA driver", settings.driver, wanted.driver, "install a newer driver")
    if wanted.l4t:
        yield _version("L4T", settings.l4t, wanted.l4t, "install a newer JetPack")


def _headroom(settings: Settings, wanted: Reference) -> Check:
    hottest = min(settings.zones, key=lambda zone: zone.headroom, default=None)
    found = ""
    if hottest is not None:
        found = f"{hottest.headroom:.0f} C ({hottest.name}, {hottest.now:.0f} C)"
    return Check(
        name="thermal headroom",
        found=found,
        expected=f"{wanted.headroom_c:.0f} C",
        remedy="let it cool, look at the fan and at what works there",
        as_expected=hottest is not None and hottest.headroom >= wanted.headroom_c,
    )


def _free(name: str, found_mb: float | None, least_mb: float, remedy: str) -> Check:
    return Check(
        name=name,
        found="" if found_mb is None else f"{found_mb:.0f} MB",
        expected=f"{least_mb:.0f} MB",
        remedy=remedy,
        as_expected=(found_mb or 0) >= least_mb,
    )


def _swap(settings: Settings, wanted: Reference) -> Check:
    total, used = settings.swap_mb, settings.swap_used_mb
    found = "" if total is None or used is None else f"{used:.0f} of {total:.0f} MB in use"
    return Check(
        name="swap",
        found="none" if total == 0 else found,
        expected=f"{wanted.swap_share:.0%} in use at most",
        remedy="end what is not needed, or start the machine anew",
        as_expected=total == 0 or (used or 0) <= wanted.swap_share * (total or 0),
    )


def _version(name: str, found: str, oldest: str, remedy: str) -> Check:
    return Check(
        name=name,
        found=found,
        expected=f"{oldest} or newer",
        remedy=remedy,
        as_expected=_numbers(found) >= _numbers(oldest),
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
