"""Kernels compiled in processes of their own, which takes a quarter of a minute: what those say, machine code, and caches.

All of them are compiled for this machine into an empty cache, and those with loops over entries or bitmaps for others.
"""

from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple, Self

from tests.kernels.fresh import run

__all__ = ["BITMAPS", "LOOPS", "MACHINES", "Compiled", "Compiling", "Counts", "warm_up"]

LOOPS = ["dirty.harvest", "dirty.harvest_still", "dirty.peek", "leaves.populate", "leaves.populate_selected", "tables.clear"]
BITMAPS = ["bitmap.count", "bitmap.without", "runs.append", "runs.count_edges"]  # LLVM makes the vectors

# Machines, and the bits of their vectors. Numba takes the features of this one unless it is told others.
MACHINES = {"x86-64-v2": 128, "haswell": 256, "skylake-avx512": 512}
_NO_CACHE = "/dev/null/cache"

_WARM_UP = """
import json, npt
n = npt.warm_up()
from npt.kernels.jit import KERNELS, target
dispatchers = [dispatcher for dispatcher, _ in KERNELS.values()]
hits, misses = (sum(sum(getattr(d.stats, name).values()) for d in dispatchers) for name in ("cache_hits", "cache_misses"))
said = {"counts": [n, hits, misses], "target": target()}
"""
_SOME = """
import json
from npt import kernels
from npt.kernels.jit import KERNELS, _compile, target
kernels.load_all()
for name, (dispatcher, signature) in KERNELS.items():
    if name.removeprefix("npt.kernels.") in ONLY:
        _compile(dispatcher, signature)
said = {"counts": [0, 0, 0], "target": target()}
"""
# Kernels that came from a cache have no assembly.
_ASSEMBLY = """
said["asm"] = {
    name.removeprefix("npt.kernels."): overload.library.get_asm_str()
    for name, (dispatcher, _) in KERNELS.items()
    for overload in dispatcher.overloads.values()
}
"""
_SAY = "print(json.dumps(said))"


class Counts(NamedTuple):
    """What a process said of its kernels when it had warmed up."""

    kernels: int
    cached: int
    compiled: int


class Compiled(NamedTuple):
    """What came of it.

    Attributes
    ----------
    counts : Counts
        Of the process that compiled all kernels.
    bits : int
        Of the machine's vectors.
    asm : dict of str to str
        Assembly, by kernel.
    cache : Path
        The directory that it left.
    """

    counts: Counts
    bits: int
    asm: dict[str, str]
    cache: Path


class Compiling(NamedTuple):
    """What is being compiled: for this machine, and for others by their names."""

    here: Future[Compiled]
    others: dict[str, Future[Compiled]]

    @classmethod
    def begin(cls, executor: Executor, cache: Path) -> Self:
        """Begin, with an empty directory for the cache of all kernels."""
        here = executor.submit(_compile, _WARM_UP, cache)
        return cls(here, {name: executor.submit(_compile_for, name) for name in MACHINES})


def _compile(code: str, cache: Path, **settings: str) -> Compiled:
    said = run(code + _ASSEMBLY + _SAY, settings=settings, NUMBA_CACHE_DIR=str(cache))
    return Compiled(Counts(*said["counts"]), said["target"][1], said["asm"], cache)


def _compile_for(machine: str) -> Compiled:
    only = f"ONLY = {LOOPS + BITMAPS!r}"
    return _compile(only + _SOME, Path(_NO_CACHE), NUMBA_CPU_NAME=machine, NUMBA_CPU_FEATURES="")


def warm_up(cache: Path) -> Counts:
    """Have another process look for all kernels in a directory."""
    return Counts(*run(_WARM_UP + _SAY, NUMBA_CACHE_DIR=str(cache))["counts"])
