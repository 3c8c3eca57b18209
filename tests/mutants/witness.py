"""A plugin of pytest that writes down which test failed, and how; ``running.py`` loads it into the process that runs a mutant.

Hypothesis looks for no smaller example there: whether there is one is all that matters.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

__all__ = ["PROFILE", "REPORT"]

PROFILE, REPORT = "mutants", "NPT_MUTANTS_REPORT"

settings.register_profile(
    PROFILE, deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate), report_multiple_bugs=False
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """One line for each test, or fixture, that failed."""
    report = yield
    if report.failed:
        raised = "" if call.excinfo is None else f"{call.excinfo.type.__module__}.{call.excinfo.type.__qualname__}"
        line = {"test": item.nodeid, "when": report.when, "raised": raised}
        with Path(os.environ[REPORT]).open("a") as file:
            file.write(json.dumps(line) + "\n")
    return report
