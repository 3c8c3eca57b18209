"""What is mapped in the range of a log, and what of it is new to the log.

Theory of operation
-------------------
An unmap takes the dirty bits along with the entries, and nobody is told which there were. While nothing is mapped nothing is
missing; but as soon as something is mapped there again, even the same object at the same place, its pages may differ from any
copy. So what was mapped since a log last looked has to be sent as a whole. Each ``map`` makes a ``Mapping`` of its own, and
who keeps the old ones can tell a new one by its identity: no fields have to differ.

An unmap that timed out has cleared the entries as well, and its mapping stays. The space keeps the starts of these until an
unmap of them succeeds; each further try is one more time-out.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from npt._types import U8Array
from npt.dirty.runlists import RUN, from_runs
from npt.memory.objects import MmioObject
from npt.space.mappings import Mapping
from npt.space.vmspace import VmSpace
from npt.units import PAGE_SHIFT

__all__ = ["Known", "covered", "look", "new_since"]


class Known(NamedTuple):
    """Mappings that a log has taken note of; kept, so that no later one can be taken for one of them."""

    mappings: tuple[Mapping, ...]
    torn: frozenset[int]  # starts of those whose unmap timed out
    timeouts: int  # of the space, so far


def look(space: VmSpace) -> Known:
    """What is mapped now."""
    core = space._core
    core.check_alive()
    with core.exclusion.reading():
        return Known(core.mappings.all(), frozenset(core.untold), core.exclusion.timeouts)


def new_since(before: Known, now: Known) -> list[Mapping]:
    """Mappings that were made, or may have lost their dirty bits, between two looks."""
    torn = now.torn if now.timeouts != before.timeouts else frozenset[int]()
    if now.mappings is before.mappings and not torn:
        return []
    old = {id(mapping) for mapping in before.mappings}
    return [mapping for mapping in now.mappings if id(mapping) not in old or mapping.gpa in torn]


def covered(mappings: Iterable[Mapping], gpa: int, n_pages: int, *, mmio: bool) -> U8Array:
    """Bitmap of the pages of a range that these cover, with device memory or without."""
    end = gpa + (n_pages << PAGE_SHIFT)
    stretches = [
        (max(each.gpa, gpa), (min(each.gpa + each.length, end) - max(each.gpa, gpa)) >> PAGE_SHIFT)
        for each in mappings
        if each.gpa < end and gpa < each.gpa + each.length and (mmio or not isinstance(each.obj, MmioObject))
    ]
    return from_runs(np.array(stretches, RUN), n_pages, base=gpa)
