"""A walk from beginning to end: a lab observed, a packet predicted, sent and looked for, its way told."""

from __future__ import annotations

import errno

from nankeen.forwarding.resolve import Answer
from nankeen.inspect.walk.account import Account, Evidence, Report
from nankeen.inspect.walk.journey import Journey, back, predict
from nankeen.inspect.walk.prove import PATIENCE, prove, tunnel_ports
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import tell
from nankeen.inspect.walk.surroundings import Surroundings, observed
from nankeen.lab import Lab
from nankeen.model.errors import KernelError

_ATTEMPTS = 5
_ASKED_AGAIN = 1.2
"""Seconds within which a host that looks for a neighbour asks again: it may have been asking for a while (RFC 4861 §10,
RETRANS_TIMER; retrans_time_ms of arp(7))."""


def conduct(lab: Lab, request: Request, *, reverse: bool = False, probe: bool = True) -> Report:
    """The way of the packet, and with `reverse` that of its answer. This process must be in the lab (`inside`).

    Tables that change while they are read are read again. Raises `InputError` for what cannot be asked, and
    `KernelError`, also where they change faster than they can be read.
    """
    asked = request.with_drawn() if probe else request
    for _ in range(_ATTEMPTS):
        with observed(lab) as around:
            there = predict(around.world, question(asked, around))
            answer = back(around.world, there)
            journeys = [there] if answer is None or not reverse else [there, answer]
            stories = [tell(journey, around) for journey in journeys]
            changed = around.changed()
            if not changed:
                proofs = [_evidence(journey, answer, around) if probe else None for journey in journeys]
                return Report(*map(Account, stories, proofs))
    problem = "the tables change faster than they can be read"
    raise KernelError(problem, where=", ".join(changed), remedy="try again when it is quiet", errno=errno.EAGAIN)


def _evidence(journey: Journey, answer: Journey | None, around: Surroundings) -> Evidence:
    """Of the way there or of the answer's."""
    states = [around.world.hosts[name].state for name in journey.hosts]
    ports = tunnel_ports(state for state in states if state is not None)
    asks = any(isinstance(hop.entry, Answer) for hop in journey.walk.hops)
    patience = _ASKED_AGAIN if asks else PATIENCE
    if journey is answer:
        return Evidence.of(prove(journey, around.namespaces, ports, answers=True, patience=patience))
    return Evidence.of(prove(journey, around.namespaces, ports, answer=answer, patience=patience))
