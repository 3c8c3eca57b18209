"""``python -m benchmarks.bitmaps``: work on bitmaps beside the limits of the memory, and the dirty calls beside each other.

The bitmap is that of a 12 TiB guest unless told otherwise. Each line is a ratio of least times of one run: of the limit (a sum
of the same bytes, a fill of the result's), or of a peer (``np.bitwise_or(out=)``, the plain harvest).
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.guest import Guest
from benchmarks.options import FORMATS, parser, save
from npt import PAGE_SIZE, PteFormat, Vcpu, dirty, format_size, parse_size
from npt.dirty import RUN

_SHARE = 0.01
_VALUE = 0x5A5A5A5A5A5A5A5A
_HARVEST_SHARES = (0.0, 0.01, 0.1)


class _Clock:
    """Times of named works, one of each in turn."""

    def __init__(self, works: dict[str, Callable[[], Any]]) -> None:
        self._works = works
        self.seconds: dict[str, list[float]] = {name: [] for name in works}

    def run(self, repeat: int) -> None:
        for number in range(repeat + 1):
            for name, work in self._works.items():
                start = time.perf_counter()
                work()
                if number:  # the first round touches memory and loads kernels
                    self.seconds[name].append(time.perf_counter() - start)

    def least(self, *names: str) -> float:
        return sum(min(self.seconds[name]) for name in names)

    def median(self, *names: str) -> float:
        return sum(statistics.median(self.seconds[name]) for name in names)


def _row(clock: _Clock, work: str, peers: tuple[str, ...], against: str, target: str) -> dict[str, Any]:
    return {
        "work": work,
        "seconds": clock.least(work),
        "against": against,
        "speed": clock.least(*peers) / clock.least(work),
        "speed_median": clock.median(*peers) / clock.median(work),
        "target": target,
    }


def bitmaps(n_bytes: int, repeat: int, seed: int) -> list[dict[str, Any]]:
    """Runs, counts and algebra on bitmaps of a size."""
    random = np.random.default_rng(seed)
    n_pages = n_bytes * 8
    full = dirty.full(n_pages)
    clean = full.copy()
    clean.fill(0)  # memory of its own: fresh zeros are all the same page, and come from the cache
    sparse = dirty.from_pages(random.integers(0, n_pages, int(n_pages * _SHARE), dtype=np.uint64), n_pages)
    other, out = full.copy(), full.copy()
    recycled = np.full(dirty.runs(sparse).size, 0, RUN)
    result = recycled.view(np.uint64)
    dirty.runs(sparse, out=recycled)
    _check(sparse, recycled)
    clock = _Clock(
        {
            "read": clean.view(np.uint64).sum,
            "fill": lambda: result.fill(_VALUE),
            "runs, clean": lambda: dirty.runs(clean),
            "runs, full": lambda: dirty.runs(full),
            "runs, 1 % random": lambda: dirty.runs(sparse, out=recycled),
            "runs, 1 % random, fresh memory": lambda: dirty.runs(sparse),
            "count": lambda: dirty.count(sparse),
            "np.bitwise_or": lambda: np.bitwise_or(sparse, other, out=out),
            "union": lambda: dirty.union(sparse, other, out=out),
            "intersection": lambda: dirty.intersection(sparse, other, out=out),
            "symmetric difference": lambda: dirty.symmetric_difference(sparse, other, out=out),
            "difference": lambda: dirty.difference(sparse, other, out=out),
            "np.bitwise_or in place": lambda: np.bitwise_or(out, other, out=out),
            "union in place": lambda: dirty.union(out, other, out=out),
            "intersection in place": lambda: dirty.intersection(out, other, out=out),
            "symmetric difference in place": lambda: dirty.symmetric_difference(out, other, out=out),
            "difference in place": lambda: dirty.difference(out, other, out=out),
        }
    )
    clock.run(repeat)
    rows = [_row(clock, name, ("read",), "read", f">= {least}") for name, least in (("runs, clean", 0.75), ("runs, full", 0.7))]
    for name, target in (("runs, 1 % random", ">= 0.25"), ("runs, 1 % random, fresh memory", "")):
        rows.append(_row(clock, name, ("read", "fill"), "read + fill", target))
    rows.append(_row(clock, "count", ("read",), "read", ""))
    for name in ("union", "intersection", "symmetric difference", "difference"):
        rows.append(_row(clock, name, ("np.bitwise_or",), "np.bitwise_or", ">= 0.7"))
        rows.append(_row(clock, f"{name} in place", ("np.bitwise_or in place",), "np.bitwise_or in place", ">= 0.7"))
    return [{"format": "", "size": n_bytes, **row} for row in rows]


def _check(bitmap: np.ndarray[Any, Any], runs: np.ndarray[Any, Any]) -> None:
    """What is timed must be right."""
    if not np.array_equal(dirty.from_runs(runs, bitmap.size * 8), bitmap):
        raise SystemExit("runs: not what the bitmap has")


def calls(format: PteFormat, size: int, repeat: int, seed: int) -> list[dict[str, Any]]:
    """The dirty calls on a guest, by share of dirty pages."""
    guest = Guest(format, size)
    space, random = guest.space, np.random.default_rng(seed)
    whole, half = (np.full(guest.n_pages // 8, bits, np.uint8) for bits in (0xFF, 0x55))
    vcpu = Vcpu(space.client())
    rows: list[dict[str, Any]] = []
    for share in _HARVEST_SHARES:
        gpas = random.permutation(guest.n_pages)[: int(share * guest.n_pages)].astype(np.uint64) * np.uint64(PAGE_SIZE)
        clock = _Clock(
            {
                "dirty": lambda gpas=gpas: vcpu.run(gpas, write=True),
                "peek": lambda: space.peek_dirty(0, size),
                "plain harvest": lambda: space.track_dirty(0, size),
                "dirty again": lambda gpas=gpas: vcpu.run(gpas, write=True),
                "selected harvest, all": lambda: space.reset_dirty(0, size, select=whole),
                "dirty once more": lambda gpas=gpas: vcpu.run(gpas, write=True),
                "selected harvest, half": lambda: space.reset_dirty(0, size, select=half),
                "the rest": lambda: space.track_dirty(0, size),
            }
        )
        clock.run(repeat)
        for work, target in (("peek", ">= 1"), ("selected harvest, all", ">= 0.67"), ("selected harvest, half", ">= 0.67")):
            row = _row(clock, work, ("plain harvest",), f"plain harvest, {share * 100:g} % dirty", target)
            rows.append({"format": format.name, "size": size, **row})
    guest.close()
    return rows


def main() -> None:
    """Measure, print, and save if asked to."""
    options = parser(__doc__, repeat=7, sizes="1GiB 16GiB")
    options.add_argument("--bitmap", type=parse_size, default=384 << 20, help="bytes of the bitmaps  [384MiB]")
    chosen = options.parse_args()
    rows = bitmaps(chosen.bitmap, chosen.repeat, chosen.seed)
    for format in FORMATS.values():
        for size in chosen.size or (1 << 30, 16 << 30):
            rows += calls(format, size, chosen.repeat, chosen.seed)
    for row in rows:
        print(
            f"{row['format']:>3} {format_size(row['size']):>8}  {row['work']:<32} {row['speed']:6.2f} "
            f"(medians {row['speed_median']:6.2f}) of the speed of {row['against']}   {row['target']}",
            flush=True,
        )
    save(chosen, rows, bitmap=chosen.bitmap)


if __name__ == "__main__":
    main()
