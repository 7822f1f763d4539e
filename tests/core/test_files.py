"""Files are there whole or not at all."""

import os
import signal
import stat

import pytest

from core.files import file_sha256, read_checked, write_atomically


def test_what_was_written_is_there_with_its_digest(tmp_path):
    digest = write_atomically(tmp_path / "new" / "a", b"content")
    assert (tmp_path / "new" / "a").read_bytes() == b"content"
    assert file_sha256(tmp_path / "new" / "a") == digest
    assert read_checked(tmp_path / "new" / "a", digest) == b"content"


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o660), (0o022, 0o640), (0o077, 0o600)])
def test_whatever_the_umask_others_get_no_right(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_function_may_write_in_pieces(tmp_path):
    def write(file):
        file.write(b"con")
        file.write(b"tent")

    assert write_atomically(tmp_path / "a", write) == write_atomically(tmp_path / "b", b"content")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_atomically(tmp_path / "a", b"old")

    def fail(file):
        file.write(b"new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "a", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_killed_while_writing_the_old_file_is_whole(tmp_path):
    write_atomically(tmp_path / "a", b"old")

    def die(file):
        file.write(b"new")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        write_atomically(tmp_path / "a", die)
    os.waitpid(child, 0)
    assert (tmp_path / "a").read_bytes() == b"old"


def test_changed_bytes_are_refused_with_the_file_and_the_remedy(tmp_path):
    digest = write_atomically(tmp_path / "a", b"content")
    (tmp_path / "a").write_bytes(b"c0ntent")
    with pytest.raises(ValueError, match=r"a: its bytes have SHA-256 .* restore it"):
        read_checked(tmp_path / "a", digest)
