"""Hypothesis strategies for guest memory: addresses, bitmaps, entries, guests, accesses, calls; for other people's tests too.

They draw what finds bugs: page numbers around the borders of tables and levels, starts and ends of spaces, entries with every
bit, bitmaps with junk behind their end. All shrink to what is smallest and plainest.

Hypothesis is a developer's tool: only this package imports it.

Examples
--------
>>> from hypothesis import find
>>> find(gpas(), lambda gpa: gpa > 2 << 20) == (2 << 20) + 4096
True
"""

try:
    import hypothesis as _hypothesis
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    raise ImportError("npt.testing.strategies needs hypothesis, which npt itself does not: pip install hypothesis") from None

from npt.testing.strategies.addresses import (
    BORDERS,
    bad_gpas,
    bad_lengths,
    bad_protections,
    bad_ranges,
    gpas,
    lengths,
    not_integers,
    page_counts,
    page_numbers,
    protections,
    ranges,
    sizes,
)
from npt.testing.strategies.bitmaps import bitmaps, page_sets, selects
from npt.testing.strategies.entries import entries, leaf_entries, pfns, table_entries
from npt.testing.strategies.guests import guests
from npt.testing.strategies.operations import operations
from npt.testing.strategies.scenes import Access, Built, Guest, Part, arguments
from npt.testing.strategies.vcpus import accesses

del _hypothesis

__all__ = [
    "BORDERS",
    "Access",
    "Built",
    "Guest",
    "Part",
    "accesses",
    "arguments",
    "bad_gpas",
    "bad_lengths",
    "bad_protections",
    "bad_ranges",
    "bitmaps",
    "entries",
    "gpas",
    "guests",
    "leaf_entries",
    "lengths",
    "not_integers",
    "operations",
    "page_counts",
    "page_numbers",
    "page_sets",
    "pfns",
    "protections",
    "ranges",
    "selects",
    "sizes",
    "table_entries",
]
