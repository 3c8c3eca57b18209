"""A call that fails at each of its places, one after the other, each time on a new guest."""

from collections.abc import Callable
from functools import cache, partial
from itertools import chain
from zlib import crc32

from npt import EPT, NPT, NptError, Orphaned, PteFormat, StaleHandle
from tests.failures.calls import CALLS, Call
from tests.failures.guest import Guest
from tests.failures.injecting import Injector
from tests.failures.state import GROWING, State, state_of

__all__ = ["FORMATS", "sweep"]

FORMATS = {"ept": EPT, "npt": NPT}
_MOST = 5000  # places that no call has


def sweep(name: str, form: str, inject: Injector, *, step: int = 1, patience: int = 1) -> int:
    """Make a call fail at each of its places, or at the first and each ``step``-th; how many failed.

    It is over when the call runs through, ``patience`` times in a row.

    Afterwards the state is as before, or as if the call had been made, or between the two where the contract says so; all
    invariants hold, no lock is held, and the call can be made again.
    """
    call = CALLS[name]
    before, done = _expected(name, form)
    failed = through = 0
    for n in chain([1], range(2 + crc32(name.encode()) % step, _MOST, step)):  # other places for each call
        try:
            has_failed = _fail_once(call, FORMATS[form], partial(_inject, inject, n), before, done)
        except BaseException as error:
            error.add_note(f"{name} failed at place {n}")
            raise
        failed, through = failed + has_failed, 0 if has_failed else through + 1
        if through == patience:
            return failed
    raise AssertionError(f"{name} has more than {_MOST} places")


def _inject(inject: Injector, n: int, work: Callable[[], object]) -> bool | None:
    return inject(work, n)


@cache
def _expected(name: str, form: str) -> tuple[State, State]:
    """The state before a call, and behind it."""
    call = CALLS[name]
    guest = call.guest(FORMATS[form])
    before = state_of(guest)
    call.work(guest)
    done = state_of(guest)
    guest.close()
    return before, done


def _fail_once(
    call: Call, form: PteFormat, inject: Callable[[Callable[[], object]], bool | None], before: State, done: State
) -> bool:
    guest = call.guest(form)
    outcome = inject(partial(call.work, guest))
    assert outcome is not False, "the failure was swallowed"
    guest.leave()
    guest.check()
    found = state_of(guest)
    if outcome:
        _check(call, found, before, done)
        guest.check_marked(before["bytes"])  # type: ignore[arg-type]
        owed = guest.written | guest.held()
        _again(call, guest)
        guest.check()
        if _is(before, found, call.between) and len(guest.new) < 2:
            wanted = {part: value for part, value in done.items() if part not in GROWING}
            assert _differences(state_of(guest), wanted) == []
        if not call.harvests:  # else the second call got the bits
            guest.check_log(owed)
    else:
        assert _differences(found, done) == []
    guest.close()
    return outcome is True


def _check(call: Call, found: State, before: State, done: State) -> None:
    """Before, or done; some parts may be between."""
    if _is(before, found, call.between):
        return
    untold = {*done["told"]} - {*found["told"]}  # type: ignore[misc]
    if call.undone or not _is(done, found, call.between) or len(untold) > 1:  # one may have been interrupted itself
        from_before, from_done = _differences(found, before), _differences(found, done)
        raise AssertionError(f"neither as before nor done: {from_before} are not as before, {from_done} not done")


def _is(wanted: State, found: State, between: frozenset[str]) -> bool:
    return "all" in between or set(_differences(found, wanted)) <= between


def _differences(found: State, wanted: State) -> list[str]:
    return [part for part in wanted if part != "faults" and found.get(part) != wanted[part]]


def _again(call: Call, guest: Guest) -> None:
    """The next call works, or says that the first had done it."""
    try:
        call.work(guest)
    except (StaleHandle, Orphaned) as error:
        told = str(error)
        assert any(word in told for word in ("released", "destroyed", "closed", "no reference left", "is gone")), told
    except NptError as error:
        assert type(error).__name__ in ("NoSuchMapping", "Overlap", "Busy", "InvalidArgument"), error  # noqa: PT017
