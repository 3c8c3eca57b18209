"""A guest to be timed."""

from typing import Any

import numpy as np
import pytest

from benchmarks import baseline
from benchmarks.figures import Peer, limit, slower
from npt import PAGE_SIZE, Prot, PteFormat, Reservoir, VmSpace, format_size
from npt._host import available_bytes
from npt._types import U8Array, U64Array
from npt.units import PAGE_SHIFT

__all__ = ["ENTRY_BYTES", "VALUE", "Guest", "ask", "bitmap_of", "same"]

VALUE = 0x5A5A5A5A5A5A5A5A  # to fill with; zeroing can be cheaper than storing
ENTRY_BYTES = 8
_PART = 2 << 20  # of a guest, where its vCPU runs
_SPARE = 256 << 20  # for the process itself
_CLUSTER = 256  # pages


def ask(n_bytes: int, what: str) -> None:
    """Skip what does not fit this machine's memory now, before any of it is taken."""
    available = available_bytes()
    if available is not None and n_bytes + _SPARE > available:
        pytest.skip(f"{what} takes {format_size(n_bytes)}; {format_size(available // PAGE_SIZE * PAGE_SIZE)} are available")


def same(ours: Any, theirs: Any) -> None:
    """Refuse to time what is not right."""
    assert np.array_equal(ours, theirs), "not what it should be"


def bitmap_of(chosen: np.ndarray[Any, Any]) -> U8Array:
    """Bitmap of an array of bools."""
    return np.packbits(chosen, bitorder="little")


class Guest:
    """One mapping over a space that tracks dirty pages, populated; and a small part behind it for a vCPU.

    Parameters
    ----------
    format
        ``EPT`` or ``NPT``.
    size
        Bytes of the mapping that is worked on.
    backed
        With bytes.
    seed
        Of what is random about it.
    threads
        That large works are split over; None leaves it to the space.
    room
        Bytes that are needed beside tables and guest memory; unless given, as many as limits and checks take.

    Attributes
    ----------
    entry : int
        Fresh leaf entry of the first page.
    words : numpy.ndarray
        As many words as there are leaf entries: what the limits are measured on.
    """

    def __init__(
        self,
        format: PteFormat,
        size: int,
        *,
        backed: bool = False,
        seed: int = 0,
        threads: int | None = None,
        room: int | None = None,
    ) -> None:
        self.size, self.n_pages = size, size // PAGE_SIZE
        tables = self.n_pages * ENTRY_BYTES
        room = 4 * tables if room is None else room
        ask(tables + tables // 64 + room + (size if backed else 0), f"a guest of {format_size(size)}")
        self.random = np.random.default_rng(seed)
        self.reservoir = Reservoir(size + _PART, backed=backed)
        self.ram, self._part = self.reservoir.allocate(size), self.reservoir.allocate(_PART)
        more: dict[str, Any] = {} if threads is None else {"threads": threads}
        self.space = VmSpace(size + _PART, format=format, reservoir=self.reservoir, track_dirty=True, **more)
        self.space.map(self._part, size, _PART, Prot.RWX)
        self.space.populate(size, _PART)
        self._mapped = False
        self.resident()
        self.levels = self.space._core.table.levels
        self.entry = int(self.space.pte(0) or 0)
        self.dirty_bit = int(format.masks.dirty)
        self._words: U64Array | None = None

    # -- states, each from whatever it was --------------------------------------------------------------------------

    def unmapped(self) -> None:
        """Nothing mapped but the vCPU's part."""
        if self._mapped:
            self.space.unmap(0, self.size)
        self._mapped = False

    def mapped(self) -> None:
        """Mapped, nothing resident."""
        self.unmapped()
        self.map()

    def map(self) -> None:
        """Map it; what may be timed."""
        self.space.map(self.ram, 0, self.size, Prot.RWX)
        self._mapped = True

    def unmap(self) -> None:
        """Unmap it; what may be timed."""
        self.space.unmap(0, self.size)
        self._mapped = False

    def resident(self) -> None:
        """Mapped, all of it resident."""
        if not self._mapped:
            self.map()
        self.space.populate(0, self.size)

    def dirty(self, pages: U8Array) -> None:
        """Exactly these pages are dirty, if none was."""
        self.space.set_dirty(0, self.size, select=pages)

    def leaves(self) -> U64Array:
        """The leaf entries in the order of their pages; 0 where there is none."""
        found = np.zeros(self.n_pages, np.uint64)
        baseline.leaves(self.levels, 0, found)
        return found

    def check_fresh(self, added: int) -> None:
        """All pages became resident, and nothing has happened to them yet."""
        assert added == self.n_pages, f"{added} pages became resident, not {self.n_pages}"
        same(self.leaves(), np.uint64(self.entry) + (np.arange(self.n_pages, dtype=np.uint64) << np.uint64(PAGE_SHIFT)))

    def check_gone(self, _: object) -> None:
        """No page is resident."""
        assert not self.leaves().any(), "pages are still resident"

    # -- what is drawn at random ------------------------------------------------------------------------------------

    def some(self, share: float, pattern: str = "random") -> U8Array:
        """Bitmap of a share of the pages: any, or clusters of 1 MiB."""
        each = _CLUSTER if pattern == "clustered" else 1
        n = -(-self.n_pages // each)
        chosen = np.zeros(n, np.bool_)
        chosen[self.random.permutation(n)[: round(share * n) or (share > 0)]] = True
        return bitmap_of(np.repeat(chosen, each)[: self.n_pages])

    def gpas(self, n: int) -> U64Array:
        """Addresses of different pages, at most all of them, in no order."""
        chosen = self.random.permutation(self.n_pages)[:n]
        return chosen.astype(np.uint64) << np.uint64(PAGE_SHIFT)

    # -- peers ------------------------------------------------------------------------------------------------------

    @property
    def words(self) -> U64Array:
        """Made when first asked for."""
        if self._words is None:
            self._words = np.full(self.n_pages, VALUE, np.uint64)
        return self._words

    def read(self, at_least: float | None = None) -> Peer:
        """Limit of what only looks."""
        words = self.words
        return limit("read", words.sum, prepare=lambda: words.fill(VALUE), at_least=at_least)

    def fill(self, at_least: float | None = None) -> Peer:
        """Limit of what stores."""
        words = self.words
        return limit("fill", lambda: words.fill(VALUE), prepare=lambda: words.fill(VALUE), at_least=at_least)

    def per_page_harvest(self, pages: U8Array, at_least: float | None = None) -> Peer:
        """The baseline's harvest of as many dirty pages."""
        bitmap = np.zeros(-(-self.n_pages // 8), np.uint8)

        def prepare() -> None:
            bitmap.fill(0)
            self.dirty(pages)

        def check(_: int) -> None:
            same(bitmap, pages)
            self.check_clean()

        return slower(
            "the baseline", lambda: baseline.harvest(self.levels, 0, self.n_pages, self.dirty_bit, bitmap),
            prepare=prepare, check=check, at_least=at_least,
        )  # fmt: skip

    def check_clean(self) -> None:
        """No page is dirty."""
        assert not self.space.peek_dirty(0, self.size).any(), "dirty pages were left"

    def check_harvest(self, pages: U8Array) -> Any:
        """A check of what a harvest gave."""

        def check(found: U8Array) -> None:
            same(found, pages)
            self.check_clean()

        return check

    def close(self) -> None:
        """Give everything back."""
        self.space.close()
        self.ram.release()
        self._part.release()
        self.reservoir.close()
