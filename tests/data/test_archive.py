"""Archives from strangers: bombs, paths, links, damage."""

from __future__ import annotations

import resource
import stat
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.archive import Archive
from core.data.limits import DEFAULT_LIMITS, Limits
from core.errors import BitfrontError, BrokenFile, TooLarge, UnsupportedFormat
from tests.data.uploads import zip_file


def read_all(path, limits=DEFAULT_LIMITS):
    with Archive(path, "upload.zip", limits) as archive:
        return {member.filename: archive.read(member) for member in archive.members}


def refused(path, limits=DEFAULT_LIMITS):
    with pytest.raises(BitfrontError) as caught:
        read_all(path, limits)
    assert "upload.zip" in caught.value.message
    assert caught.value.hint
    return caught.value


def with_mode(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_members_are_read_back_and_folders_are_left_out(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a/": b"", "a/b.txt": b"hello", "c": b""})
    assert read_all(path) == {"a/b.txt": b"hello", "c": b""}


@pytest.mark.parametrize(
    "name",
    [
        "../escape.png",
        "a/../../escape.png",
        "/etc/passwd",
        "C:/windows/x.png",
        "..\\escape.png",
        "a\\b.png",
        "a\nb.png",
        "\x1b[2Ja.png",
        "x" * 5000 + ".png",
    ],
)
def test_a_member_with_a_hostile_name_is_refused(tmp_path, name):
    assert isinstance(refused(zip_file(tmp_path / "a.zip", {name: b"x"})), BrokenFile)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    error = refused(zip_file(tmp_path / "a.zip", {with_mode("a.png", kind | 0o777): b"/etc/passwd"}))
    assert "link or a device" in error.message


def test_regular_files_keep_their_unix_mode(tmp_path):
    path = zip_file(tmp_path / "a.zip", {with_mode("a.png", stat.S_IFREG | 0o644): b"x"})
    with Archive(path, "a.zip") as archive:
        assert len(archive.members) == 1


def test_two_members_of_one_name_are_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a.png": b"1", "b.png": b"2"})
    path.write_bytes(path.read_bytes().replace(b"b.png", b"a.png"))
    assert "twice" in refused(path).message


def test_an_archive_that_unpacks_to_more_than_allowed_is_too_large(tmp_path):
    path = zip_file(tmp_path / "a.zip", {f"{i}.npy": b"\0" * 10_000 for i in range(20)})
    assert isinstance(refused(path, Limits(unpacked_bytes=150_000)), TooLarge)


def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"zeros": b"\0" * 10**7})
    assert "times its size" in refused(path, Limits(ratio_from_bytes=10**6)).message


def test_small_labels_may_compress_well(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"labels": b"\0" * 60_000})
    with Archive(path, "a.zip") as archive:
        assert len(archive.read(archive.members[0])) == 60_000


def test_a_member_larger_than_one_file_may_be_is_too_large(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a": b"\1" * 2000})
    assert isinstance(refused(path, Limits(member_bytes=1000)), TooLarge)


def test_a_member_that_holds_more_than_it_declares_is_cut_off_and_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a": b"\1" * 100_000})
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        data[data.find(signature) + at :][:4] = b""
        struct.pack_into("<L", data, data.find(signature) + at, 10)
    path.write_bytes(data)
    assert isinstance(refused(path), BrokenFile)


def test_a_name_cut_off_by_a_nul_is_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a.png#.exe": b"x"})
    path.write_bytes(path.read_bytes().replace(b"#", b"\0"))
    assert isinstance(refused(path), BrokenFile)


def test_members_that_share_bytes_are_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a": b"\1" * 1000, "b": b"\2" * 1000}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    second = data.rfind(b"PK\x01\x02")
    struct.pack_into("<L", data, second + 42, 0)
    path.write_bytes(data)
    assert "overlaps" in refused(path).message


def test_too_many_entries_are_refused_whether_declared_or_not(tmp_path):
    path = zip_file(tmp_path / "a.zip", {f"{i}": b"" for i in range(300)})
    assert isinstance(refused(path, Limits(entries=200)), TooLarge)
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<2H", data, end + 8, 3, 3)
    path.write_bytes(data)
    assert isinstance(refused(path, Limits(entries=200)), TooLarge)
    assert isinstance(refused(path, Limits(entries=400)), BrokenFile)


def test_a_million_entries_cost_neither_memory_nor_time(tmp_path):
    """Written by hand: one local header, and a table of contents that names it a million times."""
    path = tmp_path / "million.zip"
    local = b"PK\x03\x04" + bytes(26)
    entry = b"PK\x01\x02" + bytes(42)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 46 * 10**6, len(local), 0)
    path.write_bytes(local + entry * 10**6 + end)
    code = (
        "import resource, sys, pathlib\n"
        "from core.data.archive import Archive\n"
        "from core.errors import TooLarge\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    Archive(pathlib.Path(sys.argv[1]), 'upload.zip')\n"
        "except TooLarge:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=30
    )
    assert int(done.stdout) < 80_000  # kilobytes; an object per entry would take ten times as much


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_deflate_is_unpacked(tmp_path, compression):
    error = refused(zip_file(tmp_path / "a.zip", {"a.png": b"x" * 100}, compression))
    assert "deflate" in error.message


def test_encrypted_members_are_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a.png": b"x" * 100})
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + at] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path).message


def test_content_before_the_archive_is_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a.png": b"x"})
    path.write_bytes(b"\x7fELF" + path.read_bytes())
    assert isinstance(refused(path), UnsupportedFormat)


def test_content_inside_the_archive_that_no_member_owns_is_refused(tmp_path):
    path = zip_file(tmp_path / "a.zip", {"a.png": b"x"})
    data = path.read_bytes()
    end = data.rfind(b"PK\x05\x06")
    path.write_bytes(data[:end] + b"MZ-foreign" + data[end:])
    assert isinstance(refused(path), BrokenFile)


def test_a_large_archive_with_a_64_bit_table_is_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(70_000):
            archive.writestr(f"{number}", b"")
    with Archive(path, "a.zip") as archive:
        assert len(archive.members) == 70_000


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_read_unchanged_or_refused(tmp_path_factory, data):
    path = zip_file(tmp_path_factory.mktemp("damage") / "a.zip", {"a/b": b"hello" * 100, "c": b"\1" * 50})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content) - 1), "from") :]
    else:
        for _ in range(data.draw(st.integers(1, 4), "changes")):
            content[data.draw(st.integers(0, len(content) - 1), "at")] = data.draw(st.integers(0, 255), "to")
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(BitfrontError):
        assert set(read_all(path).values()) <= {b"hello" * 100, b"\1" * 50}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
