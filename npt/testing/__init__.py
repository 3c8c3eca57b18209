"""For tests, other people's too: a deterministic scheduler, kernels as their steps, planted faults, invariants.

Examples
--------
>>> from npt.testing import Play, explore, step
>>> def make():
...     seen = []
...     return Play([lambda: step("idle"), lambda: seen.append(1)], finish=lambda: seen.remove(1))
>>> explore(make).complete
True
"""

from npt.testing.check import InvariantViolated, check, violations
from npt.testing.explore import Explored, explore, replay, sample
from npt.testing.failures import (
    DeadlockFound,
    LivelockFound,
    NotFree,
    ScenarioFailed,
    ScheduleMismatch,
    SchedulerStuck,
)  # fmt: skip
from npt.testing.plant import plant
from npt.testing.points import step, timeouts_fired, until
from npt.testing.shootdown import without_shootdown
from npt.testing.stage import Play
from npt.testing.twins import Twins

__all__ = [
    "DeadlockFound",
    "Explored",
    "InvariantViolated",
    "LivelockFound",
    "NotFree",
    "Play",
    "ScenarioFailed",
    "ScheduleMismatch",
    "SchedulerStuck",
    "Twins",
    "check",
    "explore",
    "plant",
    "replay",
    "sample",
    "step",
    "timeouts_fired",
    "until",
    "violations",
    "without_shootdown",
]
