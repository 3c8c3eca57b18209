"""What a dirty log owes: pages that were harvested and neither sent nor put back.

Theory of operation
-------------------
A page is owed by the last round that reported it, so the bitmaps of the rounds are disjoint, and whoever sent a page after
round k settles what rounds up to k owe, never more. Two bitmaps are owed by no round yet: a harvest puts its bits into
``fresh``, which is there before it, and a round is made of it afterwards; ``asked`` are pages that somebody wants sent though
nobody wrote them, among them what was mapped since the round before. The round that comes takes both over.

Guarantees: a page leaves these bitmaps only in one step, after it was sent or put back; whatever interrupts a change, a page
            that is owed is in at least one of them. ``Books`` is changed as a whole, so that who reads needs no lock.
Relies on:  the log's lock around every change.
"""

from enum import Enum
from typing import NamedTuple

import numpy as np

from npt._types import U8Array
from npt.dirty.bitmap import count, difference, empty, intersection, union
from npt.dirty.mapped import Known, covered, new_since
from npt.dirty.packed import Entry, pack
from npt.dirty.rounds import Round, Rounds, read_only

__all__ = ["Books", "LogState", "clear_pages"]


class LogState(Enum):
    """Whether a dirty log harvests."""

    STOPPED = "stopped"
    RUNNING = "running"
    PAUSED = "paused"


class Books(NamedTuple):
    """All that a log knows."""

    state: LogState
    rounds: Rounds
    by_round: dict[int, U8Array]  # disjoint; never gains or loses a round
    fresh: U8Array
    asked: U8Array
    gap: bool  # tracking was off since the last round
    turns: int = 0  # of the space's switch, as far as ``gap`` tells of them
    known: Known | None = None  # what is mapped and not asked for again; None before the first start

    def owed(self) -> U8Array:
        """Pages that are owed, by whomever."""
        return self.owed_up_to(len(self.rounds), union(self.fresh, self.asked))

    def owed_up_to(self, number: int, owed: U8Array | None = None) -> U8Array:
        """Pages that rounds up to one owe; with ``owed``, added to that."""
        owed = empty(self.rounds.n_pages) if owed is None else owed
        for each, bitmap in self.by_round.items():
            if each <= number:
                union(owed, bitmap, out=owed)
        return owed

    def settle(self, number: int, select: U8Array | None) -> int:
        """Pages, or all, are no longer owed by rounds up to one; return how many are owed no more."""
        settled = empty(self.rounds.n_pages)
        for each, bitmap in self.by_round.items():
            if each <= number:
                now = bitmap.copy() if select is None else intersection(bitmap, select)
                difference(bitmap, now, out=bitmap)
                union(settled, now, out=settled)
        return count(settled) - count(intersection(settled, union(self.fresh, self.asked)))

    def forget(self, pages: U8Array) -> None:
        """Pages are owed by nobody any more: they are dirty again."""
        for bitmap in (*self.by_round.values(), self.fresh, self.asked):
            difference(bitmap, pages, out=bitmap)

    def with_mapped(self, now: Known) -> "Books":
        """The same, and what was mapped since is asked for; device memory has no bytes to send."""
        new = [] if self.known is None else new_since(self.known, now)
        if not new:
            return self._replace(known=now)
        mapped = covered(new, self.rounds.gpa, self.rounds.n_pages, mmio=False)
        return self._replace(known=now, asked=union(self.asked, mapped))

    def with_round(self, generation: int, time_ns: int) -> tuple["Books", Round]:
        """The same with a round of what is fresh; it owes that and what was asked, and earlier rounds do so no more."""
        bitmap, n_pages = self.fresh, self.rounds.n_pages
        number, owing = len(self.rounds) + 1, union(self.fresh, self.asked)
        earlier = {each: difference(pages, owing) for each, pages in self.by_round.items()}
        entry = Entry(pack(bitmap, n_pages), generation, time_ns, self.gap)
        books = self._replace(
            rounds=self.rounds.with_one(entry),
            by_round={each: pages for each, pages in earlier.items() if pages.any()} | {number: owing},
            fresh=empty(n_pages),
            asked=empty(n_pages),
            gap=False,
        )
        return books, Round(number, read_only(bitmap), generation, time_ns, entry.packed.n_set, self.gap)


def clear_pages(bitmap: U8Array, first: int, n_pages: int) -> None:
    """Clear pages ``first`` to ``first + n_pages``, at least one, in place."""
    last = first + n_pages - 1
    head, tail = np.uint8((1 << first % 8) - 1), np.uint8(0xFF << last % 8 + 1 & 0xFF)  # bits that stay
    if first >> 3 == last >> 3:
        bitmap[first >> 3] &= head | tail
        return
    bitmap[first >> 3] &= head
    bitmap[(first >> 3) + 1 : last >> 3] = 0
    bitmap[last >> 3] &= tail
