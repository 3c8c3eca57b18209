"""Every kernel, compiled for this machine in a process of its own: what it says, its machine code, and what it leaves."""

from pathlib import Path
from typing import NamedTuple

from tests.kernels.fresh import run

__all__ = ["Compiled", "Counts", "compile_all", "warm_up"]

WARM_UP = """
import json, npt
n = npt.warm_up()
from npt.kernels.jit import KERNELS, target
dispatchers = [dispatcher for dispatcher, _ in KERNELS.values()]
hits, misses = (sum(sum(getattr(d.stats, name).values()) for d in dispatchers) for name in ("cache_hits", "cache_misses"))
said = {"counts": [n, hits, misses], "target": target()}
"""
SAY_COUNTS = "print(json.dumps(said))"
# Cached kernels have no assembly; these were compiled here.
SAY_ALL = """
overloads = {name.removeprefix("npt.kernels."): tuple(d.overloads.values()) for name, (d, _) in KERNELS.items()}
said["asm"] = {name: compiled.library.get_asm_str() for name, (compiled,) in overloads.items()}
print(json.dumps(said))
"""


class Counts(NamedTuple):
    """What a process said of its kernels."""

    kernels: int
    cached: int
    compiled: int


class Compiled(NamedTuple):
    """What came of it.

    Attributes
    ----------
    counts : Counts
        Of the process that compiled them.
    bits : int
        Of this machine's vectors.
    asm : dict of str to str
        Assembly, by kernel.
    cache : Path
        The directory that it left.
    """

    counts: Counts
    bits: int
    asm: dict[str, str]
    cache: Path


def compile_all(cache: Path) -> Compiled:
    """Compile them into an empty directory."""
    said = run(WARM_UP + SAY_ALL, NUMBA_CACHE_DIR=str(cache))
    return Compiled(Counts(*said["counts"]), said["target"][1], said["asm"], cache)


def warm_up(cache: Path) -> Counts:
    """Have another process look for them there."""
    return Counts(*run(WARM_UP + SAY_COUNTS, NUMBA_CACHE_DIR=str(cache))["counts"])
