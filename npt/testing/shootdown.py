"""``without_shootdown``: what a dirty log is worth when vCPUs are not made to leave.

Theory of operation
-------------------
A harvest clears D bits in the tables; vCPUs may have cached that they were set. A cached dirty translation lets a vCPU write
without touching the table, so such a write is in no later harvest. The shoot-down is what mends that: a vCPU is kicked, and
comes back with a new generation and an empty TLB. Here it is left out, and everything else is done: generation and epoch are
raised, callbacks run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from npt.space.vmspace import VmSpace

__all__ = ["without_shootdown"]


@contextmanager
def without_shootdown(space: VmSpace) -> Iterator[None]:
    """Context in which no call of one space kicks vCPUs or waits for them: dirty pages get lost.

    For tests that must be able to fail, and to show what a shoot-down is for. A vCPU that leaves on its own still flushes its
    TLB when it comes back. It is an instance's method that is replaced, for all threads; the library pays nothing for it.
    Contexts of one space may be nested.

    Do not unmap while a vCPU is inside: it would go on using frames and tables that are no longer its own.

    Parameters
    ----------
    space
        Which one.

    Examples
    --------
    >>> from npt import PAGE_SIZE, VmSpace
    >>> with VmSpace(1 << 30, track_dirty=True) as space, without_shootdown(space):
    ...     found = space.track_dirty(0, PAGE_SIZE)
    ...     space.generation, space.counters.kicks
    (2, 0)
    """
    exclusion = space._core.exclusion
    methods = vars(exclusion)
    before = methods.get("kick")
    methods["kick"] = _no_kick
    try:
        yield
    finally:
        if before is None:
            methods.pop("kick", None)
        else:
            methods["kick"] = before


def _no_kick() -> None:
    """Nobody is asked to leave."""
