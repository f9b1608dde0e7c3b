"""flanneld's flags and environment: every one of them, on `flanneld` and on `nankeen agent`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from socket import gethostname

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nankeen import __version__
from nankeen.agent import daemon
from nankeen.agent.settings import Settings
from nankeen.agent.wish import Wish
from nankeen.cli import flanneld, main
from nankeen.cli.flannelflags import flannel_flags
from nankeen.registry.etcd_settings import EtcdSettings

ROOT = Path(__file__).parents[3]
DEFAULTS = Settings(gethostname(), EtcdSettings())
Start = Callable[..., Settings]


def etcd(**fields: object) -> dict[str, object]:
    return {"registry": EtcdSettings(**fields)}  # type: ignore[arg-type]


def wish(*arguments: object) -> dict[str, object]:
    return {"underlay": Wish.parse(*arguments)}  # type: ignore[arg-type]


FLAGS: Sequence[tuple[str, str, Mapping[str, object]]] = [
    ("etcd-endpoints", "http://a:1,https://b:2", etcd(endpoints=("http://a:1", "https://b:2"))),
    ("etcd-prefix", "/x", etcd(prefix="/x")),
    ("etcd-cafile", "/ca", etcd(cafile=Path("/ca"))),
    ("etcd-keyfile", "/key", etcd(keyfile=Path("/key"))),
    ("etcd-certfile", "/cert", etcd(certfile=Path("/cert"))),
    ("etcd-username", "u", etcd(username="u")),
    ("subnet-lease-renew-margin", "1", {"renew_margin": 60.0}),
    ("subnet-lease-renew-margin", "1439", {"renew_margin": 1439 * 60.0}),
    ("kube-subnet-mgr", "false", {}),
    ("kube-api-url", "http://api", {}),
    ("kubeconfig-file", "/kube", {}),
    ("kube-annotation-prefix", "a/b", {}),
    ("net-config-path", "/net-conf.json", {}),
    ("set-node-network-unavailable", "false", {}),
    ("iface", "eth0", wish(["eth0"])),
    ("iface-regex", "^eth[0-9] x", wish([], ["^eth[0-9] x"])),
    ("iface-can-reach", "192.0.2.1", wish([], [], "192.0.2.1")),
    ("public-ip", "203.0.113.7", wish([], [], "", "203.0.113.7")),
    ("public-ipv6", "2001:db8::7", wish([], [], "", "", "2001:db8::7")),
    ("ip-masq", "true", {"ip_masq": True}),
    ("ip-masq-fully-random-disable", "true", {"ip_masq_fully_random": False}),
    ("iptables-forward-rules", "false", {"forward_rules": False}),
    ("iptables-resync", "7", {"audit_seconds": 7}),
    ("ip-blackhole-route", "1", {"blackhole": True}),
    ("subnet-file", "/run/x.env", {"subnet_file": Path("/run/x.env")}),
    ("healthz-ip", "::1", {"health_address": ip_address("::1")}),
    ("healthz-port", "8081", {"health_port": 8081}),
    ("v", "1", {}),
    ("v", "2", {"log_level": logging.DEBUG}),
    ("vmodule", "a=1", {}),
    ("log_backtrace_at", "a:1", {}),
]
"""Each flag, a value, and what the agent is told by it that it is not told without."""
BOOLEANS = {name for name, value, _ in FLAGS if value in {"true", "false"}} | {"ip-blackhole-route", "version"}
TABLE = pytest.mark.parametrize("name, value, told", FLAGS, ids=[f"{name}={value}" for name, value, _ in FLAGS])


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing."""
    for name in [*os.environ]:
        if name.startswith(("FLANNELD_", "NANKEEN_")) or name in {"NODE_NAME", "EVENT_QUEUE_DEPTH"}:
            monkeypatch.delenv(name)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What agents were started with, had they been."""
    found: list[Settings] = []
    monkeypatch.setattr(daemon, "run", found.append)
    return found


@pytest.fixture(params=["flanneld", "nankeen flanneld", "nankeen agent"])
def start(request: pytest.FixtureRequest, started: list[Settings]) -> Start:
    """Runs a command line; returns what the agent was told, as flanneld would be by its defaults and these words."""
    words: Sequence[str] = request.param.split()[1:]

    def run(*flags: str) -> Settings:
        given = [*words, *flags]
        named = [*flags, *(name.lower() for name, value in os.environ.items() if value)]
        if words == ["agent"] and not any("etcd" in name for name in named):
            given.append("--etcd-prefix=/coreos.com/network")
        assert (main(given) if words else flanneld.main(given)) == 0
        return started.pop()

    return run


MARGIN = "--subnet-lease-renew-margin"


def variable(name: str) -> str:
    return f"FLANNELD_{name.upper().replace('-', '_')}"


def test_the_defaults_are_flannels(start: Start) -> None:
    assert start() == DEFAULTS
    assert (DEFAULTS.renew_margin, DEFAULTS.health_port, str(DEFAULTS.health_address)) == (3600, 0, "0.0.0.0")  # noqa: S104
    assert isinstance(DEFAULTS.registry, EtcdSettings)
    assert DEFAULTS.registry.endpoints == ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
    assert DEFAULTS.registry.prefix == "/coreos.com/network"


@TABLE
def test_a_flag_is_taken_in_each_of_gos_forms(start: Start, name: str, value: str, told: Mapping[str, object]) -> None:
    wanted = replace(DEFAULTS, **told)  # type: ignore[arg-type]
    assert start(f"-{name}={value}") == wanted
    assert start(f"--{name}={value}") == wanted
    if name not in BOOLEANS:
        assert start(f"-{name}", value) == wanted
        assert start(f"--{name}", value, "-v=0" if name != "v" else "-vmodule=") == wanted


@TABLE
def test_a_flag_is_taken_from_the_environment(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: Mapping[str, object]
) -> None:
    monkeypatch.setenv(variable(name), value)
    assert start() == replace(DEFAULTS, **told)  # type: ignore[arg-type]


@TABLE
def test_an_empty_variable_is_as_good_as_none(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: Mapping[str, object]
) -> None:
    monkeypatch.setenv(variable(name), "")
    assert start() == DEFAULTS
    assert start(f"-{name}={value}") == replace(DEFAULTS, **told)  # type: ignore[arg-type]


@TABLE
def test_the_command_line_goes_before_the_environment(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: Mapping[str, object]
) -> None:
    monkeypatch.setenv(variable(name), "no value that any flag takes: é")
    assert start(f"--{name}={value}") == replace(DEFAULTS, **told)  # type: ignore[arg-type]


def test_every_flag_is_in_the_table() -> None:
    here = {name for name, _, _ in FLAGS} | {"version", "etcd-password"}
    assert here == {flag.flag for flag in flannel_flags()}


@pytest.mark.parametrize("name", sorted(BOOLEANS - {"version", "kube-subnet-mgr"}))
@pytest.mark.parametrize(
    "word, truth",
    [("", True), *((f"={word}", True) for word in ("1", "t", "T", "true", "TRUE", "True"))]
    + [(f"={word}", False) for word in ("0", "f", "F", "false", "FALSE", "False")],
)
def test_a_boolean_flag_takes_gos_words(started: list[Settings], name: str, word: str, *, truth: bool) -> None:
    assert flanneld.main([f"-{name}{word}"]) == flanneld.main([f"--{name}={str(truth).lower()}"]) == 0
    assert started[0] == started[1]


def test_a_boolean_flag_leaves_the_next_word_alone(start: Start) -> None:
    assert start("-ip-masq", "-iface", "eth0") == replace(DEFAULTS, ip_masq=True, underlay=Wish.parse(["eth0"]))


def test_no_before_a_boolean_flag_is_false(start: Start) -> None:
    assert start("--no-iptables-forward-rules", "--no-cni") == replace(DEFAULTS, forward_rules=False, cni=False)


@pytest.mark.parametrize("text, number", [("10", 10), ("0x0A", 10), ("012", 10), ("0b1010", 10), ("+10", 10)])
def test_a_number_is_read_as_go_reads_it(started: list[Settings], text: str, number: int) -> None:
    assert flanneld.main(["-healthz-port", text]) == 0
    assert started[0].health_port == number


def test_the_last_of_two_words_for_a_flag_counts_and_a_list_grows(start: Start) -> None:
    told = start(
        "-public-ip=192.0.2.1", "-iface=a", "-public-ip", "192.0.2.2", "--iface", "b", "-iface-regex=c", "-iface="
    )
    assert told.underlay == Wish.parse(["a", "b"], ["c"], "", "192.0.2.2")


def test_a_list_takes_one_value_from_the_environment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLANNELD_IFACE_REGEX", "^eth 0, eth1")
    assert start().underlay.patterns[0].pattern == "^eth 0, eth1"
    assert [pattern.pattern for pattern in start("-iface-regex", "x").underlay.patterns] == ["x"]


def test_a_value_may_look_like_a_flag(start: Start) -> None:
    assert start("-etcd-prefix", "-x") == replace(DEFAULTS, **etcd(prefix="-x"))  # type: ignore[arg-type]


def test_the_password_of_etcd_goes_with_a_user(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLANNELD_ETCD_PASSWORD", "secret")
    assert start("-etcd-username=u") == replace(DEFAULTS, **etcd(username="u", password="secret"))  # type: ignore[arg-type]  # noqa: S106


def test_the_nodes_name_is_asked_of_the_environment(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "node7")
    assert start().node == "node7"
    assert start("--node-name=node8").node == "node8"


def test_flannels_other_variables_are_taken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_QUEUE_DEPTH", "5000")
    monkeypatch.setenv("CONT_WHEN_CACHE_NOT_READY", "true")
    assert start() == DEFAULTS


@pytest.mark.parametrize(
    "flags, environment, said, status",
    [
        (["-subnet-lease-renew-margin=0"], {}, f"{MARGIN}: 0 is not allowed; give a number from 1 to 1439", 1),
        (["-subnet-lease-renew-margin=1440"], {}, "--subnet-lease-renew-margin: 1440 is not allowed", 1),
        ([], {variable(MARGIN[2:]): "1440"}, f"${variable(MARGIN[2:])}: 1440 is not allowed", 1),
        (["-subnet-lease-renew-margin=x"], {}, "--subnet-lease-renew-margin: 'x' is not a whole number", 2),
        (["-healthz-port=65536"], {}, "--healthz-port: 65536 is not allowed; give a number from 0 to 65535", 1),
        (["-healthz-ip=node"], {}, "--healthz-ip: 'node' is not an IP address", 1),
        (["-iptables-resync=0"], {}, "--iptables-resync: 0 is not allowed; give a number of at least 1", 1),
        ([], {"FLANNELD_IP_MASQ": "yes"}, "$FLANNELD_IP_MASQ: 'yes' is neither true nor false", 2),
        (["-ip-masq=yes"], {}, "--ip-masq: 'yes' is neither true nor false", 2),
        (["-ip-masq", "true"], {}, "'true' is no flag, and a boolean one takes its value after =", 2),
        (["--no-ip-masq=true"], {}, "--no-ip-masq takes no value; write --ip-masq=true", 2),
        (["-iface"], {}, "the flag --iface needs a value", 2),
        (["-ifcae", "eth0"], {}, "No such option '--ifcae'. (Did you mean one of: '--iface'", 2),
        (["---iface=eth0"], {}, "'---iface=eth0' is no flag", 2),
        (["-=x"], {}, "'-=x' is no flag", 2),
        (["-public-ip=fd00::1"], {}, "--public-ip: 'fd00::1' is not an IPv4 address", 1),
        ([], {"FLANNELD_PUBLIC_IP": "x"}, "$FLANNELD_PUBLIC_IP: 'x' is not an IPv4 address", 1),
        (["-kube-subnet-mgr"], {}, "--kube-subnet-mgr: leases in Kubernetes are not built yet", 1),
        ([], {"FLANNELD_KUBE_SUBNET_MGR": "true"}, "$FLANNELD_KUBE_SUBNET_MGR: leases in Kubernetes", 1),
        (["-etcd-endpoints=nowhere"], {}, "--etcd-endpoints: 'nowhere' is no endpoint of etcd", 1),
        (["-etcd-prefix=/"], {}, "--etcd-prefix: '/' is no prefix", 1),
        ([], {"FLANNELD_ETCD_PASSWORD": "x"}, "$FLANNELD_ETCD_PASSWORD: a password for etcd without a user", 1),
        (["-etcd-endpoints=https://a:1", "-etcd-keyfile=/x"], {}, "--etcd-certfile: of the key and certificate", 1),
        ([], {"EVENT_QUEUE_DEPTH": "many"}, "$EVENT_QUEUE_DEPTH: 'many' is not a whole number", 1),
        (["--registry=sqlite:///x", "-etcd-prefix=/x"], {}, "it names one registry, and --etcd-prefix another", 1),
        (["--no-masquerade=10"], {}, "--no-masquerade: '10' is not an IP network", 1),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_one_line(
    started: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    flags: list[str], environment: Mapping[str, str], said: str, status: int,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert flanneld.main(flags) == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert main(["agent", *flags]) == 2
    assert not started


def test_an_agent_without_a_registry_is_told_which_there_are(
    started: list[Settings], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["agent"]) == 2
    assert "no registry is named; say --registry sqlite:///" in capsys.readouterr().err
    monkeypatch.setenv("NANKEEN_REGISTRY", "sqlite:///x")
    assert main(["agent"]) == 0
    assert started[0].registry == "sqlite:///x"


WORDS = [f"-{name}={value}" for name, value, _ in FLAGS] + [f"--{name}" for name, _, _ in FLAGS]


@given(
    st.lists(st.sampled_from([*WORDS, "--", "-", "---x", "--=", "--no-v", "true"]) | st.text(max_size=6), max_size=5)
)
@settings(max_examples=100, deadline=None)
def test_no_command_line_ends_in_a_defect(words: list[str]) -> None:
    found: list[Settings] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "run", found.append)
        status = flanneld.main(words)
    assert status in {0, 1, 2}
    assert len(found) == (0 if status or any(word in {"-h", "-help", "--help", "--h"} for word in words) else 1)


def test_the_version_is_printed_on_standard_error(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(IndexError):  # none was started
        start("--version")
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{__version__}\n")


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_help_names_every_flag(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert flanneld.main([word]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: flanneld ")
    assert not [flag.flag for flag in flannel_flags() if f"--{flag.flag}" not in out]


def test_the_program_flanneld_is_installed_and_reads_its_words(tmp_path: Path) -> None:
    """As an installer makes it: a file of this name that calls what the project says."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["flanneld"].partition(":")
    program = tmp_path / "flanneld"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    program.chmod(0o755)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")}
        return subprocess.run([program, *words], check=False, capture_output=True, text=True, env=environment)

    words = ["-etcd-prefix=/x", "-iface", "eth0", "--ip-masq", "-v", "2"]
    assert "Usage: flanneld " in run(*words, "--help").stdout
    assert run(*words, "-version").stderr == f"{__version__}\n"
    wrong = run(*words, "-subnet-lease-renew-margin", "1440")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "1440 is not allowed" in wrong.stderr
