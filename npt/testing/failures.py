"""What the scheduler says when a scenario goes wrong."""

import traceback
from collections.abc import Sequence

__all__ = [
    "DeadlockFound",
    "LivelockFound",
    "NotFree",
    "ScenarioFailed",
    "ScheduleMismatch",
    "SchedulerStuck",
    "Unwind",
    "describe",
]

_SHOWN = 40  # last steps in a message


class ScenarioFailed(AssertionError):
    """A schedule under which a scenario goes wrong; what was raised in it is ``__cause__``.

    Attributes
    ----------
    reason : str
        What went wrong.
    schedule : list of int
        The thread chosen at each scheduling point, up to where the default choice is enough: pass it to ``replay``.
    steps : list of str
        What was done, in order: number of the thread, and what it did.
    timeouts_fired : int
        Timed waits that ended because nothing else could run.
    """

    def __init__(self, reason: str, schedule: Sequence[int] = (), steps: Sequence[str] = (), timeouts_fired: int = 0) -> None:
        super().__init__(reason, schedule, steps, timeouts_fired)
        self.reason, self.schedule, self.steps = reason, list(schedule), list(steps)
        self.timeouts_fired = timeouts_fired

    def __str__(self) -> str:
        omitted = len(self.steps) - _SHOWN
        shown = [f"  ({omitted} steps before)"] if omitted > 0 else []
        shown += [f"  {step}" for step in self.steps[-_SHOWN:]]
        fired = f"\ntime-outs fired: {self.timeouts_fired}" if self.timeouts_fired else ""
        return "\n".join([self.reason + fired, f"schedule: {self.schedule}", "steps:", *shown])


class DeadlockFound(ScenarioFailed):
    """No thread can go on: ``reason`` says what each waits for and who has it."""


class LivelockFound(ScenarioFailed):
    """The threads were still busy after as many steps as a run may take."""


class ScheduleMismatch(ValueError):
    """A schedule names a thread that cannot run at its point: it is another scenario's, or that is not deterministic."""


class SchedulerStuck(RuntimeError):
    """A thread neither came to its next scheduling point nor ended, in real time: it waits for something else."""


class NotFree(RuntimeError):
    """A thread that is not of the scenario would have to wait for one that is."""


class Unwind(BaseException):
    """Internal: ends the other threads of a schedule that has failed."""


def describe(error: BaseException) -> str:
    """Its type and what it says."""
    return "".join(traceback.format_exception_only(error)).strip()
