"""Every simulator beside its paper, row by row. Run: python -m benchmarks.hardware

Parts can be run alone: benchmarks/hardware_<part>.py. What needs a quiet machine, or measures this one, is apart:
hardware_speed and hardware_measured.
"""

from __future__ import annotations

import sys

from benchmarks import (
    hardware_autoq,
    hardware_bismo,
    hardware_bitfusion,
    hardware_comparison,
    hardware_microcontroller,
    hardware_oqa,
    hardware_roofline,
)
from benchmarks.figures import show

PARTS = {
    "BISMO: HAQ's table and Table 3": hardware_bismo,
    "BitFusion: its simulator's results, HAQ's Tables 4 and 5": hardware_bitfusion,
    "OHQ's FPGA core": hardware_oqa,
    "AutoQ's accelerators": hardware_autoq,
    "T4's roofline beside HAWQ-V3's measured layers": hardware_roofline,
    "Microcontrollers beside CMSIS-NN and PULP-NN": hardware_microcontroller,
    "HAQ's edge beside its cloud, the exact policies": hardware_comparison,
}


def main() -> int:
    """All parts; status 1 where any goal is missed."""
    missed = 0
    for title, part in PARTS.items():
        missed |= show(title, part.figures())
        print()
    return missed


if __name__ == "__main__":
    sys.exit(main())
