"""Makes the files that tests upload, honest and hostile."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image


def image_bytes(mode="RGB", size=(8, 6), kind="PNG", value=None, **options):
    """An encoded image of width x height `size`."""
    rng = np.random.default_rng(0)
    width, height = size
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    elif value is not None:
        image = Image.new(mode, size, value)
    else:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def zip_file(path, members, compression=zipfile.ZIP_DEFLATED):
    """`members`: name, or ZipInfo, to content."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npz_file(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def class_folders(path, classes=("cat", "dog"), per_class=3, prefix="", **image):
    members = {
        f"{prefix}{name}/{index}.png": image_bytes(value=(10 * number, index, 200), **image)
        for number, name in enumerate(classes)
        for index in range(per_class)
    }
    return zip_file(path, members)


def digits(count=100, classes=5, shape=(8, 8, 1), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), (np.arange(count) % classes).astype(np.uint8)


def npy_bytes(array, shape=None, descr=None, version=(1, 0)):
    """An .npy file whose header may announce another shape or type than it holds."""
    header = {
        "descr": descr or array.dtype.str,
        "fortran_order": False,
        "shape": array.shape if shape is None else shape,
    }
    text = repr(header).encode() + b"\n"
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little") + text + array.tobytes()
