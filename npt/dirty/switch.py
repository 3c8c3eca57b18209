"""``Switch``: who of a space's logs wants tracking on, and how tracking was before.

Theory of operation
-------------------
Each space has one switch for all its logs. The first log that gets under way notes how tracking was; what logs turned on goes
off again when the last log that wants it pauses or stops, and not before. A log that wants tracking and finds it off knows
that somebody else did that; from then on that is how tracking is left.

Logs are held weakly: one that was dropped without a stop wants nothing any more. Switches are held by their spaces, weakly
too, and know neither. A forked child takes no lock of these: its calls are refused before.

Each turn that a log makes is counted, before it is made, and not if it fails: a log whose count is another than before has
missed writes, or may have, whichever log made the turn and whoever else turned in between.

Lock order: log, switch, space.

Guarantees: between the return of ``turn_on`` for a log and its ``let_go`` no log turns tracking off.
Relies on:  ``turns`` being read after a harvest to tell whether anything is missing from it.
"""

import weakref

from npt import _sync
from npt.space.core import Core
from npt.space.vmspace import VmSpace

__all__ = ["Switch", "switch_of"]


class Switch:
    """Tracking of one space, as its logs want it.

    Attributes
    ----------
    turns : int
        How often a log has turned tracking on or off.
    """

    def __init__(self) -> None:
        self.lock = _sync.rlock("tracking of logs")
        self.turns = 0
        self._before = False  # how tracking is left once no log is under way
        self._logs: weakref.WeakKeyDictionary[object, bool] = weakref.WeakKeyDictionary()  # under way; whether it wants it on

    def turn_on(self, space: VmSpace, log: object) -> None:
        """Tracking on, for this log; if that fails, the log wants what it wanted before."""
        with self.lock:
            tracking, wanted = space.tracking, self._logs.get(log)
            if not self._logs or (wanted and not tracking):
                self._before = tracking
            try:
                self._logs[log] = True
                self._turn(space, True)
            except BaseException:
                if space._core.tracking == tracking:
                    self._set(log, wanted)
                raise

    def let_go(self, space: VmSpace, log: object, *, stays: bool) -> None:
        """This log wants tracking no more: off, if that is how it was and no other log wants it on.

        Parameters
        ----------
        stays
            The log is still under way.
        """
        with self.lock:
            if log not in self._logs:
                return
            self._logs[log] = False
            if not self._before and not any(self._logs.values()):
                self._turn(space, False)
            self._set(log, False if stays else None)

    def _set(self, log: object, wanted: bool | None) -> None:
        if wanted is None:
            self._logs.pop(log, None)
        else:
            self._logs[log] = wanted

    def _turn(self, space: VmSpace, enabled: bool) -> None:
        if space.tracking == enabled:
            return
        self.turns += 1
        try:
            space.set_tracking(enabled)
        except BaseException:
            if space._core.tracking != enabled:
                self.turns -= 1
            raise


_SWITCHES: "weakref.WeakKeyDictionary[Core, Switch]" = weakref.WeakKeyDictionary()


def switch_of(space: VmSpace) -> Switch:
    """The space's switch, the same for all."""
    return _SWITCHES.setdefault(space._core, Switch())  # one step of a dict: it needs no lock
