"""``check``: whether all is well inside a space.

Slow, obvious code that shares nothing with the engine but its data: a second opinion, to be asked after every test and, by a
scheduler that has stopped all threads, after every step.
"""

from collections.abc import Iterator
from itertools import islice

from npt.space.vmspace import VmSpace
from npt.testing.inside.space import Inside
from npt.testing.invariants import INVARIANTS, Invariant

__all__ = ["INVARIANTS", "Invariant", "InvariantViolated", "check", "violations"]

_SHOWN = 4  # of the lines of one invariant


class InvariantViolated(AssertionError):
    """Something in a space is not as it must be.

    Attributes
    ----------
    found : dict of str to list of str
        What was found, by the name of the invariant.
    """

    def __init__(self, found: dict[str, list[str]]) -> None:
        super().__init__(found)
        self.found = found

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the invariants that are violated."""
        return tuple(self.found)

    def __str__(self) -> str:
        sentences = {one.name: one.sentence for one in INVARIANTS}
        lines = [f"{name}: {sentences.get(name, '')}\n    " + "\n    ".join(seen) for name, seen in self.found.items()]
        return "\n" + "\n".join(lines)


def check(space: VmSpace, *, at_rest: bool = True) -> None:
    """Check the invariants of a space, its tables, its clients and their holds, and the reservoir it draws from.

    Parameters
    ----------
    space
        Also one that is destroyed. To check a reservoir alone, give it a space: ``VmSpace(PAGE_SIZE, reservoir=reservoir)``.
    at_rest
        No call is under way, in any thread. False checks only what holds in the middle of a call, too: while all threads
        that use the space are stopped. Either way no lock is taken and nothing waited for. A call that was interrupted is
        over, but may leave a client kept out until its next look-up, which does no harm and is told.

    Raises
    ------
    InvariantViolated
        With the names, sentences and numbers of all that are violated.

    Examples
    --------
    >>> from npt import Prot, Reservoir, VmSpace
    >>> from npt.testing.check import check
    >>> with Reservoir(1 << 20) as reservoir, reservoir.allocate(1 << 16) as ram, VmSpace(1 << 30) as space:
    ...     space.map(ram, 0, ram.length, Prot.RW)
    ...     check(space)
    """
    found = violations(space, at_rest=at_rest)
    if found:
        raise InvariantViolated(found)


def violations(space: VmSpace, *, at_rest: bool = True) -> dict[str, list[str]]:
    """What ``check`` would raise: lines by the name of the invariant; empty when all is well."""
    inside = Inside(space)
    seen = {one.name: list(_seen(one, inside)) for one in INVARIANTS if at_rest or one.always}
    return {name: lines for name, lines in seen.items() if lines}


def _seen(one: Invariant, inside: Inside) -> Iterator[str]:
    """The first lines of what violates an invariant; that it could not be looked at is one, too."""
    lines = one.find(inside)
    try:
        yield from islice(lines, _SHOWN)
        if next(lines, None) is not None:
            yield "... and more"
    except Exception as error:  # state that is so spoilt that a look fails must not hide what else is wrong
        yield f"could not be looked at: {error!r}"
