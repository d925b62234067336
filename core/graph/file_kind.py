"""What kind of model file this is, decided from its bytes: ONNX and safetensors are read, all else is refused by name.

No torch here and nothing is unpickled, so the API calls this on every upload before anything else sees the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core.errors import BrokenFile, UnsupportedFormat
from core.graph.onnx_container import check_onnx_container, looks_like_onnx
from core.graph.safetensors_container import check_safetensors_container, looks_like_safetensors

ModelKind = Literal["onnx", "safetensors"]

USE_INSTEAD = "export the network to ONNX (torch.onnx.export, tf2onnx), or save its state_dict with safetensors"
HEAD_BYTES = 4096
PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".dill"})
MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "a Keras or HDF5 file"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"<?xml", "an XML file"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x7fELF", "a program"),
)
ZIP_WINDOW = 2**16
ZIP_KINDS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    ((b"/code/", b"/ts_code/", b"constants.pkl"), "a TorchScript archive"),
    ((b"archive_format", b"serialized_exported_program.json"), "a .pt2 archive of torch.export"),
    ((b"model.weights.h5",), "a Keras archive"),
    ((b"data.pkl",), "a PyTorch checkpoint, which is a pickle inside a zip"),
    ((b".npy",), "an .npz archive of arrays"),
)
PICKLE_REASON = "unpickling a file runs whatever code its author put in it, so pickles are never read"


def sniff_model_file(path: Path, filename: str) -> ModelKind:
    """The kind of the file at `path`; `filename` is what its owner called it, and only words the refusal.

    Raises UnsupportedFormat for every other kind, and BrokenFile for a damaged or hostile container.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise BrokenFile(f"{_shown(filename)} is empty", hint="upload it again")
    suffix = Path(filename).suffix.lower()
    _refuse_known(path, filename, head, suffix)
    if looks_like_safetensors(head) or suffix == ".safetensors":
        check_safetensors_container(path)
        return "safetensors"
    if looks_like_onnx(path) or suffix == ".onnx":
        check_onnx_container(path)
        return "onnx"
    _refuse_unknown(filename, head, suffix)
    raise UnsupportedFormat(f"{_shown(filename)} is neither ONNX nor safetensors", hint=USE_INSTEAD)


def _refuse_known(path: Path, filename: str, head: bytes, suffix: str) -> None:
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        _refuse(filename, _zip_kind(path))
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        _refuse(filename, _pickle_kind(head, suffix), PICKLE_REASON)
    for offset, magic, kind in MAGIC:
        if head[offset : offset + len(magic)] == magic:
            _refuse(filename, kind)


def _refuse_unknown(filename: str, head: bytes, suffix: str) -> None:
    if suffix == ".joblib" or b"joblib" in head:
        _refuse(filename, "a joblib file", PICKLE_REASON)
    if suffix in PICKLE_SUFFIXES or head[:1] in {b"(", b"c", b"]", b"}"}:
        _refuse(filename, "probably a pickle", PICKLE_REASON)


def _refuse(filename: str, kind: str, reason: str = "") -> None:
    message = f"{_shown(filename)} is {kind}" + (f"; {reason}" if reason else ", which is not read here")
    raise UnsupportedFormat(message, hint=USE_INSTEAD, kind=kind)


def _pickle_kind(head: bytes, suffix: str) -> str:
    if suffix == ".joblib" or b"joblib" in head:
        return "a joblib file, which is a pickle"
    torch_magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # 0x1950a86a20f9469cfc6c, torch.save before 1.6
    return "a PyTorch checkpoint, which is a pickle" if torch_magic in head[:32] else "a pickle"


def _zip_kind(path: Path) -> str:
    """Told by names near both ends of the archive: its directory is not opened, so it cannot be a bomb."""
    with path.open("rb") as file:
        ends = file.read(ZIP_WINDOW)
        file.seek(-min(ZIP_WINDOW, path.stat().st_size), 2)
        ends += file.read(ZIP_WINDOW)
    for marks, kind in ZIP_KINDS:
        if any(mark in ends for mark in marks):
            return kind
    return "a zip archive"


def _shown(filename: str) -> str:
    name = "".join(character for character in Path(filename).name if character.isprintable())
    return name[:100] or "the file"
