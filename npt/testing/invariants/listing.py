"""The list of what always holds, and how a new line gets into it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from npt.testing.inside.space import Inside

__all__ = ["INVARIANTS", "Invariant", "invariant"]

Find = Callable[[Inside], Iterator[str]]


@dataclass(frozen=True)
class Invariant:
    """Something that is true of every space.

    Attributes
    ----------
    name : str
        A few words; what ``InvariantViolated`` calls it.
    sentence : str
        What it says, for people.
    always : bool
        It holds at every instant, also in the middle of a call; the others hold while no call is under way.
    find : callable
        Yields what violates it, a line each.
    """

    name: str
    sentence: str
    always: bool
    find: Find

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


INVARIANTS: list[Invariant] = []
"""All of them, by subject: tables, leaves, mappings, holds, clients, host memory."""


def invariant(name: str, sentence: str, *, always: bool) -> Callable[[Find], Find]:
    """Put a function that finds violations into the list."""

    def enter(find: Find) -> Find:
        INVARIANTS.append(Invariant(name, sentence, always, find))
        return find

    return enter
