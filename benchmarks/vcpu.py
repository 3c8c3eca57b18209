"""``python -m benchmarks.vcpu``: ``Vcpu.run`` beside a bare walk of the same addresses, in one run.

Two walks are the peers: a bare one, which loads four entries an access and tests nothing, and a checked one, which tests each
for being present, as a walk of tables with holes must. What the vCPU leaves in the tables is checked before the timing.
*Python* is the share of a run that is not its kernel: checking the arguments, going in and out. In a clean run only *first
visits* meet an entry whose D is clear; with the pattern ``once`` all do.
"""

import statistics
import time
from typing import Any

import numpy as np

from benchmarks import baseline
from benchmarks.guest import Guest
from benchmarks.options import FORMATS, parser, save
from npt import ExitReason, PteFormat, Vcpu, format_size
from npt._types import U64Array
from npt.units import PAGE_SHIFT

_PATTERNS = ("random", "zipf", "once")


def addresses(pattern: str, n_pages: int, n: int, random: np.random.Generator) -> U64Array:
    """Addresses in pages drawn evenly, or with a chance of 1 / rank, in no order; or each page once."""
    if pattern == "random":
        pages = random.integers(0, n_pages, n, dtype=np.uint64)
    elif pattern == "once":
        pages = random.permutation(n_pages).astype(np.uint64)
    else:
        rank = np.minimum((float(n_pages) ** random.random(n)).astype(np.int64) - 1, n_pages - 1)
        pages = random.permutation(n_pages).astype(np.uint64)[rank]
    return pages << np.uint64(PAGE_SHIFT)


class _Guest(Guest):
    """One guest, all of it resident, and what times the work on it."""

    def __init__(self, format: PteFormat, size: int) -> None:
        super().__init__(format, size)
        self.client = self.space.client()
        self.present = int(format.masks.present)

    def check(self, vcpu: Vcpu, gpas: U64Array, write: Any) -> None:
        """A run on clean tables marks what it writes, all of it and nothing else; the peers load the same entries."""
        self.space.track_dirty(0, self.size)
        if vcpu.run(gpas, write=write).reason is not ExitReason.DONE:
            raise SystemExit("the vCPU did not get through")
        pages = (gpas >> np.uint64(PAGE_SHIFT)).astype(np.int64)
        expected = np.zeros(self.n_pages, np.bool_)
        expected[pages[np.broadcast_to(write, pages.shape)]] = True
        if not np.array_equal(np.unpackbits(self.space.peek_dirty(0, self.size), bitorder="little"), expected):
            raise SystemExit("the vCPU left other marks than it should")
        total = int(self.space.table.entries(1)[pages].sum())
        if not total == baseline.walk(self.levels, gpas) == baseline.checked_walk(self.levels, gpas, self.present):
            raise SystemExit("the walks came elsewhere")

    def round(self, vcpu: Vcpu, gpas: U64Array, write: Any) -> None:
        self.time("bare", lambda: baseline.walk(self.levels, gpas))
        self.time("checked", lambda: baseline.checked_walk(self.levels, gpas, self.present))
        self.space.track_dirty(0, self.size)
        self.time("clean", lambda: vcpu.run(gpas, write=write))
        self.space.set_dirty(0, self.size)
        self.time("dirty", lambda: vcpu.run(gpas, write=write))
        access, inside = vcpu._access, [0.0]

        def timed(*arguments: Any) -> None:
            start = time.perf_counter()
            access(*arguments)
            inside[0] += time.perf_counter() - start

        vars(vcpu)["_access"] = timed
        start = time.perf_counter()
        vcpu.run(gpas, write=write)
        total = time.perf_counter() - start
        del vars(vcpu)["_access"]
        self.seconds.setdefault("python", []).append((total - inside[0]) / total)


def measure(guest: _Guest, gpas: U64Array, write: Any, tlb: int, repeat: int) -> dict[str, Any]:
    """Ratios of one kind of run."""
    vcpu = Vcpu(guest.client, tlb=tlb)
    guest.check(vcpu, gpas, write)
    for number in range(repeat + 1):
        guest.round(vcpu, gpas, write)
        if number == 0:
            guest.seconds.clear()
    least = {name: min(times) for name, times in guest.seconds.items()}
    middle = {name: statistics.median(times) for name, times in guest.seconds.items()}
    guest.seconds.clear()
    row: dict[str, Any] = {"python": middle["python"], "first": np.unique(gpas >> np.uint64(PAGE_SHIFT)).size / gpas.size}
    for name in ("bare", "checked", "dirty", "clean"):
        row[f"{name}_ns"] = least[name] * 1e9 / gpas.size
    for name in ("dirty", "clean"):
        for peer in ("bare", "checked"):
            row[f"{name}_over_{peer}"] = least[name] / least[peer]
            row[f"{name}_over_{peer}_median"] = middle[name] / middle[peer]
    return row


def main() -> None:
    """Measure, print, and save if asked to."""
    made = parser(__doc__, repeat=7, sizes="1GiB 16GiB")
    made.add_argument("--tlb", action="append", type=int, help="entries; repeatable  [0 64 2048]")
    made.add_argument("--accesses", type=int, default=1 << 22)
    options = made.parse_args()
    rows = []
    for format in FORMATS.values():
        for size in options.size or (1 << 30, 16 << 30):
            guest, random = _Guest(format, size), np.random.default_rng(options.seed)
            for pattern in _PATTERNS:
                gpas = addresses(pattern, guest.n_pages, options.accesses, random)
                for tlb in (0, 64, 2048) if options.tlb is None else options.tlb:
                    for name, write in (("writes", True), ("mixed", random.random(gpas.size) < 0.5)):
                        what = {"format": format.name, "size": size, "pattern": pattern, "tlb": tlb, "accesses": name}
                        rows.append(what | measure(guest, gpas, write, tlb, options.repeat))
                        _show(rows[-1])
            guest.close()
    save(options, rows, n_accesses=options.accesses)


def _show(row: dict[str, Any]) -> None:
    said = [f"{row['format']} {format_size(row['size']):>6} {row['pattern']:<6} tlb {row['tlb']:>4} {row['accesses']:<6}"]
    said.append(f"bare {row['bare_ns']:5.2f} checked {row['checked_ns']:5.2f} ns")
    for name in ("dirty", "clean"):
        of = [f"{row[f'{name}_over_{peer}']:.2f} ({row[f'{name}_over_{peer}_median']:.2f})" for peer in ("bare", "checked")]
        said.append(f"{name} {row[f'{name}_ns']:5.2f} ns = {of[0]}x bare, {of[1]}x checked")
    print("  ".join(said), f" python {row['python']:.1%}, first visits {row['first']:.0%}", flush=True)


if __name__ == "__main__":
    main()
