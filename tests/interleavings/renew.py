"""Find the planted faults anew and keep the schedules: ``python -m tests.interleavings.renew [name ...]``."""

import json
import sys

from npt.testing import ScenarioFailed
from tests.interleavings.fault import KEPT, Fault, kept
from tests.interleavings.faults import FAULTS
from tests.interleavings.scenario import variant

__all__ = ["find", "main"]

_MOST_PREEMPTIONS = 3


def find(fault: Fault) -> ScenarioFailed:
    """The failure that is found first: a search tries schedules with fewer preemptions before those with more."""
    with fault.planted() as twins:
        try:
            variant(fault.variant).run(set(), preemptions=_MOST_PREEMPTIONS, twins=twins)
        except ScenarioFailed as failure:
            return failure
    raise SystemExit(f"{fault.name!r} is not found by {fault.variant} with {_MOST_PREEMPTIONS} preemptions")


def main(names: list[str]) -> None:
    """Renew the schedules of some faults, or of all."""
    known = {fault.name for fault in FAULTS}
    if unknown := set(names) - known:
        raise SystemExit(f"there is no fault {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    before, schedules = kept(), {}
    for fault in FAULTS:
        if names and fault.name not in names and fault.name in before:
            schedules[fault.name] = before[fault.name]
            continue
        failure = find(fault)
        schedules[fault.name] = failure.schedule
        length, why = len(failure.schedule), failure.reason.splitlines()[0]
        print(f"{fault.name} | {fault.variant} | {length} choices | {why}", flush=True)
    lines = [f"  {json.dumps(name)}: {json.dumps(schedule)}" for name, schedule in schedules.items()]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
