"""What a planted fault is, and which schedule finds it.

The schedules are kept in ``schedules.json``. Step numbers shift when the code changes: then renew them, with
``python -m tests.interleavings.renew``.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from npt.testing import ScenarioFailed, Twins, plant
from tests.interleavings.scenario import Edit, variant

__all__ = ["KEPT", "Fault", "kept"]

KEPT = Path(__file__).with_name("schedules.json")


@dataclass(frozen=True)
class Fault:
    """Something that is done wrongly.

    Attributes
    ----------
    name : str
        What ``schedules.json`` calls it.
    sentence : str
        What it is.
    variant : str
        Scenario that finds it.
    says : str
        Pattern of why the scenario fails then.
    python : tuple of (class, function, old text, new text)
        Edits of Python functions.
    kernels : tuple of (file, old text, new text)
        Edits of kernels.
    """

    name: str
    sentence: str
    variant: str
    says: str
    python: tuple[tuple[type, str, str, str], ...] = ()
    kernels: tuple[Edit, ...] = ()

    @contextmanager
    def planted(self) -> Iterator[Twins]:
        """Have it in place, and the twins of kernels that have it."""
        with ExitStack() as planted:
            for owner, name, old, new in self.python:
                planted.enter_context(plant(vars(owner)[name], old, new))
            yield variant(self.variant).twins(self.kernels)

    def explains(self, failure: ScenarioFailed) -> bool:
        """Whether a scenario failed for the reason that this is."""
        return re.search(self.says, f"{failure.reason}\n{failure.__cause__}") is not None


def kept() -> dict[str, list[int]]:
    """Schedules that find the faults, by name."""
    schedules: dict[str, list[int]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return schedules
