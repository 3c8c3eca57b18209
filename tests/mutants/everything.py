"""All mutants, in the order of the table."""

from tests.mutants.mutant import Mutant
from tests.mutants.planted import bitmaps, formats, logs, marks, memory, protocol, space, statistics, studies, tables, vcpus

__all__ = ["MUTANTS"]

_LISTS = (formats, tables, marks, bitmaps, memory, space, protocol, vcpus, logs, statistics, studies)

MUTANTS: tuple[Mutant, ...] = tuple(mutant for one in _LISTS for mutant in one.MUTANTS)
