"""Tasks of sweeps, where workers in other processes can import them, and what tests ask of their results."""

import itertools
import json
import os
import signal
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt.studies import Results


def said(results: Results) -> str:
    """Rows as text: equal if and only if they are so bit for bit, nan and types and order of columns and all."""
    return json.dumps(list(map(dict, results.rows)))


def need_dask() -> None:
    """Skip where there is no Dask, but not in CI."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("distributed", reason="distributed is not installed: pip install -e .[cluster]")


def column(results: Results, name: str) -> list[Any]:
    """One column."""
    return [row[name] for row in results.rows]


def leave_out_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    """How a sweep came about is not asked, which takes longer than the rest."""
    monkeypatch.setattr(import_module("npt.studies.sweep"), "provenance", lambda **about: about)


def square(x: int, seed: int) -> dict[str, Any]:
    """A row."""
    return {"square": x * x}


def stop_after(n: int) -> Callable[..., Any]:
    """A task that is interrupted in its n-th call; each square that it made before, in ``done``."""
    calls = itertools.count(1)

    def task(seed: int, **point: int) -> dict[str, Any]:
        if next(calls) == n:
            raise KeyboardInterrupt
        return {"square": point.get("x", 0) ** 2}

    return task


def measure(share: float, n: int, seed: int) -> Mapping[str, Any]:
    """Floats that depend on all there is; among them nan, infinity and integers beyond 2**53."""
    drawn = np.random.default_rng(seed).random(n)
    return {"mean": float(drawn.mean()) * share, "nan": float("nan"), "inf": float("inf"), "wide": 3**50 + n, "npy": drawn[0]}


def fail_at(x: int, bad: int, seed: int) -> Mapping[str, Any]:
    """Raise at one point."""
    if x == bad:
        raise ValueError(f"no {x}\nat all")
    return {"square": x * x, "of": seed}


def die_at(x: int, bad: int, mark: str, seed: int) -> Mapping[str, Any]:
    """End the worker at one point: each time, or only until there is a file ``mark``."""
    if x == bad and not (mark and Path(mark).exists()):
        if mark:
            Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": x * x, "of": seed}


def count(x: int, folder: str, seed: int) -> Mapping[str, Any]:
    """Leave a file for each call."""
    Path(folder, f"{x}-{seed}-{len(os.listdir(folder))}").touch()
    return {"square": x * x}


class Unreadable(Exception):
    """An error that cannot come back from another process, nor say what it is."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__()
        self.held = lambda: (one, two)

    def __str__(self) -> str:
        raise RuntimeError("unreadable")


def unreadable(x: int, seed: int) -> Mapping[str, Any]:
    """Raise it."""
    raise Unreadable(x, seed)
