"""The end of a mapping: clear, unlink, kick, tell, free, in that order.

Theory of operation
-------------------
Until leaves are being cleared, a failure or an interrupt undoes what was done. From then on the way is forward: an interrupt
is kept, the rest is done, and then it is raised; every step can be done again without harm. Only a vCPU that will not leave
(or a failure that should not be) stops it half-way: then the tables are linked back, empty, and the mapping stays, to be
unmapped again.

Guarantees: tables are unlinked before the kick and freed after it; the callbacks run after the kick, and once
            unless they are interrupted.
Relies on:  the space lock and HOLD around ``run``; no lock around ``let_go``, which frees memory.
"""

from npt.errors import KickTimeout
from npt.space.core import Core
from npt.space.exclusion import Callbacks
from npt.space.mappings import Mapping

__all__ = ["Ending"]


class Ending:
    """One mapping on its way out."""

    def __init__(self, core: Core, mapping: Mapping) -> None:
        self._core = core
        self._mapping = mapping
        self._keeper = core.mappings.keeper(mapping)
        self._record = core.table.vacancy(mapping.gpa, mapping.length)
        self._raised = False  # epoch, and generation where something was resident
        self._waiting: Callbacks | None = None  # who is to be told
        self._error: BaseException | None = None  # of a callback, or an interrupt

    def run(self) -> None:
        """Take the mapping down.

        Raises
        ------
        KickTimeout
            A vCPU did not leave.
        """
        try:
            self._forget()
            self._go_on()
        except KickTimeout:
            self._restore()
            raise
        except BaseException as error:
            if not self._record.begun:
                self._undo()
                raise
            self._finish(error)

    def let_go(self) -> None:
        """Drop the mapping's reference to its object, if it is gone."""
        if not self._is_mapped():
            self._mapping.obj.drop(self._keeper)

    def report(self) -> None:
        """Raise the first error of a callback, or the interrupt that came meanwhile."""
        if self._error is not None:
            raise self._error

    def _is_mapped(self) -> bool:
        return id(self._mapping) in [id(mapping) for mapping in self._core.mappings.all()]

    def _forget(self) -> None:
        core, mapping = self._core, self._mapping
        for gate in core.exclusion.gates:
            gate.client.forget(mapping.gpa, mapping.length, self._keeper, mapping.obj)

    def _undo(self) -> None:
        core, mapping = self._core, self._mapping
        for gate in core.exclusion.gates:
            gate.client.remember(self._keeper, mapping.obj)

    def _go_on(self) -> None:
        self._core.table.vacate(self._mapping.gpa, self._mapping.length, self._record)
        self._shoot_down()
        self._tell()
        self._free()

    def _finish(self, interrupt: BaseException) -> None:
        """Go on after an interrupt, and after the next; if that cannot be, it is the first that is raised."""
        self._error = self._error or interrupt
        while True:
            try:
                self._go_on()
                return
            except KeyboardInterrupt:
                continue
            except BaseException as error:
                self._restore()
                raise interrupt from error

    def _restore(self) -> None:
        """The mapping stays, empty, and works; what was cleared of it is still to be told."""
        try:
            self._owe()
            self._core.table.restore(self._record)
        except BaseException:  # an interrupt: what is done of it is not done again
            self._owe()
            self._core.table.restore(self._record)
            raise

    def _owe(self) -> None:
        """Whoever knows the entries that were there is to be told, by this try or the next."""
        core, record = self._core, self._record
        if record.n_present:
            core.untold.add(self._mapping.gpa)  # until the callbacks have run; after a time-out the next try owes them
        if not self._raised and (record.n_present or record.unlinked.size):
            core.exclusion.raise_epoch(generation=record.n_present > 0)
            self._raised = True

    def _shoot_down(self) -> None:
        self._owe()
        self._core.exclusion.kick()  # also whom an earlier try did not get out

    def _tell(self) -> None:
        core, mapping = self._core, self._mapping
        if mapping.gpa in core.untold:
            if self._waiting is None:
                self._waiting = core.exclusion.callbacks()
            try:
                core.exclusion.call_back(mapping.gpa, mapping.length, self._waiting)
            except BaseException as error:
                if self._waiting:  # not all were told
                    raise
                self._error = self._error or error
        core.untold.discard(mapping.gpa)

    def _free(self) -> None:
        self._core.table.release(self._record)
        if self._is_mapped():
            self._core.mappings.remove(self._mapping)
