"""Compiling the client, and finding it again."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from nankeen.cni import build, compiled
from nankeen.model.errors import NankeenError

REFUSING = "#!/bin/sh\necho no libc.a >&2\nexit 1\n"


def making(program: str) -> str:
    """A compiler that makes this program of everything."""
    return f"""#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo '{program}' > "$2"
chmod +x "$2"
"""


GOOD = making("#!/bin/sh\necho 1.1.0 >&2")
SILENT = making("#!/bin/sh")
FOREIGN = making("\x7fELF")


@pytest.fixture
def compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that alone is searched for compilers; what they need is linked into it."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "chmod").symlink_to("/bin/chmod")
    monkeypatch.setenv("PATH", str(directory))
    return directory


def put(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(script)
    (directory / name).chmod(0o755)


def test_what_was_built_is_found_and_not_built_again(compilers: Path, tmp_path: Path) -> None:
    put(compilers, "cc", GOOD)
    assert compiled.find(tmp_path / "cache") is None
    program = build.build(tmp_path / "cache")
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert compiled.find(tmp_path / "cache") == program
    (compilers / "cc").unlink()
    assert build.build(tmp_path / "cache") == program
    assert list(program.parent.iterdir()) == [program]


def test_another_source_is_another_client(compilers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(compilers, "cc", GOOD)
    before = build.build(tmp_path)
    (tmp_path / "client.c").write_text("int main(void) {}")
    monkeypatch.setattr(compiled, "SOURCE", tmp_path / "client.c")
    assert compiled.find(tmp_path) is None
    assert build.build(tmp_path) != before


def test_a_client_with_other_times_is_not_taken_for_the_real_one(compilers: Path, tmp_path: Path) -> None:
    put(compilers, "cc", GOOD)
    assert build.build(tmp_path, ["SECONDS=1"]).is_file()
    assert compiled.find(tmp_path) is None


def test_a_compiler_that_cannot_is_followed_by_the_next(compilers: Path, tmp_path: Path) -> None:
    put(compilers, "cc", REFUSING)
    put(compilers, "gcc", SILENT)
    put(compilers, "clang", GOOD)
    assert build.build(tmp_path / "cache").is_file()


def test_where_no_compiler_can_each_is_told_of_and_nothing_is_left(compilers: Path, tmp_path: Path) -> None:
    put(compilers, "cc", REFUSING)
    put(compilers, "gcc", SILENT)
    put(compilers, "clang", FOREIGN)
    with pytest.raises(NankeenError) as caught:
        build.build(tmp_path / "cache")
    assert caught.value.problem == (
        f"{compilers}/cc: no libc.a; {compilers}/gcc: what it makes does not run; "
        f"{compilers}/clang: what it makes does not run"
    )
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.usefixtures("compilers")
def test_the_command_without_a_compiler_says_what_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "cache", lambda: tmp_path / "cache")
    assert build.main() == 1
    assert (
        capsys.readouterr().err == "the CNI executable will be the one in Python: no C compiler; such as Debian's gcc\n"
    )


def test_the_command_says_where_the_client_is(
    compilers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(compilers, "cc", GOOD)
    monkeypatch.setattr(compiled, "cache", lambda: tmp_path / "cache")
    assert build.main() == 0
    assert capsys.readouterr().out == f"{compiled.find()}\n"


def test_the_cache_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/venv")
    assert compiled.cache() == Path("/venv/libexec")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert compiled.cache() == Path("/caches/nankeen")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert compiled.cache() == Path("/home/ada/.cache/nankeen")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user without a home
    assert compiled.cache() is None
    with pytest.raises(NankeenError, match="no place"):
        build.build()
