"""Dirty bits beside who sets them and who clears them: none is lost."""

from typing import Any

import numpy as np

from npt import EPT, Prot
from npt.space.gate import ON_CPU
from npt.testing import Play, step, until
from tests.interleavings.scenario import scenario
from tests.interleavings.scene import FAR, HERE, NEXT, PAGE, Case, Copy, Scene, write

__all__: list[str] = []

OLD, MIDDLE, NEW = 0x11, 0x1A, 0x22
BLOCK = 4  # accesses that a vCPU does together where 64 would be steps without end; the threads' tests have all 64
SMALL_BLOCKS = (("guest", "_BLOCK = np.uint64(64)", f"_BLOCK = np.uint64({BLOCK})"),)


@scenario("the old one", "the middle one", "the new one", tlbs=(0, 2))
def enter_against_harvest(case: Case) -> Play:
    """A vCPU that may remember that the page was dirty enters, twice, while the host harvests and copies."""
    scene = Scene(case)
    ram = scene.ram()
    scene.map(ram, HERE)
    vcpu = scene.vcpu()
    write(vcpu, HERE, OLD)
    copy = Copy(scene, ram, HERE)

    def run() -> None:
        write(vcpu, HERE, MIDDLE)
        write(vcpu, HERE, NEW)

    def harvest() -> None:
        assert copy.harvest() == [0]

    def finish() -> None:
        case.seen.add({OLD: "the old one", MIDDLE: "the middle one", NEW: "the new one"}[copy.words[0]])
        copy.check()
        assert copy.words == [NEW]

    return scene.play([run, harvest], finish)


