"""How much memory a study takes: the growth of a fresh process's peak, beside what was predicted."""

import subprocess
import sys

__all__ = ["check_predicted"]

_MOST = """
def most():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
"""


def check_predicted(code: str, n_lines: int = 1) -> None:
    """Run code that prints what was taken and what was predicted, as ``most()`` grew: no more, nor less than a fourth."""
    command = [sys.executable, "-c", _MOST + code]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(told) == n_lines
    for line in told:
        taken, predicted = map(int, line.split())
        assert predicted / 4 <= taken <= predicted, line
