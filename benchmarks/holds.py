"""``python -m benchmarks.holds``: one hold, view and release beside the bare Python cycle, in one run.

The bare cycle is what any Python library must do for it: two lock/unlock pairs, one dict insert and delete, one memoryview
slice of a page; no object, no array.
"""

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.options import FORMATS, parser, save
from npt import PAGE_SIZE, Prot, PteFormat, Reservoir, VmSpace

_PAGES = 256


def bare(n: int) -> Callable[[], None]:
    """``n`` bare cycles over the pages of a buffer."""
    lock, pages = threading.Lock(), memoryview(bytearray(_PAGES * PAGE_SIZE))
    held: dict[int, int] = {}

    def cycles() -> None:
        for start in range(0, n * PAGE_SIZE, PAGE_SIZE):
            gpa = start % len(pages)
            with lock:
                held[gpa] = gpa
            pages[gpa : gpa + PAGE_SIZE]
            with lock:
                del held[gpa]

    return cycles


def holds(format: PteFormat, prot: Prot, n: int) -> Callable[[], None]:
    """``n`` times hold, view, release, over resident pages."""
    size = _PAGES * PAGE_SIZE
    reservoir = Reservoir(size)
    space = VmSpace(size, format=format, reservoir=reservoir, track_dirty=True)
    space.map(reservoir.allocate(size), 0, size, Prot.RWX)
    space.populate(0, size)
    client = space.client()
    writes = bool(prot & Prot.WRITE)

    def cycles() -> None:
        for start in range(0, n * PAGE_SIZE, PAGE_SIZE):
            page = client.hold(start % size, prot)
            page.writable() if writes else page.readable()
            page.release()

    return cycles


def measure(n: int, repeat: int) -> list[dict[str, Any]]:
    """A row for each format and protection; the bare cycle is timed in turn with each."""
    rows = []
    for name, format in FORMATS.items():
        for prot in (Prot.READ, Prot.RW):
            works = {"bare": bare(n), "npt": holds(format, prot, n)}
            seconds: dict[str, list[float]] = {side: [] for side in works}
            for number in range(repeat + 1):
                for side, work in works.items():
                    start = time.perf_counter()
                    work()
                    if number:
                        seconds[side].append(time.perf_counter() - start)
            best, middle = ({side: pick(times) for side, times in seconds.items()} for pick in (min, statistics.median))
            rows.append(
                {
                    "format": name,
                    "prot": prot.name,
                    "npt_ns": best["npt"] / n * 1e9,
                    "bare_ns": best["bare"] / n * 1e9,
                    "times_the_bare_cycle": best["npt"] / best["bare"],
                    "times_the_bare_cycle_median": middle["npt"] / middle["bare"],
                }
            )
    return rows


def main() -> None:
    """Measure, print, and save if asked to."""
    made = parser(__doc__, repeat=9)
    made.add_argument("--cycles", type=int, default=20_000)
    options = made.parse_args()
    rows = measure(options.cycles, options.repeat)
    for row in rows:
        print(
            f"{row['format']} {row['prot']:<4} hold + view + release {row['npt_ns']:6.0f} ns, bare {row['bare_ns']:5.0f} ns: "
            f"{row['times_the_bare_cycle']:.2f}x (medians {row['times_the_bare_cycle_median']:.2f}x)"
        )
    save(options, rows, cycles=options.cycles)


if __name__ == "__main__":
    main()
