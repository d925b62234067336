"""The part of the C source that is the same for every network."""

from __future__ import annotations

RUNTIME = """\
/* Integer arithmetic of {name}: no float, no heap, no library. C99. */
#ifndef BITFRONT_RUNTIME_H
#define BITFRONT_RUNTIME_H
#include <stdint.h>

/* floor(v / 2^shift), whatever the compiler makes of >> on negative numbers */
static inline int64_t bf_floor_shift(int64_t v, int shift)
{{
    return v >= 0 ? v >> shift : -((-v + (((int64_t)1 << shift) - 1)) >> shift);
}}

static inline int32_t bf_clip(int64_t v, int32_t low, int32_t high)
{{
    return v < low ? low : v > high ? high : (int32_t)v;
}}

/* gemmlowp: high half of the doubled product, rounded; then a shift that rounds halves away from zero */
static inline int64_t bf_fixed_point(int64_t x, int32_t multiplier, int left, int right)
{{
    int64_t shifted = x * ((int64_t)1 << left);
    int64_t product, high, remainder, mask;
    shifted = shifted > INT32_MAX ? INT32_MAX : shifted < INT32_MIN ? INT32_MIN : shifted;
    product = shifted * multiplier;
    high = (product + (product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30))) / ((int64_t)1 << 31);
    mask = ((int64_t)1 << right) - 1;
    remainder = high & mask;
    return bf_floor_shift(high, right) + (remainder > (mask >> 1) + (high < 0 ? 1 : 0) ? 1 : 0);
}}

/* unsigned field of `bits` bits (at most 16) that starts at bit `position`, lowest bit first */
static inline uint32_t bf_field(const uint8_t *data, uint32_t position, uint32_t bits)
{{
    uint32_t value = 0, i;
    for (i = 0; i < bits; i++)
        value |= (uint32_t)((data[(position + i) >> 3] >> ((position + i) & 7u)) & 1u) << i;
    return value;
}}

#endif
"""

MAIN = """\
/* Reads codes of images ({input_type}) from standard input; writes {output_count} int32 for each image. */
#include <stdio.h>
#include "{name}.h"

int main(void)
{{
    static {input_type} input[BITFRONT_INPUT_COUNT];
    static int32_t output[BITFRONT_OUTPUT_COUNT];
    while (fread(input, sizeof input[0], BITFRONT_INPUT_COUNT, stdin) == BITFRONT_INPUT_COUNT) {{
        {name}_run(input, output);
        if (fwrite(output, sizeof output[0], BITFRONT_OUTPUT_COUNT, stdout) != BITFRONT_OUTPUT_COUNT)
            return 1;
    }}
    return 0;
}}
"""
