"""Look-ups beside changes of the mappings: hold, fault, release, populate."""

from npt import Fault, FaultCode, NoSuchMapping, Prot, VmPage
from npt.testing import Play, step
from npt.units import PAGE_SHIFT
from tests.interleavings.scenario import scenario
from tests.interleavings.scene import FAR, HERE, NEXT, PAGE, Case, Scene, write

__all__: list[str] = []

ONE, OTHER, NEIGHBOUR = 0x11, 0x22, 0x33


def _word(page: VmPage) -> int:
    return int.from_bytes(page.readable()[:8], "little")


@scenario("nothing", "one", "one, unmapped meanwhile", "the other", small=True)
def hold_against_map(case: Case) -> Play:
    """A page is held while something is mapped there, unmapped, and something else is mapped there."""
    scene = Scene(case)
    one, other, neighbour = scene.ram(word=ONE), scene.ram(word=OTHER), scene.ram(word=NEIGHBOUR)
    scene.map(neighbour, NEXT, resident=True)  # so that the leaf table stays
    client = scene.client()
    names = {one.pfn_at(0): (ONE, "one"), other.pfn_at(0): (OTHER, "the other")}

    def hold() -> None:
        try:
            page = client.hold(HERE, Prot.RW)
        except Fault as fault:
            case.seen.add({FaultCode.NOMAP: "nothing"}[fault.code])
            return
        word, name = names[page.pfn]
        assert _word(page) == word
        step("look again")
        assert _word(page) == word
        unmapped = page.release()
        assert unmapped in ((False, True) if name == "one" else (False,))
        case.seen.add(f"{name}, unmapped meanwhile" if unmapped else name)

    def change() -> None:
        scene.map(one, HERE)
        scene.space.unmap(HERE, PAGE)
        scene.map(other, HERE)

    def finish() -> None:
        assert (one.refs, other.refs) == (1, 2)
        assert scene.space.translate([HERE])[0] in (other.pfn_at(0), 2**64 - 1)

    return scene.play([hold, change], finish)


@scenario("first of one, then of the other", "the same for both", small=True)
def fault_against_fault(case: Case) -> Play:
    """Two vCPUs fault on one page: one reads it, the other writes."""
    scene = Scene(case)
    ram = scene.ram()
    scene.map(ram, HERE)
    reader, writer = scene.vcpu(), scene.vcpu()

    def finish() -> None:
        faults = [vcpu.client.gate.faults for vcpu in (reader, writer)]
        assert sorted(faults) in ([0, 1], [1, 1])
        case.seen.add("the same for both" if faults == [1, 1] else "first of one, then of the other")
        assert scene.space.resident_count == 1
        assert scene.word(ram) == OTHER
        assert scene.space.accessed(HERE, PAGE)[0] == 1
        assert scene.space.track_dirty(HERE, PAGE)[0] == 1, "D was lost"

    return scene.play([lambda: reader.run([HERE]), lambda: write(writer, HERE, OTHER)], finish)


@scenario("released, then unmapped", "unmapped, then released", small=True)
def release_against_unmap(case: Case) -> Play:
    """A held page, and a batch, are released while they are unmapped, freed, and their memory is handed out again."""
    scene = Scene(case, 2)
    ram = scene.ram()
    scene.map(ram, HERE)
    client = scene.client()
    page, batch = client.hold(HERE, Prot.RW), client.hold_many([HERE], Prot.RW)
    view = page.writable()
    told: list[bool] = []

    def release() -> None:
        view[0] = 1
        told.append(page.release())
        view[0] = 2  # as who kept a view too long
        told.append(batch.release() == 1)
        view[0] = 3

    def unmap() -> None:
        scene.space.unmap(HERE, PAGE)
        ram.release()
        new = scene.reservoir.allocate(PAGE)
        scene.map(new, FAR, resident=True)
        assert scene.is_zero(new)

    def finish() -> None:
        assert told in ([False, False], [False, True], [True, True])
        case.seen.add("unmapped, then released" if told[0] else "released, then unmapped")
        assert ram.refs == 0
        (new,) = scene.space.mappings
        assert not scene.space.peek_dirty(FAR, PAGE).any()
        assert scene.is_zero(new.obj)  # type: ignore[arg-type]
        assert scene.reservoir.usage.quarantined == PAGE

    return scene.play([release, unmap], finish)


@scenario("nothing", "one", "the other", small=True)
def populate_against_unmap(case: Case) -> Play:
    """A range is populated while it is unmapped and something else is mapped there."""
    scene = Scene(case, 5)
    one, other, neighbour = scene.ram(2), scene.ram(2), scene.ram()
    scene.map(one, HERE)
    scene.map(neighbour, HERE - PAGE + 3 * PAGE, resident=True)
    scene.client().fault(HERE + PAGE, Prot.WRITE)
    added: list[int] = []

    def populate() -> None:
        try:
            added.append(scene.space.populate(HERE, 2 * PAGE))
        except NoSuchMapping:
            case.seen.add("nothing")

    def change() -> None:
        scene.space.unmap(HERE, 2 * PAGE)
        scene.map(other, HERE)

    def finish() -> None:
        pfns = [int(pfn) for pfn in scene.space.translate([HERE, HERE + PAGE])]
        if added == [2]:
            assert pfns == [other.pfn_at(0), other.pfn_at(PAGE)]
            case.seen.add("the other")
        else:
            assert pfns == [2**64 - 1] * 2
            assert added in ([], [1])
            case.seen |= {"one"} if added else set()
        assert scene.space.resident_count == 1 + sum(pfn != 2**64 - 1 for pfn in pfns)

    return scene.play([populate, change], finish)


@scenario("populated first", "written first")
def populate_against_write(case: Case) -> Play:
    """A range is populated while a vCPU marks a page of it that is there, and one that is not."""
    scene = Scene(case)
    ram = scene.ram(2)
    scene.map(ram, HERE)
    vcpu = scene.vcpu()
    vcpu.client.fault(HERE, Prot.WRITE)
    added: list[int] = []

    def run() -> None:
        write(vcpu, HERE, ONE)
        write(vcpu, NEXT, OTHER)

    def finish() -> None:
        case.seen.add("populated first" if added == [1] else "written first")
        assert added in ([0], [1])
        assert scene.space.resident_count == ram.length >> PAGE_SHIFT
        assert scene.space.track_dirty(HERE, 2 * PAGE)[0] == 0b11, "D was lost"

    return scene.play([run, lambda: added.append(scene.space.populate(HERE, 2 * PAGE))], finish)
