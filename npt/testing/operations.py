"""What threads do at scheduling points, and the choices made there."""

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from npt.testing.workers import Worker

__all__ = ["END", "START", "Blocker", "Operation", "Point"]


class Operation(NamedTuple):
    """What a thread is about to do."""

    verb: str  # none: to go on, which is no news
    name: Any  # of the object, for people: str, or (name of a tuple of arrays, place in it)
    first: int | None = None  # element of an array
    where: Any = None  # address of the array, or what tells the object from others; None: shared with everybody
    writes: bool = True
    n: int = 1  # elements

    def __str__(self) -> str:
        name = self.name if isinstance(self.name, str) else f"{self.name[0]}[{int(self.name[1])}]"
        if self.first is None:
            return f"{self.verb} {name}".strip()
        last = "" if self.n == 1 else f":{self.first + self.n}"
        return f"{self.verb} {name}[{self.first}{last}]"


class Blocker(Protocol):
    """Why a thread may not be able to go on."""

    def lets(self, worker: "Worker") -> bool:
        """Whether it can now."""

    def explain(self) -> str:
        """What is waited for, and who has it."""


class Point(NamedTuple):
    """One choice of a run."""

    arrived: int  # thread that came to it; -1: one has just begun or ended
    options: tuple[int, ...]  # threads that could go on
    chosen: int
    pending: Operation  # of the thread that arrived
    done: Operation  # of the one chosen

    @property
    def default(self) -> int:
        """Go on with the thread that arrived, if it can, else with the lowest-numbered one that can."""
        return self.arrived if self.arrived in self.options else self.options[0]


START = Operation("start", "")
END = Operation("end", "")
