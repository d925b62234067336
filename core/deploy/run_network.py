"""Runs the compiled C network on images. Needs numpy only; network.json beside this file says what codes mean.

    python c/run_network.py ./network images.npy    # float32, N x C x H x W, prepared as the network's input

Prints the scores, a row for each image.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Facts = dict[str, Any]


def codes(images: NDArray[np.float32], grid: Facts) -> NDArray[np.int32]:
    """Pixels as the integers that the network reads; float32 arithmetic, halves to even."""
    low, high = grid["low"], grid["high"]
    if grid["thresholds"]:
        position = np.searchsorted(np.array(grid["thresholds"], np.float32), images, side="right")
        table: NDArray[np.int32] = np.array(grid["levels"] or range(low, high + 1), np.int32)[position]
        return table
    steps = (images - np.float32(grid["offset"])) / np.float32(grid["scale"])
    whole = np.ceil(steps) if grid["rounding"] == "up" else np.rint(steps)
    found: NDArray[np.int32] = np.clip(whole + np.float32(grid["zero_point"]), low, high).astype(np.int32)
    return found


def run(program: str, images: NDArray[np.float32], facts: Facts) -> NDArray[np.float64]:
    """Scores, N x outputs."""
    sent = codes(images, facts["input"]).astype(facts["input_type"]).tobytes()
    done = subprocess.run([program], input=sent, capture_output=True, check=True)
    integers: NDArray[np.int32] = np.frombuffer(done.stdout, np.int32).reshape(len(images), -1)
    scores: NDArray[np.float64] = integers * np.float64(facts["output_scale"])
    return scores


def main() -> None:
    """Reads the arguments; says what is wrong with the images."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    facts = json.loads(Path(__file__).with_name("network.json").read_text(encoding="utf-8"))
    images = np.load(sys.argv[2], allow_pickle=False)
    if list(images.shape[1:]) != facts["input_shape"]:
        sys.exit(f"the images are {list(images.shape)}; the network reads N x {facts['input_shape']}")
    np.savetxt(sys.stdout, run(str(Path(sys.argv[1]).resolve()), images.astype(np.float32), facts), fmt="%.9g")


if __name__ == "__main__":
    main()
