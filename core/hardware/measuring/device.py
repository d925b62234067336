"""What this machine is, in the words of its own kernel and driver."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPU_FACTS = Path("/proc/cpuinfo")
CPU_CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
INTEGER_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "asimddp", "i8mm")


def cpu_fact(name: str, facts: Path = CPU_FACTS) -> str:
    """A line of /proc/cpuinfo, of the first processor; empty where there is none."""
    if not facts.exists():
        return ""
    lines = facts.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def cpu_name() -> str:
    """The processor's model."""
    return cpu_fact("model name") or platform.processor() or platform.machine()


def integer_instructions() -> tuple[str, ...]:
    """The processor's instructions for products of 8-bit integers."""
    flags = f"{cpu_fact('flags')} {cpu_fact('Features')}".split()
    return tuple(name for name in INTEGER_INSTRUCTIONS if name in flags)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_clock_hz(clock: Path = CPU_CLOCK, facts: Path = CPU_FACTS) -> float | None:
    """The clock of the first core now, from cpufreq (kHz) or /proc/cpuinfo (MHz); None where neither tells it."""
    try:
        if clock.exists():
            return float(clock.read_text(encoding="ascii")) * 1e3
        return float(cpu_fact("cpu MHz", facts)) * 1e6
    except (OSError, ValueError):
        return None
