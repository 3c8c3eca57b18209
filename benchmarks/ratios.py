"""``python -m benchmarks.ratios``: public calls beside the per-page baseline and the limits, in one run.

Both sides work on the same kind of tables and must give the same entries and bitmaps; that is checked before the timing.
"""

import statistics
from typing import Any

import numpy as np

from benchmarks import baseline
from benchmarks.guest import Guest
from benchmarks.options import FORMATS, parser, save
from npt import Prot, PteFormat, format_size

_VALUE = 0x5A5A5A5A5A5A5A5A
_NAMES = ("populate", "harvest clean", "harvest 1 %", "harvest 10 %", "unmap")


class _Pair(Guest):
    """One guest, worked on by npt's calls and by the baseline in turn."""

    def __init__(self, format: PteFormat, size: int, seed: int) -> None:
        super().__init__(format, size)
        self.entry = self.space.pte(0)
        self.dirty = int(format.masks.dirty)
        self.words = np.full(self.n_pages, _VALUE, np.uint64)
        random = np.random.default_rng(seed)
        self.some = {share: np.packbits(random.random(self.n_pages) < share, bitorder="little") for share in (0.0, 0.01, 0.1)}

    def leaves(self) -> Any:
        return self.space.table.entries(1)[: self.n_pages]

    def round(self) -> None:
        space, size, n = self.space, self.size, self.n_pages
        self.words.sum()
        self.time(("limit", "read"), self.words.sum)
        self.time(("limit", "fill"), lambda: self.words.fill(_VALUE))

        space.unmap(0, size)
        space.map(self.ram, 0, size, Prot.RWX)
        ours = self.time(("populate", "npt"), lambda: space.populate(0, size)), self.leaves().copy()
        baseline.unmap(self.levels, 0, n)
        theirs = self.time(("populate", "baseline"), lambda: baseline.populate(self.levels, 0, n, self.entry)), self.leaves()
        _same("populate", ours, theirs)

        for share, name in ((0.0, _NAMES[1]), (0.01, _NAMES[2]), (0.1, _NAMES[3])):
            space.set_dirty(0, size, select=self.some[share])
            got = self.time((name, "npt"), lambda: space.track_dirty(0, size))
            left = self.leaves().copy()
            space.set_dirty(0, size, select=self.some[share])
            bitmap = np.zeros((n + 7) // 8, np.uint8)
            self.time((name, "baseline"), lambda b=bitmap: baseline.harvest(self.levels, 0, n, self.dirty, b))
            _same(name, (got, left), (bitmap, self.leaves()))

        removed = self.time(("unmap", "baseline"), lambda: baseline.unmap(self.levels, 0, n))
        baseline.populate(self.levels, 0, n, self.entry)
        self.time(("unmap", "npt"), lambda: space.unmap(0, size))
        if removed != n or self.leaves().any():
            raise SystemExit("unmap: npt and the baseline differ")
        space.map(self.ram, 0, size, Prot.RWX)
        space.populate(0, size)


def _same(name: str, ours: tuple[Any, ...], theirs: tuple[Any, ...]) -> None:
    if not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise SystemExit(f"{name}: npt and the baseline differ")


def measure(format: PteFormat, size: int, repeat: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one format and size."""
    pair = _Pair(format, size, seed)
    for number in range(repeat + 1):
        pair.round()
        if number == 0:
            pair.seconds.clear()
    rows = []
    for name in _NAMES:
        limit = "read" if name.startswith("harvest") else "fill"
        ours, theirs = pair.seconds[name, "npt"], pair.seconds[name, "baseline"]
        rows.append(
            {
                "format": format.name,
                "size": size,
                "work": name,
                "npt_ns_per_page": min(ours) * 1e9 / pair.n_pages,
                "baseline_ns_per_page": min(theirs) * 1e9 / pair.n_pages,
                "times_the_baseline": min(theirs) / min(ours),
                "times_the_baseline_median": statistics.median(theirs) / statistics.median(ours),
                "limit": limit,
                "of_limit": min(pair.seconds["limit", limit]) / min(ours),
            }
        )
    pair.close()
    return rows


def main() -> None:
    """Measure, print, and save if asked to."""
    options = parser(__doc__, repeat=7, sizes="1GiB 16GiB").parse_args()
    rows = []
    for format in FORMATS.values():
        for size in options.size or (1 << 30, 16 << 30):
            for row in measure(format, size, options.repeat, options.seed):
                rows.append(row)
                print(
                    f"{row['format']} {format_size(size):>8}  {row['work']:<14} npt {row['npt_ns_per_page']:7.3f} ns a page, "
                    f"baseline {row['baseline_ns_per_page']:7.3f}: {row['times_the_baseline']:6.1f}x "
                    f"(medians {row['times_the_baseline_median']:6.1f}x), {row['of_limit']:.2f} of {row['limit']}",
                    flush=True,
                )
    save(options, rows)


if __name__ == "__main__":
    main()
