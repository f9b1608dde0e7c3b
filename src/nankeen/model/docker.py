"""What Docker's daemon is told, so that its own bridge is the node's part of the pod network.

As variables of a file for systemd, which flannel's mk-docker-opts.sh writes, or as members of Docker's daemon.json:

    DOCKER_OPT_BIP="--bip=10.5.34.1/24"
    DOCKER_OPT_IPMASQ="--ip-masq=false"
    DOCKER_OPT_MTU="--mtu=1450"
    DOCKER_OPTS=" --bip=10.5.34.1/24 --ip-masq=false --mtu=1450"

Docker masquerades where the agent does not. IPv6 is left to the administrator, as flannel leaves it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nankeen.model.errors import InputError
from nankeen.model.subnetenv import SubnetEnv

COMBINED = "DOCKER_OPTS"
Options = Mapping[str, str | int | bool]
"""Docker's options, as daemon.json has them."""
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMES = {"bip": "BIP", "ip-masq": "IPMASQ", "mtu": "MTU"}
"""Docker's options, in the order of their variables."""


def options(env: SubnetEnv, *, ip_masq: bool = True) -> Options:
    """Docker's options, in the types of daemon.json; without `ip_masq`, that one is left to Docker.

    Raises `InputError` where the node's subnet is not told.
    """
    subnet = next((subnet for subnet in env.subnets if subnet.version == 4), None)
    if subnet is None:
        raise InputError("it tells no IPv4 subnet", remedy="Docker's bridge needs one")
    found: dict[str, str | int | bool] = {"bip": f"{subnet.network_address + 1}/{subnet.prefixlen}"}
    if ip_masq and env.ip_masq is not None:
        found["ip-masq"] = not env.ip_masq
    if env.mtu is not None:
        found["mtu"] = env.mtu
    return found


@dataclass(frozen=True, slots=True)
class Layout:
    """Which variables are written."""

    individual: bool = True
    """One for each option."""
    combined: str = COMBINED
    """The name of the one that has all of them; "" for none."""

    def __post_init__(self) -> None:
        if self.combined and not _KEY.fullmatch(self.combined):
            remedy = f"write it as {COMBINED}"
            raise InputError(f"{self.combined!r} is no name of a variable", remedy=remedy)


def variables(found: Options, layout: Layout, before: str = "") -> str:
    """The file's text. `before` are other options that the combined variable has already. Raises `InputError`."""
    if re.search(r'["\\$`]|[^ -~]', before):
        remedy = "it would not come out of a file as it went in"
        raise InputError(f"{before!r} has a quotation mark, or another of the shell's", remedy=remedy)
    words = {_NAMES[name]: f"--{name}={_word(value)}" for name, value in found.items()}
    lines = [f'DOCKER_OPT_{name}="{word}"' for name, word in words.items()] if layout.individual else []
    if layout.combined:
        together = f"{before} " if before else ""
        lines.append(f'{layout.combined}="{together} {" ".join(words.values())}"')
    return "".join(f"{line}\n" for line in lines)


def _word(value: str | int | bool) -> str:  # noqa: FBT001  (a value of JSON)
    return str(value).lower() if isinstance(value, bool) else str(value)


def daemon_json(found: Options, text: str) -> str:
    """Docker's daemon.json with the options in it; all else in `text` stays as it is. Raises `InputError`."""
    try:
        document = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise InputError(f"it is not JSON: {error}", remedy="correct it by hand; nothing was written") from error
    if not isinstance(document, dict):
        raise InputError("it is no JSON object", remedy="correct it by hand; nothing was written")
    return json.dumps({**document, **found}, indent=4, ensure_ascii=False) + "\n"
