"""All that a walk has to say: the story of the way, what a probe proved of it, and the same of the way back."""

from __future__ import annotations

from dataclasses import dataclass

from nankeen.inspect.walk.decision import Decision
from nankeen.inspect.walk.ending import Outcome
from nankeen.inspect.walk.proof import Proof, Proven, Verdict
from nankeen.inspect.walk.story import Story


@dataclass(frozen=True, slots=True)
class Evidence:
    """A proof, as it is shown."""

    proven: tuple[Proven, ...]
    """In the order of the story's points."""
    holds: bool
    outcome: Outcome
    ending: str
    """What tells how the probe ended."""
    instead: str
    """What happened instead of what was predicted; "" where it holds."""
    first: int | None
    """The place of the first point where prediction and reality differ."""
    decisions: tuple[Decision, ...]
    """Those of which one came out otherwise than it was predicted."""

    @classmethod
    def of(cls, proof: Proof) -> Evidence:
        first = proof.first
        return cls(
            proof.proven,
            proof.holds,
            proof.ending.outcome,
            proof.ending.text,
            proof.instead,
            proof.proven.index(first) if first is not None else None,
            tuple(Decision.of(hop) for hop in proof.decisions),
        )

    @property
    def seen(self) -> int:
        """At how many points the probe was seen as predicted."""
        return sum(each.verdict is Verdict.SEEN for each in self.proven)


@dataclass(frozen=True, slots=True)
class Account:
    """One way."""

    story: Story
    evidence: Evidence | None = None
    """None where no probe was sent."""

    @property
    def holds(self) -> bool:
        """Whether the packet arrives, and the probe did what was predicted."""
        return self.story.arrives and (self.evidence is None or self.evidence.holds)


@dataclass(frozen=True, slots=True)
class Report:
    """The way there and, where it was asked for, the way back."""

    there: Account
    back: Account | None = None

    @property
    def accounts(self) -> tuple[Account, ...]:
        return (self.there,) if self.back is None else (self.there, self.back)

    @property
    def holds(self) -> bool:
        return all(account.holds for account in self.accounts)
