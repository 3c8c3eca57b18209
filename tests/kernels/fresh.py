"""Python code in a process of its own: what an import does, and what compilers leave behind, can be seen only there."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import npt

ROOT = Path(npt.__file__).parents[1]
TESTS = Path(__file__).parents[2]


def environment(package: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without numba's variables, with the package first on the path, and these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    paths = {"PYTHONPATH": os.pathsep.join([str(package), str(TESTS)]), "PYTHONDONTWRITEBYTECODE": "1"}
    return inherited | paths | dict(variables)


_DROP_FROM_BOUNDING_SET, _OVERRIDE_PERMISSIONS = 24, 1  # prctl, capability


def obey_permissions() -> None:
    """In a child that is about to start a program: permission bits shall bind it even if it is root's."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_DROP_FROM_BOUNDING_SET, _OVERRIDE_PERMISSIONS, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot give up root's power over permissions")


def run(
    code: str, *, package: Path = ROOT, obedient: bool = False, settings: Mapping[str, str] | None = None, **variables: str
) -> Any:
    """Run code with ``-W error``; what it prints last is JSON, and is returned."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment(package, {**(settings or {}), **variables}),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=obey_permissions if obedient else None,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
