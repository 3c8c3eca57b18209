"""Running the tests meant for a mutant, in a copy of the checkout and a process of their own.

Theory of operation
-------------------
Each mutant gets a copy of the checkout, so that the real files are never touched, and mutants can run side by side. What the
tests of a mutant that is not of kernels compile is kept for the next in the cache of the real checkout; a mutant of kernels has
a cache of its own, because its kernels are others.

A mutant is killed if one of its tests fails, by an assertion or an error inside of the test, or at its end, where fixtures look
whether anything has leaked. If the tests cannot be collected or a fixture cannot be made, if numba cannot compile what was
planted, or the process dies, that says nothing about the tests: it is broken. So is one that hangs, unless it is said to.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from npt.kernels import jit
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.witness import PROFILE, REPORT

__all__ = ["BROKEN", "KILLED", "LIMIT", "SURVIVED", "Running", "Verdict", "copied"]

KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"
LIMIT = 600.0  # seconds for the tests of one mutant; much more than any takes on a machine that has other work, too
_HANG = 60.0  # for those that are meant to hang
_TOLD = 3000  # characters of what pytest said
_PASSED, _FAILED = 0, 1  # what pytest says
_COPIED = ("npt", "tests", "pyproject.toml", "README.md")
_LEFT = shutil.ignore_patterns("npt-*", ".hypothesis")  # caches of kernels
_NOT_OF_TESTS = ("numba.", "builtins.SyntaxError", "builtins.ImportError", "builtins.ModuleNotFoundError")


class Verdict(NamedTuple):
    """What became of a mutant."""

    mutant: str
    verdict: str
    test: str  # that noticed it
    said: str  # the end of what pytest said


@contextmanager
def copied(root: Path = ROOT) -> Iterator[Path]:
    """A copy of what tests need of a checkout, for the length of a ``with`` block."""
    with tempfile.TemporaryDirectory(prefix="npt-mutant-", ignore_cleanup_errors=True) as name:
        copy = Path(name) / "checkout"
        copy.mkdir()
        for part in _COPIED:
            if (root / part).is_dir():
                shutil.copytree(root / part, copy / part, ignore=_LEFT)
            else:
                shutil.copy2(root / part, copy / part)
        yield copy


class Running:
    """What runs mutants of a checkout, from several threads, and can be told to stop."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._processes: set[subprocess.Popen[bytes]] = set()

    def run(self, mutant: Mutant, limit: float = LIMIT) -> Verdict:
        """Plant a mutant in a copy and run its tests up to the first that fails.

        Raises
        ------
        Stale
            It does not fit the files.
        """
        texts = mutant.planted(self._root)
        with copied(self._root) as copy:
            for file, text in texts.items():
                (copy / file).write_text(text)
                os.utime(copy / file, (0, 0))  # what Python compiled of the file as it was is not what it is now
            report = copy / "report.jsonl"
            code, said = self._pytest(mutant, copy, report, min(limit, _HANG) if mutant.hangs else limit)
            failures = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
        return _judge(mutant, code, failures, said)

    def stop(self) -> None:
        """End what is under way."""
        for process in list(self._processes):
            _end(process)

    def _pytest(self, mutant: Mutant, copy: Path, report: Path, limit: float) -> tuple[int | None, str]:
        """Exit code, or None if it did not end in time; and the end of what it said."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.witness"]
        command += ["--rootdir", str(copy), *(["-k", mutant.only] if mutant.only else []), *mutant.tests]
        log = copy / "said.txt"
        with log.open("w+") as output:
            process = subprocess.Popen(
                command, cwd=copy, env=_environment(mutant, copy, report), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            self._processes.add(process)
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
                self._processes.discard(process)
        return code, log.read_text(errors="replace")[-_TOLD:]


def _judge(mutant: Mutant, code: int | None, failures: list[dict[str, str]], said: str) -> Verdict:
    told = [one for one in failures if one["when"] != "setup" and not one["raised"].startswith(_NOT_OF_TESTS)]
    if code is None:
        return Verdict(mutant.name, KILLED if mutant.hangs else BROKEN, "(does not end)", said)
    if code == _PASSED:
        return Verdict(mutant.name, SURVIVED, "", said)
    if code == _FAILED and told:
        return Verdict(mutant.name, KILLED, told[0]["test"], said)
    return Verdict(mutant.name, BROKEN, "", said)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End what is left of the process and those that it began."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _environment(mutant: Mutant, copy: Path, report: Path) -> dict[str, str]:
    unwanted = ("NUMBA_DISABLE_JIT", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "NPT_LONG")
    variables = {name: value for name, value in os.environ.items() if name not in unwanted}
    known = jit.cache_directory()
    variables |= {"PYTHONPATH": str(copy), "HYPOTHESIS_PROFILE": PROFILE, REPORT: str(report), "TMPDIR": str(copy.parent)}
    if mutant.interpreted:
        variables["NUMBA_DISABLE_JIT"] = "1"
    elif mutant.of_kernels or known is None:
        variables["NUMBA_CACHE_DIR"] = str(copy / "kernels")
    else:
        variables["NUMBA_CACHE_DIR"] = str(known.parent)
    return variables