@scenario("marked first", "cleared first", small=True)
def clear_accessed_against_write(case: Case) -> Play:
    """A is cleared while a vCPU writes: D stays."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE)
    vcpu = scene.vcpu()
    vcpu.run([HERE])

    def clear() -> None:
        assert scene.space.accessed(HERE, PAGE, clear=True)[0] == 1

    def finish() -> None:
        case.seen.add("cleared first" if scene.space.accessed(HERE, PAGE)[0] else "marked first")
        assert scene.space.peek_dirty(HERE, PAGE)[0] == 1, "D was lost"

    return scene.play([lambda: write(vcpu, HERE, NEW), clear], finish)


@scenario(
    "by one, then by the other", "by the other, then by one", "by one", "by the other", forms=(EPT,), sampled=1500,
)  # fmt: skip
def harvest_against_harvest(case: Case) -> Play:
    """Two threads harvest and copy, one of them by selection, while a vCPU writes."""
    scene = Scene(case)
    ram = scene.ram(2)
    scene.map(ram, HERE)
    vcpu = scene.vcpu()
    write(vcpu, HERE, OLD)
    write(vcpu, NEXT, OLD)
    copy = Copy(scene, ram, HERE)
    reports: list[tuple[str, int]] = []

    def one() -> None:
        reports.extend(("one", page) for page in copy.harvest())

    def other() -> None:
        bitmap = scene.space.reset_dirty(HERE, 2 * PAGE, select=np.array([0b11], np.uint8))
        reports.extend(("the other", page) for page in copy.of(bitmap))

    def finish() -> None:
        assert [page for _, page in reports].count(1) == 1, f"page 1, written once, was reported by {reports}"
        who = [name for name, page in reports if page == 0]
        assert who
        case.seen.add(", then ".join(f"by {name}" for name in who))
        copy.check()
        assert copy.words == [NEW, OLD]

    return scene.play([one, other, lambda: write(vcpu, HERE, NEW)], finish)


@scenario("in the first harvest", "in the second", tlbs=(0, 2), small=True)
def first_write_against_harvest(case: Case) -> Play:
    """A clean page, whose neighbour is dirty, is written while the host harvests and copies."""
    scene = Scene(case)
    ram = scene.ram(2)
    scene.map(ram, HERE, resident=True)
    vcpu = scene.vcpu()
    write(vcpu, NEXT, OLD)
    copy = Copy(scene, ram, HERE)
    first: list[int] = []

    def finish() -> None:
        case.seen.add("in the first harvest" if 0 in first else "in the second")
        copy.check()
        assert copy.words == [NEW, OLD]

    return scene.play([lambda: write(vcpu, HERE, NEW), lambda: first.extend(copy.harvest())], finish)


class _Later:
    """Two pages, dirty and clean, under one leaf table, and a vCPU that writes to both, two blocks of accesses apart."""

    def __init__(self, case: Case) -> None:
        self.case, self.scene = case, Scene(case)
        ram = self.scene.ram(2)
        self.scene.map(ram, HERE, resident=True)
        self.scene.map(self.scene.ram(), FAR, resident=True)
        self.vcpu = self.scene.vcpu()
        write(self.vcpu, NEXT, OLD)
        self.copy = Copy(self.scene, ram, HERE)
        self.first: list[int] = []

    def run(self) -> None:
        gpas = np.full(2 * BLOCK + 1, FAR, np.uint64)
        gpas[0], gpas[-1] = NEXT, HERE
        self.vcpu.run(gpas, write=gpas != FAR, values=np.full(gpas.size, NEW))

    def harvest(self) -> None:
        self.first += self.copy.harvest()

    def finish(self) -> None:
        self.case.seen.add("in the first harvest" if 0 in self.first else "in the second")
        self.copy.check()
        assert self.copy.words == [NEW, NEW]


@scenario("in the first harvest", "in the second", forms=(EPT,), kernels=SMALL_BLOCKS)
def later_write_against_harvest(case: Case) -> Play:
    """The same in a run that knows the leaf table as touched: it wrote to the neighbour, two blocks of accesses before."""
    later = _Later(case)
    return later.scene.play([later.run, later.harvest], later.finish)


@scenario("in the first harvest", "in the second", forms=(EPT,), kernels=SMALL_BLOCKS)
def write_from_within_harvest(case: Case) -> Play:
    """The same in a run that begins while the harvest takes tables, which keeps no vCPU out."""
    later = _Later(case)
    later.scene.never_still()
    table, line = later.scene.space.table, later.vcpu.client.gate.line
    summary, ended = table._summary, list[bool]()

    def run() -> None:
        until(lambda: table.takes[0] & 1, "a harvest that takes tables")
        later.run()
        ended.append(True)

    def wait_for_vcpu(dirty: bool) -> Any:
        if table.takes[0] & 1:
            until(lambda: line[ON_CPU] or ended, "a vCPU that enters")
        return summary(dirty)

    vars(table)["_summary"] = wait_for_vcpu
    return later.scene.play([run, later.harvest], later.finish)


@scenario("first the other's", "first its own", tlbs=(0, 2))
def own_harvest_against_write(case: Case) -> Play:
    """Who has written a page and harvests it then copies what he wrote, though another vCPU is just writing there, too."""
    scene = Scene(case)
    ram = scene.ram()
    scene.map(ram, HERE, resident=True)
    vcpus = scene.vcpu(), scene.vcpu()
    copy = Copy(scene, ram, HERE)

    def run_and_harvest() -> None:
        write(vcpus[1], HERE, NEW)
        copy.harvest()
        case.seen.add("first the other's" if copy.words == [MIDDLE] else "first its own")
        assert copy.words in ([MIDDLE], [NEW]), "its own write is not in the harvest behind it"

    def finish() -> None:
        copy.check()

    return scene.play([lambda: write(vcpus[0], HERE, MIDDLE), run_and_harvest], finish)


@scenario("the vCPU's", "the client's", tlbs=(0, 2))
def own_harvest_after_release(case: Case) -> Play:
    """The same for who has written through a hold and released it."""
    scene = Scene(case)
    ram = scene.ram()
    scene.map(ram, HERE, resident=True)
    vcpu, client = scene.vcpu(), scene.client()
    copy = Copy(scene, ram, HERE)

    def release_and_harvest() -> None:
        with client.hold(HERE, Prot.RW) as page:
            page.writable().view(np.uint64)[0] = NEW
        copy.harvest()
        case.seen.add("the vCPU's" if copy.words == [MIDDLE] else "the client's")
        assert copy.words in ([MIDDLE], [NEW]), "its own write is not in the harvest behind it"

    def finish() -> None:
        copy.check()

    return scene.play([lambda: write(vcpu, HERE, MIDDLE), release_and_harvest], finish)


@scenario("released, then harvested", "harvested, then released", small=True)
def release_against_harvest(case: Case) -> Play:
    """A page that was written through a hold is released, beside a dirty one, while the host harvests and copies."""
    scene = Scene(case)
    ram = scene.ram(2)
    scene.map(ram, HERE)
    client = scene.client()
    client.write(NEXT, OLD.to_bytes(8, "little"))
    page = client.hold(HERE, Prot.RW)
    copy = Copy(scene, ram, HERE)
    first: list[int] = []

    def release() -> None:
        page.writable()[0] = OLD
        step("store again")
        page.writable()[0] = NEW
        assert page.release() is False

    def finish() -> None:
        copy.check()
        case.seen.add("released, then harvested" if 0 in first else "harvested, then released")
        assert copy.words == [NEW, OLD]

    return scene.play([release, lambda: first.extend(copy.harvest())], finish)


@scenario("written, then harvested", "harvested, then written")
def write_against_harvest(case: Case) -> Play:
    """A client writes over two pages, and releases a batch that it wrote, while the host harvests and copies."""
    scene = Scene(case)
    ram = scene.ram(2)
    scene.map(ram, HERE)
    client = scene.client()
    copy = Copy(scene, ram, HERE)
    first: list[int] = []

    def release() -> None:
        client.write(HERE, NEW.to_bytes(8, "little").ljust(PAGE + 8, b"\1"))
        batch = client.hold_many([HERE], Prot.WRITE)
        step("scatter")
        batch.scatter(np.full((1, PAGE), NEW, np.uint8))
        batch.release()

    def finish() -> None:
        case.seen.add("written, then harvested" if first else "harvested, then written")
        copy.check()
        assert copy.words == [int.from_bytes(bytes([byte] * 8), "little") for byte in (NEW, 1)]

    return scene.play([release, lambda: first.extend(copy.harvest())], finish)


@scenario("copied at once", "in the log", tlbs=(0, 2))
def set_tracking_against_new_client(case: Case) -> Play:
    """A client is made, and a vCPU writes through it, while tracking is turned on; then the host copies everything."""
    scene = Scene(case, track_dirty=False)
    ram = scene.ram()
    scene.map(ram, HERE, resident=True)
    copy = Copy(scene, ram, HERE)

    def run() -> None:
        vcpu = scene.vcpu()
        write(vcpu, HERE, OLD)
        write(vcpu, HERE, NEW)

    def track() -> None:
        scene.space.set_tracking(True)
        copy.take([0])

    def finish() -> None:
        case.seen.add("copied at once" if copy.words == [NEW] else "in the log")
        copy.check()
        assert copy.words == [NEW]

    return scene.play([run, track], finish)


@scenario("marked", "not marked", forms=(EPT,), preemptions=3, small=True)
def tracking_off_against_run(case: Case) -> Play:
    """Tracking is turned off while a vCPU writes: once that has returned, nothing is marked any more."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE, resident=True)
    vcpu = scene.vcpu()
    entries = scene.space.table.entries(1)
    marked: list[bool] = []

    def is_marked() -> bool:
        return bool((entries & case.form.masks.dirty).any())

    def turn_off() -> None:
        scene.space.set_tracking(False)
        marked.append(is_marked())

    def finish() -> None:
        assert marked == [is_marked()], "marked after tracking was off"
        case.seen.add("marked" if marked[0] else "not marked")

    return scene.play([lambda: write(vcpu, HERE, NEW), turn_off], finish)
