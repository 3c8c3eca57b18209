"""Two implementations side by side: the same calls to both, and everything that differs."""

from npt.space.vmspace import VmSpace
from npt.testing.calls.call import Call
from npt.testing.calls.picture import differences, picture
from npt.testing.calls.player import Implementation, Outcome, Player
from npt.testing.check import violations

__all__ = ["Differ", "Duel"]


class Differ(AssertionError):
    """Two implementations differ.

    Attributes
    ----------
    calls : list of Call
        All that were made, the last one included.
    """

    def __init__(self, calls: list[Call], lines: list[str]) -> None:
        super().__init__(calls, lines)
        self.calls, self.lines = calls, lines

    def __str__(self) -> str:
        return f"after call {len(self.calls) - 1}: {self.calls[-1]}\n    " + "\n    ".join(self.lines[:8])


class Duel:
    """A subject that is to answer as a reference does.

    Parameters
    ----------
    reference, subject
        Two implementations of the contract; they are to keep nothing themselves, so that all can be made anew.

    Attributes
    ----------
    reference, subject : Player
        What they have made.
    calls : list of Call
        All that were made so far.
    """

    def __init__(self, reference: Implementation, subject: Implementation) -> None:
        self._implementations = reference, subject
        self.reference, self.subject = Player(reference), Player(subject)
        self.calls: list[Call] = []

    def play(self, call: Call) -> Outcome:
        """Make a call of both; what came of it.

        Raises
        ------
        Differ
            Not the same.
        """
        self.calls.append(call)
        expected, got = self.reference.answer(call), self.subject.answer(call)
        if expected != got:
            raise Differ(self.calls, [f"expected {expected!r}", f"got      {got!r}"])
        return expected

    def again(self, calls: list[Call]) -> "Differ | None":
        """Make these calls of both, from the beginning, and look at everything in the end: what differs first, if anything."""
        duel = Duel(*self._implementations)
        try:
            for call in calls:
                duel.play(call)
            duel.compare()
        except Differ as found:
            return found
        return None

    def compare(self) -> int:
        """Look at all that both have made, and inside the subject's spaces, if they are ``npt``'s; how many facts agree.

        Raises
        ------
        Differ
            Something does not look the same, or is not well inside.
        """
        expected, got = picture(self.reference), picture(self.subject)
        lines = differences(expected, got)
        for name, thing in self.subject.things.items():
            if isinstance(thing, VmSpace):
                lines += [f"{name}: {which}: {line}" for which, found in violations(thing).items() for line in found]
        if lines:
            raise Differ(self.calls, lines)
        return len(expected)
