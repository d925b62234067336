"""Joules from the device's own counters: RAPL of the processor's package, NVML of an NVIDIA card.

Both count what the whole package or card draws, whoever makes it. Where there is none, or it may not be read, the
reason is told and energy is absent; nothing is estimated.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from core.hardware.measuring.session import Device

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
LEAST_S = 0.1  # RAPL counts about every millisecond, NVML about every twenty


class EnergyCounter(Protocol):
    """Joules since some moment."""

    @property
    def name(self) -> str:
        """What counts, for people."""

    def joules_between(self, earlier: int, later: int) -> float:
        """From two readings, later minus earlier."""

    def read(self) -> int:
        """The counter now, in its own unit."""


class Rapl:
    """Running average power limit, /sys/class/powercap/intel-rapl:N; AMD's too. Microjoules that wrap around."""

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._ranges = [int((zone / "max_energy_range_uj").read_text(encoding="ascii")) for zone in zones]
        self._last = [0] * len(zones)
        self._turns = [0] * len(zones)
        self.read()

    @property
    def name(self) -> str:
        """The packages that are counted."""
        return f"RAPL, {', '.join((zone / 'name').read_text(encoding='ascii').strip() for zone in self._zones)}"

    def read(self) -> int:
        """Microjoules of all packages; never falls as long as it is read more often than the counter wraps."""
        total = 0
        for position, zone in enumerate(self._zones):
            now = int((zone / "energy_uj").read_text(encoding="ascii"))
            if now < self._last[position]:
                self._turns[position] += 1
            self._last[position] = now
            total += now + self._turns[position] * (self._ranges[position] + 1)
        return total

    def joules_between(self, earlier: int, later: int) -> float:
        """Microjoules to joules."""
        return (later - earlier) * 1e-6


class Nvml:
    """The first NVIDIA card's total energy, in millijoules since the driver was loaded (Volta and newer)."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library, self._card = library, ctypes.c_void_p()
        self._call("nvmlInit_v2")
        self._call("nvmlDeviceGetHandleByIndex_v2", 0, ctypes.byref(self._card))
        self.read()

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise OSError(f"{function} answers {status}")

    @property
    def name(self) -> str:
        """The counter."""
        return "NVML, total energy of the card"

    @property
    def card(self) -> str:
        """The card's model."""
        text = ctypes.create_string_buffer(96)
        self._call("nvmlDeviceGetName", self._card, text, ctypes.c_uint(len(text)))
        return text.value.decode("utf-8", "replace")

    def clock_hz(self) -> float:
        """The clock of its multiprocessors now."""
        megahertz = ctypes.c_uint()
        self._call("nvmlDeviceGetClockInfo", self._card, ctypes.c_int(1), ctypes.byref(megahertz))
        return megahertz.value * 1e6

    def read(self) -> int:
        """Millijoules."""
        millijoules = ctypes.c_ulonglong()
        self._call("nvmlDeviceGetTotalEnergyConsumption", self._card, ctypes.byref(millijoules))
        return millijoules.value

    def joules_between(self, earlier: int, later: int) -> float:
        """Millijoules to joules."""
        return (later - earlier) * 1e-3


def find_counter(device: Device, powercap: Path = POWERCAP) -> tuple[EnergyCounter | None, str]:
    """The device's counter; without one, None and the reason in a sentence."""
    return _nvml() if device == "cuda" else _rapl(powercap)


def _rapl(powercap: Path) -> tuple[EnergyCounter | None, str]:
    zones = sorted(zone for zone in powercap.glob("intel-rapl:*") if zone.name.count(":") == 1)
    if not zones:
        return None, "No energy: this machine has no RAPL counter that can be seen."
    try:
        return Rapl(zones), ""
    except PermissionError:
        return None, "No energy: this user may not read the RAPL counter (energy_uj belongs to root)."
    except (OSError, ValueError) as error:
        return None, f"No energy: the RAPL counter cannot be read ({error.__class__.__name__})."


def _nvml() -> tuple[EnergyCounter | None, str]:
    try:
        return Nvml(ctypes.CDLL(NVML)), ""
    except (OSError, AttributeError) as error:
        return None, f"No energy: NVML cannot be read ({error})."


def joules_of(run: Callable[[], None], counter: EnergyCounter, least_s: float = LEAST_S) -> float | None:
    """Of one run, from as many as fill the time that the counter needs; None where it did not move."""
    runs, begin, earlier = 0, time.perf_counter(), counter.read()
    while runs == 0 or time.perf_counter() - begin < least_s:
        run()
        runs += 1
    joules = counter.joules_between(earlier, counter.read())
    return joules / runs if joules > 0 else None
