"""``Vacancy``: what taking a mapping down has done so far."""

import numpy as np
from numpy.typing import NDArray

from npt import kernels
from npt._types import U64Array

__all__ = ["Vacancy"]


class Vacancy:
    """A record that the kernels fill in themselves, so that after an interrupt it is known what was done.

    Parameters
    ----------
    gpa, length
        The mapping, in bytes.
    most
        How many tables may be unlinked.
    """

    def __init__(self, gpa: int, length: int, most: int) -> None:
        self.gpa, self.length = gpa, length
        self.rows = np.empty((most, kernels.tables.ROW), np.uint32)
        self.notes: U64Array = np.zeros(kernels.tables.NOTES, np.uint64)

    @property
    def n_present(self) -> int:
        """How many leaves were present."""
        return int(self.notes[kernels.tables.PRESENT])

    @property
    def unlinked(self) -> NDArray[np.uint32]:
        """The tables that were unlinked, a row each."""
        return self.rows[: int(self.notes[kernels.tables.UNLINKED])]

    @property
    def begun(self) -> bool:
        """Whether leaves were cleared, all or some."""
        return bool(self.notes[kernels.tables.BEGUN])

    @property
    def taken(self) -> bool:
        """Whether all leaves were cleared and tables unlinked."""
        return bool(self.notes[kernels.tables.TAKEN])

    @property
    def counted(self) -> bool:
        """Whether the mapping's pages are counted in its leaf tables, by a ``build`` with this record."""
        return bool(self.notes[kernels.tables.COUNTED])
