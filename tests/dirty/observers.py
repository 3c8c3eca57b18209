"""Mechanisms in plain Python, from their definitions: sets and dicts of pages, one access at a time."""

from collections.abc import Iterable

__all__ = ["PlainLog", "PlainMechanism", "PlainProtect", "PlainRing", "PlainScan"]

EVENTS = ("faults", "log_full_exits", "ring_full_exits", "pte_reads", "pte_writes", "shoot_downs", "flushes")


class PlainMechanism:
    """What all do alike: count, remember what was reported, and who has stale translations."""

    def __init__(self, n_pages: int, n_vcpus: int) -> None:
        self.n_pages, self.n_vcpus = n_pages, n_vcpus
        self.counts = dict.fromkeys(EVENTS, 0)
        self.reported: set[int] = set()
        self.stale: set[int] = set()
        self.set_up()
        self.setup = dict(self.counts)

    @property
    def events(self) -> dict[str, int]:
        """Counts since it was turned on."""
        return {name: self.counts[name] - self.setup[name] for name in EVENTS}

    def shoot_down(self) -> None:
        self.counts["shoot_downs"] += 1
        self.stale = set(range(self.n_vcpus))

    def run(self, vcpu: int, pages: Iterable[int]) -> None:
        """Pages of the range that one run writes, in order."""
        if vcpu in self.stale:
            self.counts["flushes"] += 1
            self.stale.discard(vcpu)
        for page in pages:
            self.write(vcpu, page)

    def collect(self) -> set[int]:
        self.reported = set(self.find())
        return set(self.reported)

    def harvest(self) -> set[int]:
        found = self.collect()
        self.clear(0, self.n_pages)
        return found

    def take(self, first: int, n_pages: int) -> set[int]:
        """Reported pages of a part, which are reported no more."""
        part = {page for page in self.reported if first <= page < first + n_pages}
        self.reported -= part
        return part

    def set_up(self) -> None:
        self.counts["pte_reads"] = self.counts["pte_writes"] = self.n_pages
        self.shoot_down()

    def arm(self, pages: set[int]) -> None:
        """Entries of pages that are not armed are read and written."""
        self.counts["pte_reads"] += len(pages)
        self.counts["pte_writes"] += len(pages)
        if pages:
            self.shoot_down()

    def write(self, vcpu: int, page: int) -> None:
        raise NotImplementedError

    def find(self) -> set[int]:
        raise NotImplementedError

    def clear(self, first: int, n_pages: int) -> None:
        raise NotImplementedError


class PlainScan(PlainMechanism):
    """D bits. ``tabled`` are the pages of the range that have a leaf table; ``before`` were dirty before."""

    def __init__(self, n_pages: int, n_vcpus: int, tabled: set[int], before: int = 0) -> None:
        self.tabled, self.before = tabled, before
        self.d_bits: set[int] = set()
        super().__init__(n_pages, n_vcpus)

    def set_up(self) -> None:
        self.counts["pte_reads"] += len(self.tabled)
        self.counts["pte_writes"] += self.before
        self.shoot_down()

    def write(self, vcpu: int, page: int) -> None:
        self.d_bits.add(page)

    def find(self) -> set[int]:
        self.counts["pte_reads"] += len(self.tabled)
        return self.d_bits

    def clear(self, first: int, n_pages: int) -> None:
        self.counts["pte_reads"] += len(self.tabled.intersection(range(first, first + n_pages)))
        part = self.take(first, n_pages)
        self.counts["pte_writes"] += len(part)
        self.d_bits -= part
        self.shoot_down()

    def harvest(self) -> set[int]:
        found = self.d_bits
        self.d_bits, self.reported = set(), set()
        self.counts["pte_reads"] += len(self.tabled)
        self.counts["pte_writes"] += len(found)
        self.shoot_down()
        return found


class PlainProtect(PlainMechanism):
    """Write-protection."""

    def __init__(self, n_pages: int, n_vcpus: int) -> None:
        self.writable: set[int] = set()
        super().__init__(n_pages, n_vcpus)

    def write(self, vcpu: int, page: int) -> None:
        if page not in self.writable:
            self.writable.add(page)
            for name in ("faults", "pte_reads", "pte_writes"):
                self.counts[name] += 1

    def find(self) -> set[int]:
        return self.writable

    def clear(self, first: int, n_pages: int) -> None:
        part = self.take(first, n_pages)
        self.writable -= part
        self.arm(part)


class PlainLog(PlainMechanism):
    """PML: a list for each vCPU."""

    def __init__(self, n_pages: int, n_vcpus: int, entries: int = 512) -> None:
        self.entries = entries
        self.d_bits: set[int] = set()
        self.bitmap: set[int] = set()
        self.logs: dict[int, list[int]] = {vcpu: [] for vcpu in range(n_vcpus)}
        super().__init__(n_pages, n_vcpus)

    def write(self, vcpu: int, page: int) -> None:
        if page in self.d_bits:
            return
        self.d_bits.add(page)
        log = self.logs[vcpu]
        if len(log) == self.entries:
            self.counts["log_full_exits"] += 1
            self.bitmap.update(log)
            log.clear()
        log.append(page)

    def find(self) -> set[int]:
        for log in self.logs.values():
            self.bitmap.update(log)
            log.clear()
        return self.bitmap

    def clear(self, first: int, n_pages: int) -> None:
        part = self.take(first, n_pages)
        self.bitmap -= part
        self.d_bits -= part
        self.arm(part)


class PlainRing(PlainMechanism):
    """Rings: a list for each vCPU, emptied as soon as it is nearly full."""

    def __init__(self, n_pages: int, n_vcpus: int, size: int, reserved: int = 0) -> None:
        self.full = size - reserved
        self.writable: set[int] = set()
        self.bitmap: set[int] = set()
        self.rings: dict[int, list[int]] = {vcpu: [] for vcpu in range(n_vcpus)}
        super().__init__(n_pages, n_vcpus)

    def write(self, vcpu: int, page: int) -> None:
        if page in self.writable:
            return
        self.writable.add(page)
        for name in ("faults", "pte_reads", "pte_writes"):
            self.counts[name] += 1
        ring = self.rings[vcpu]
        ring.append(page)
        if len(ring) >= self.full:
            self.counts["ring_full_exits"] += 1
            self.bitmap.update(ring)
            self.writable -= set(ring)
            self.arm(set(ring))
            ring.clear()

    def reap(self) -> None:
        for ring in self.rings.values():
            self.bitmap.update(ring)
            ring.clear()

    def find(self) -> set[int]:
        self.reap()
        return self.bitmap

    def clear(self, first: int, n_pages: int) -> None:
        self.reap()
        part = self.take(first, n_pages)
        self.bitmap -= part
        self.arm(part & self.writable)
        self.writable -= part
