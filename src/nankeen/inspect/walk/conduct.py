"""A walk from beginning to end: a lab observed, a packet predicted, sent and looked for, its way told."""

from __future__ import annotations

from nankeen.inspect.walk.account import Account, Evidence, Report
from nankeen.inspect.walk.journey import Journey, back, predict
from nankeen.inspect.walk.prove import prove, tunnel_ports
from nankeen.inspect.walk.request import Request, question
from nankeen.inspect.walk.story import tell
from nankeen.inspect.walk.surroundings import Surroundings, observed
from nankeen.lab import Lab


def conduct(lab: Lab, request: Request, *, reverse: bool = False, probe: bool = True) -> Report:
    """The way of the packet, and with `reverse` that of its answer. This process must be in the lab (`inside`).

    Raises `InputError` for what cannot be asked, and `KernelError`.
    """
    with observed(lab) as around:
        journey = predict(around.world, question(request, around))
        there = _account(journey, around, probe=probe, answers=False)
        answer = back(around.world, journey) if reverse else None
        if answer is None:
            return Report(there)
        return Report(there, _account(answer, around, probe=probe, answers=True))


def _account(journey: Journey, around: Surroundings, *, probe: bool, answers: bool) -> Account:
    story = tell(journey, around)
    if not probe:
        return Account(story)
    states = [host.state for name in journey.hosts if (host := around.world.hosts[name]).state is not None]
    proof = prove(journey, around.namespaces, tunnel_ports(filter(None, states)), answers=answers)
    return Account(story, Evidence.of(proof))
