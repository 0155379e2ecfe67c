"""What the meters read at one time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sample", "metered_w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was read at one time; None for what nothing here tells."""

    time_s: float
    """Since measuring began."""
    rss_mb: float | None = None
    """Resident memory of the process, MB of 1e6 bytes."""
    device_mb: float | None = None
    """Memory in use on the device, by every process; on a Jetson all of its one memory."""
    package_w: float | None = None
    """Power of the CPU packages."""
    gpu_w: float | None = None
    """Power of the GPU's board."""
    module_w: float | None = None
    """Power of a Jetson's module, CPU and GPU among it."""
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    temperature_c: float | None = None
    """Of the hottest place that is measured."""
    other_cores: float | None = None
    """CPU time over time of everything but this process."""
    stolen_cores: float | None = None
    """CPU time over time that the hypervisor gave to other machines."""

    @property
    def power_w(self) -> float | None:
        """All that is metered."""
        return metered_w(self.package_w, self.gpu_w, self.module_w)


def metered_w(package_w: float | None, gpu_w: float | None, module_w: float | None) -> float | None:
    """The power of all that is metered; a module's is that of everything on it."""
    parts = [watts for watts in (package_w, gpu_w) if watts is not None]
    return module_w if module_w is not None else sum(parts) if parts else None
