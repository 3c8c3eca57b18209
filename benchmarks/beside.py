"""``python -m benchmarks.beside``: a harvest beside a running vCPU, and the same harvest alone, in one run.

The vCPU writes to random pages of a part of the guest in a thread of its own, pinned to another CPU, for as long as the
harvest takes. The harvest alone finds as many dirty pages, in the same part, put there before.
"""

import os
import statistics
import threading
import time
from typing import Any

import numpy as np

from benchmarks.guest import Guest
from benchmarks.options import FORMATS, parser, save
from npt import PAGE_SIZE, PteFormat, Vcpu, format_size

_ACCESSES = 1 << 20  # of a run of the vCPU


def _pin(number: int) -> None:
    """Keep this thread on a CPU of its own, where the system lets us."""
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(_CPUS)
        os.sched_setaffinity(0, {cpus[number % len(cpus)]})


_CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


class _Guest(Guest):
    """A populated guest without bytes, and a vCPU that writes into a share of it."""

    def __init__(self, format: PteFormat, size: int, share: float, seed: int) -> None:
        super().__init__(format, size)
        n_pages = max(int(self.n_pages * share), 1)
        self.gpas = np.random.default_rng(seed).integers(0, n_pages, _ACCESSES, dtype=np.uint64) * np.uint64(PAGE_SIZE)
        self.into = np.zeros(self.n_pages // 8, np.uint8)

    def harvest(self) -> tuple[float, int]:
        """Seconds of a harvest, and how many pages it found."""
        self.into.fill(0)
        start = time.perf_counter()
        self.space.track_dirty(0, self.size, into=self.into)
        return time.perf_counter() - start, int(np.bitwise_count(self.into).sum())

    def beside(self, repeat: int) -> list[tuple[float, int]]:
        """Harvests while the vCPU runs."""
        vcpu, stop = Vcpu(self.space.client()), threading.Event()

        def run() -> None:
            _pin(1)
            while not stop.is_set():
                vcpu.run(self.gpas, write=True)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            return [self.harvest() for _ in range(repeat + 1)][1:]
        finally:
            stop.set()
            thread.join()

    def alone(self, counts: list[int]) -> list[tuple[float, int]]:
        """Harvests of as many pages with nobody beside."""
        pages = np.unique(self.gpas // np.uint64(PAGE_SIZE))
        found = []
        for count in counts:
            select = np.zeros(self.into.size * 8, np.uint8)
            select[pages[np.linspace(0, pages.size - 1, min(count, pages.size)).astype(np.intp)]] = 1
            self.space.set_dirty(0, self.size, select=np.packbits(select, bitorder="little"))
            found.append(self.harvest())
        return found


def measure(format: PteFormat, size: int, share: float, repeat: int, seed: int) -> dict[str, Any]:
    """One row."""
    guest = _Guest(format, size, share, seed)
    guest.harvest()
    beside = guest.beside(repeat)
    alone = guest.alone([count for _, count in beside])
    best, middle = ([pick(seconds for seconds, _ in side) for side in (beside, alone)] for pick in (min, statistics.median))
    return {
        "format": format.name,
        "size": size,
        "share": share,
        "found_beside": statistics.median(count for _, count in beside),
        "found_alone": statistics.median(count for _, count in alone),
        "beside_s": best[0],
        "alone_s": best[1],
        "times_alone": best[0] / best[1],
        "times_alone_median": middle[0] / middle[1],
        "kicks": guest.space.counters.kicks,
    }


def main() -> None:
    """Measure, print, and save if asked to."""
    made = parser(__doc__, repeat=9, sizes="16GiB 64GiB")
    made.add_argument("--share", action="append", type=float, help="of the guest that is written to; repeatable  [1 0.01]")
    options = made.parse_args()
    _pin(0)
    rows = []
    for format in FORMATS.values():
        for size in options.size or (16 << 30, 64 << 30):
            for share in options.share or (1.0, 0.01):
                row = measure(format, size, share, options.repeat, options.seed)
                rows.append(row)
                print(
                    f"{row['format']} {format_size(size):>8}, {share:.0%} written to: beside {row['beside_s'] * 1e3:7.2f} ms "
                    f"({row['found_beside']:.0f} pages), alone {row['alone_s'] * 1e3:7.2f} ms ({row['found_alone']:.0f}): "
                    f"{row['times_alone']:.2f}x (medians {row['times_alone_median']:.2f}x)",
                    flush=True,
                )
    save(options, rows)


if __name__ == "__main__":
    main()
