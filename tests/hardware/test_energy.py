"""The energy tables are met at their own widths and sizes, and scale as stated between them."""

from __future__ import annotations

import numpy as np
import pytest

from core.hardware import energy


@pytest.mark.parametrize(("bits", "add", "multiply"), [(8, 0.03, 0.2), (16, 0.05, 1.0), (32, 0.1, 3.1)])
def test_horowitz_is_met_at_its_own_widths(bits: int, add: float, multiply: float) -> None:
    assert energy.add_j(bits) == pytest.approx(add * 1e-12)
    assert energy.multiply_j(bits, bits) == pytest.approx(multiply * 1e-12)


def test_the_derived_multiply_accumulates() -> None:
    assert energy.multiply_accumulate_j(8, 8, 8) == pytest.approx(0.23e-12)
    assert energy.float_multiply_accumulate_j(16) == pytest.approx(1.5e-12)
    assert energy.float_multiply_accumulate_j(32) == pytest.approx(4.6e-12)


def test_a_multiplier_scales_with_the_product_of_its_widths_and_an_adder_with_its_width() -> None:
    assert energy.multiply_j(2, 8) == pytest.approx(energy.multiply_j(4, 4))
    assert energy.multiply_j(4, 8) == pytest.approx(energy.multiply_j(8, 8) / 2)
    assert energy.add_j(64) == pytest.approx(2 * energy.add_j(32))


def test_wider_operands_never_cost_less() -> None:
    bits = np.arange(1, 33)
    joules = energy.multiply_accumulate_j(bits[:, None], bits)
    assert joules.shape == (32, 32)
    assert (np.diff(joules, axis=0) > 0).all()
    assert np.array_equal(joules, joules.T)


def test_banks_are_met_at_their_sizes_and_never_cost_less_when_larger() -> None:
    for bank in energy.CACTI:
        assert energy.sram_read_j_per_bit(bank.size_bytes) == pytest.approx(bank.read_j_per_bit)
        assert energy.sram_write_j_per_bit(bank.size_bytes) == pytest.approx(bank.write_j_per_bit)
    sizes = np.geomspace(64, 1 << 20, 50)
    assert (np.diff(energy.sram_read_j_per_bit(sizes)) >= 0).all()
    assert energy.sram_read_j_per_bit(1 << 20) == energy.sram_read_j_per_bit(16 << 10)


def test_memories_cost_more_the_farther_they_are() -> None:
    bank = energy.sram_read_j_per_bit(16 << 10)
    caches = [energy.HOROWITZ_CACHES_J_PER_BIT[size] for size in (32 << 10, 1 << 20)]
    assert bank < caches[0] < caches[1] < min(joules for joules, _ in energy.DRAM_J_PER_BIT.values())


def test_every_figure_names_its_source() -> None:
    rows = [*energy.HOROWITZ.values(), *energy.ALADDIN.values(), *energy.CACTI]
    assert all(row.source for row in rows)
    assert all(source for _, source in energy.DRAM_J_PER_BIT.values())
