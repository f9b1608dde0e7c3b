"""Every error that nankeen raises for a person to read.

    NankeenError
    ├── InputError        a value at the door: a file, a flag, a request, a registry's value
    │   └── ConfigError   the network configuration
    ├── RegistryError     the registry cannot be read or written
    │   ├── LeaseError        no lease can be had: the pool is used up, or the lease was lost
    │   └── RegistryConflict  somebody else wrote first: read again, and decide again
    ├── KernelError       the kernel refused, or cannot do, what was asked
    └── LabError          a lab cannot be built, found or taken down

An error says what is wrong, where, and what to do. It is rendered once, by the command line or by the CNI answer.
"""


class NankeenError(Exception):
    """What is wrong (`problem`), where (`where`: a file, field, device or address), and what to do (`remedy`)."""

    def __init__(self, problem: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(problem, where, remedy)
        self.problem = problem
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        return f"{text}; {self.remedy}" if self.remedy else text


class InputError(NankeenError):
    """A value that came from outside and is not allowed."""


class ConfigError(InputError):
    """The network configuration is not one that a cluster can run with."""


class RegistryError(NankeenError):
    """The registry cannot be read or written."""


class LeaseError(RegistryError):
    """No lease can be had."""


class RegistryConflict(RegistryError):  # noqa: N818  (what happened, not whose fault)
    """What was to be written rests on a revision that is no longer the last."""


class KernelError(NankeenError):
    """The kernel refused, or cannot do, what was asked of it. `errno` is its number, 0 where there is none."""

    def __init__(self, problem: str, *, where: str = "", remedy: str = "", errno: int = 0) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.errno = errno


class LabError(NankeenError):
    """A lab cannot be built, found or taken down."""
