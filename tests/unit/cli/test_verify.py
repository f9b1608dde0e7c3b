"""The words of `nankeen verify`: each of them wrong once."""

from __future__ import annotations

import pytest

from nankeen.cli import main


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--sample", "0"], "'--sample': 0 is not in the range"),
        (["--sample", "1", "--seed", "-1"], "'--seed': -1 is not in the range"),
        (["--seed", "1"], "--seed needs --sample"),
        (["--watch", "0"], "'0' is not a number of seconds from 0.1 to 86400"),
        (["--watch", "nan"], "'nan' is not a number of seconds"),
        (["--watch", "inf"], "'inf' is not a number of seconds"),
        (["--watch", "\x1b[2J"], r"'\x1b[2J' is not a number of seconds"),
        (["--rounds", "3"], "--rounds needs --watch"),
        (["--watch", "--rounds", "0"], "'--rounds': 0 is not in the range"),
        (["--by", "pods"], "--by needs --watch"),
        (["--watch", "--by", "racks"], "'racks' is not one of 'pods', 'nodes'"),
        (["--listen", "127.0.0.1:9469"], "--listen needs --watch"),
        (["--watch", "--listen", "9469"], "'9469' is no address and port"),
        (["--watch", "--listen", "127.0.0.1:65536"], "'127.0.0.1:65536' is no address and port"),
        (["--watch", "--listen", "127.0.0.1:"], "'127.0.0.1:' is no address and port"),
        (["--watch", "--listen", "::1:9469"], "'::1:9469' is no address and port"),
        (["--watch", "--listen", "[127.0.0.1]:9469"], "'[127.0.0.1]:9469' is no address and port"),
        (["--watch", "--listen", "localhost:9469"], "'localhost:9469' is no address and port"),
        (["--watch", "--junit", "-"], "a watch has no end that JUnit's XML could tell of"),
        (["--json", "--junit", "-"], "--json and --junit - both want standard output"),
        (["--junit", "/nowhere/file"], "/nowhere/file: cannot be written: no such file or directory"),
        (["--metrics", "/nowhere/file"], "/nowhere/file: cannot be written: no such file or directory"),
        (["--watch", "--metrics", "/nowhere/file"], "/nowhere/file: cannot be written: no such file or directory"),
        (["pod1"], "unexpected extra argument (pod1)"),
    ],
    ids=lambda value: " ".join(value).encode("unicode_escape").decode() if isinstance(value, list) else "",
)
def test_a_wrong_word_is_refused_in_one_line(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", *words]) == 2
    out, err = capsys.readouterr()
    assert problem in err
    assert err.startswith("nankeen: ")
    assert err.count("\n") == 1
    assert "\x1b" not in out + err
