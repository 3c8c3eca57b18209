"""Callbacks that raise, whatever they raise: all are told once, the first error comes out, the call is done or undone."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from npt import EPT, NPT, Deadlock, PteFormat
from tests.failures.calls import CALLS
from tests.failures.guest import Guest
from tests.failures.state import state_of
from tests.failures.sweep import FORMATS

DONE = ("VmSpace.unmap", "VmSpace.unmap elsewhere", "VmSpace.set_tracking", "VmSpace.close")
UNDONE = ("VmSpace.track_dirty", "VmSpace.track_dirty into", "VmSpace.reset_dirty", "VmSpace.accessed, clearing")


class Odd(BaseException):
    """What nobody catches."""


RAISED: dict[str, Callable[[Guest], object]] = {
    "error": lambda g: 1 // 0,
    "memory": lambda g: _raise(MemoryError()),
    "interrupt": lambda g: _raise(KeyboardInterrupt()),
    "exit": lambda g: _raise(SystemExit()),
    "odd": lambda g: _raise(Odd()),
    "nested": lambda g: g.space.unmap(0, 0x8000),  # Deadlock: it may not, in a callback
    "nested harvest": lambda g: g.space.track_dirty(0, 0x8000) if g.space.tracking else _raise(Deadlock("not tracking")),
}
WHO = {"first": (0,), "second": (1,), "both": (0, 1)}


def _raise(error: BaseException) -> None:
    raise error


def _listen(guest: Guest, failing: tuple[int, ...], act: Callable[[Guest], object]) -> list[int]:
    """Have both clients' callbacks say that they were called, and some of them fail."""
    told: list[int] = []
    for number, client in enumerate((guest.client, guest.neighbour)):

        def call_back(gpa: int, length: int, number: int = number) -> None:
            told.append(number)
            if number in failing:
                try:
                    act(guest)
                except BaseException as error:
                    error.add_note(str(number))
                    raise

        client.on_invalidate(call_back)
    return told


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", RAISED)
def test_callbacks__that_raise(form: str, who: str, name: str) -> None:
    """In each call that calls back."""
    n = sum(_check(FORMATS[form], call, WHO[who], RAISED[name]) for call in (*DONE, *UNDONE))
    assert n == len(DONE) + len(UNDONE)


def _check(form: PteFormat, name: str, failing: tuple[int, ...], act: Callable[[Guest], object]) -> int:
    guest, good = Guest(form), Guest(form)
    told, _ = _listen(guest, failing, act), _listen(good, (), act)
    before = state_of(guest)
    CALLS[name].work(good)
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        CALLS[name].work(guest)
    assert caught.value.__notes__ == [str(failing[0])], "another error than the first callback's came out"
    n_calls = 2 if name == "VmSpace.close" else 1  # one for each mapping
    assert told == [0, 1] * n_calls
    guest.check()
    _compare(name, before, state_of(guest), state_of(good))
    _end(guest, name)
    good.close()
    return 1


def _compare(name: str, before: dict[str, object], found: dict[str, object], done: dict[str, object]) -> None:
    """A harvest put its bits back, though its generation stays raised; all else is done."""
    wanted = before | {"generation": done["generation"]} if name in UNDONE else done
    differing = {part for part in wanted if found[part] != wanted[part]}
    assert differing - {"told", "faults"} == set()


def _end(guest: Guest, name: str) -> None:
    """With quiet callbacks the next call works."""
    if not guest.space.destroyed:
        for client in (guest.client, guest.neighbour):
            client.on_invalidate(None)
    owed = guest.written | guest.held()
    if name in UNDONE:
        guest.check_log(owed)
    with suppress(LookupError):  # no such mapping any more
        CALLS[name].work(guest)
    guest.close()


@pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])
def test_callback__that_releases_pages_and_raises(form: PteFormat) -> None:
    """What it released is released, and in the log."""
    guest = Guest(form)

    def release(gpa: int, length: int) -> None:
        guest.page.release()
        raise Odd

    guest.client.on_invalidate(release)
    with pytest.raises(Odd):
        guest.space.track_dirty(0, 0x8000)
    guest.client.on_invalidate(None)
    guest.check()
    assert guest.client.holds == 0
    guest.check_log(guest.written | {0})
    guest.close()
