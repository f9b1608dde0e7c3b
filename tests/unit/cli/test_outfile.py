"""Files that a command writes for others."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from nankeen.cli.outfile import OutFile
from nankeen.model.errors import InputError, KernelError


def test_a_file_appears_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "verify.prom"
    OutFile(str(path)).write(b"all of it")
    assert path.read_bytes() == b"all of it"
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_is_replaced_also_behind_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("old, and longer than the new")
    link.symlink_to(path)
    OutFile(str(link)).write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


def test_it_can_be_written_again_and_again(tmp_path: Path) -> None:
    file = OutFile(str(tmp_path / "file"))
    for text in (b"one", b"two"):
        file.write(text)
        assert (tmp_path / "file").read_bytes() == text


def test_what_is_no_regular_file_is_written_to_and_stays_what_it_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with pipe.open("wb"):  # there is a reader from now on
        file = OutFile(str(pipe))
        file.write(b"text")
        os.close(file._descriptor)
    reader.join()
    assert read == [b"text"]
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "path, reason",
    [
        ("missing/file", "no such file or directory"),
        ("", "it is a directory"),
        ("plain/file", "not a directory"),
        ("pipe", "no such device or address"),
        ("circle", "[Ss]ymlink loop|too many levels"),
        ("nul\0octet", "embedded null"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "plain").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(InputError, match=f"cannot be written: .*({reason})"):
        OutFile(f"{tmp_path}/{path}")


def test_a_directory_that_went_away_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "away"
    directory.mkdir()
    file = OutFile(str(directory / "file"))
    directory.rmdir()
    with pytest.raises(KernelError, match="cannot be written"):
        file.write(b"text")
