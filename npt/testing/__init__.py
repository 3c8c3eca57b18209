"""For tests, other people's too.

- ``Oracle``: the contract as a slow, obvious model; ``hardware_walk``: what a processor makes of the tables, from the manuals.
- ``check``: whether all is well inside a space.
- ``conform``, ``Recorder``: calls as traces, recorded from any implementation and asked of any other; ``fuzz``: random ones.
- ``npt.testing.strategies``, ``npt.testing.machines``: for Hypothesis.
- ``explore``: a deterministic scheduler of threads, with kernels as their steps; ``plant``: faults.

Examples
--------
>>> from npt.testing import Play, explore, step
>>> def make():
...     seen = []
...     return Play([lambda: step("idle"), lambda: seen.append(1)], finish=lambda: seen.remove(1))
>>> explore(make).complete
True
"""

from npt.testing.calls.call import Call
from npt.testing.calls.duel import Differ, Duel
from npt.testing.calls.player import Implementation, NotThere, Player
from npt.testing.calls.recorder import Recorder
from npt.testing.calls.trace import Line, Mismatch, Trace, conform
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
from npt.testing.fuzzing import Fuzzed, fuzz, fuzz_bytes
from npt.testing.hardware import HardwareWalk, hardware_walk
from npt.testing.oracle import Oracle
from npt.testing.plant import plant
from npt.testing.points import step, timeouts_fired, until
from npt.testing.shootdown import without_shootdown
from npt.testing.stage import Play
from npt.testing.twins import Twins

__all__ = [
    "Call",
    "DeadlockFound",
    "Differ",
    "Duel",
    "Explored",
    "Fuzzed",
    "HardwareWalk",
    "Implementation",
    "InvariantViolated",
    "Line",
    "LivelockFound",
    "Mismatch",
    "NotFree",
    "NotThere",
    "Oracle",
    "Play",
    "Player",
    "Recorder",
    "ScenarioFailed",
    "ScheduleMismatch",
    "SchedulerStuck",
    "Trace",
    "Twins",
    "check",
    "conform",
    "explore",
    "fuzz",
    "fuzz_bytes",
    "hardware_walk",
    "plant",
    "replay",
    "sample",
    "step",
    "timeouts_fired",
    "until",
    "violations",
    "without_shootdown",
]
