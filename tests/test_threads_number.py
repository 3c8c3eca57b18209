"""How many threads large work is split over: what a caller says, else the environment, else the machine."""

import os
from typing import Any

import pytest

from npt import InvalidArgument, VmSpace
from npt._threads import default_threads


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5", " 2", "٢", "+2", "0x2", "9" * 10, "9" * 5000])
def test_variable__that_is_no_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """It is refused when a space is made; who says how many threads is not asked for it."""
    monkeypatch.setenv("NPT_THREADS", text)
    with pytest.raises(InvalidArgument, match="NPT_THREADS"):
        VmSpace(1 << 30)
    with VmSpace(1 << 30, threads=2):
        pass


@pytest.mark.parametrize("text", ["1", "2", "007", "100000"])
def test_variable__says_how_many(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Any number of them."""
    monkeypatch.setenv("NPT_THREADS", text)
    assert default_threads() == int(text)
    with VmSpace(1 << 30):
        pass


def test_default__is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most eight."""
    monkeypatch.delenv("NPT_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)), raising=False)
    assert default_threads() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert default_threads() == 8


@pytest.mark.parametrize("threads", [True, False, 2.0, "2", [2]])
def test_threads__of_a_wrong_type(threads: Any) -> None:
    """No bools, no floats."""
    with pytest.raises(TypeError, match="threads"):
        VmSpace(1 << 30, threads=threads)


@pytest.mark.parametrize("threads", [0, -1, -(2**70), 2**52, 10**30])
def test_threads__that_are_none(threads: int) -> None:
    """One does the work, at least; and there is an end to it."""
    with pytest.raises(InvalidArgument, match="threads"):
        VmSpace(1 << 30, threads=threads)


@pytest.mark.parametrize("threads", [1, 2**52 - 1])
def test_threads__of_any_number(threads: int) -> None:
    """They are a limit."""
    with VmSpace(1 << 30, threads=threads) as space:
        assert space.table.threads == threads
