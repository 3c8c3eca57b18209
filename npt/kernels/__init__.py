"""Numba kernels: plain arrays in, counts out.

The modules load on first use, so that ``import npt`` does not import numba: write ``from npt import kernels`` and then
``kernels.dirty.harvest(...)``.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npt.kernels import (
        bitmap,
        dirty,
        frames,
        guest,
        jit,
        leaves,
        mechanisms,
        rounds,
        runs,
        tables,
        tlb,
        usage,
        walk,
        words,
    )

__all__ = [
    "bitmap",
    "dirty",
    "frames",
    "guest",
    "jit",
    "leaves",
    "mechanisms",
    "rounds",
    "runs",
    "tables",
    "tlb",
    "usage",
    "walk",
    "words",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def load_all() -> None:
    """Import every kernel module, so that all kernels are known to ``jit.KERNELS``."""
    for name in __all__:
        import_module(f"{__name__}.{name}")
