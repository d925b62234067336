"""Memory of the server while 300 MB are uploaded. Run: python -m benchmarks.upload_memory"""

from __future__ import annotations

import io
import struct
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks.api_start import ApiProcess, api_process, environment
from benchmarks.figures import Figure, show

UPLOAD_BYTES = 300_000_000
CHUNK_BYTES = 1_000_000
BOUNDARY = b"benchmark"


def archive() -> Iterator[bytes]:
    """An .npz of one stored array of zeros, made while it is sent."""
    head = _npy_head()
    payload = bytes(CHUNK_BYTES)
    member = zipfile.ZipInfo("images.npy")
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as file, file.open(member, "w") as array:
        array.write(head)
        for _ in range(UPLOAD_BYTES // CHUNK_BYTES):
            array.write(payload)
            yield from sink.take()
    yield from sink.take()


class _Sink(io.RawIOBase):
    """Keeps what was written until it is taken; not seekable, so that the archive is written in one go."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self._pieces.append(bytes(data))  # type: ignore[arg-type, call-overload]
        return len(self._pieces[-1])

    def take(self) -> Iterator[bytes]:
        yield from self._pieces
        self._pieces = []


def _npy_head() -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({UPLOAD_BYTES},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def form() -> Iterator[bytes]:
    """The archive as multipart/form-data."""
    yield b'--%b\r\nContent-Disposition: form-data; name="file"; filename="big.npz"\r\n\r\n' % BOUNDARY
    yield from archive()
    yield b"\r\n--%b--\r\n" % BOUNDARY


def upload(api: ApiProcess) -> tuple[httpx.Response, float]:
    """The answer and the seconds it took."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    started = time.perf_counter()
    answer = httpx.post(f"{api.address}/datasets", content=form(), headers=headers, timeout=120)
    return answer, time.perf_counter() - started


def main() -> int:
    """All figures."""
    with environment() as variables, api_process(variables) as api:
        httpx.get(f"{api.address}/datasets").raise_for_status()
        time.sleep(2)  # what is imported beside the start is not the upload's
        before = api.memory_bytes()
        Path(f"/proc/{api.pid}/clear_refs").write_text("5")  # the peak counts from here
        answer, seconds = upload(api)
        growth_bytes = api.memory_bytes("VmHWM") - before
    size_bytes = answer.json().get("files", [{}])[0].get("size_bytes", 0)
    return show(
        "Upload",
        [
            Figure("accepted", f"{size_bytes / 1e6:.0f} MB", "300 MB", answer.status_code == 201),
            Figure("memory grew by", f"{growth_bytes / 1e6:.1f} MB", "under 50 MB", growth_bytes < 50e6),
            Figure("took", f"{seconds:.2f} s", "under 30 s", seconds < 30),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
