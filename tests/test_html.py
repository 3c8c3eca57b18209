"""What objects show in a notebook: short, escaped, the same numbers as their other calls, and never in anybody's way."""

import re
import threading
from collections.abc import Iterable
from html.parser import HTMLParser

import pytest

from npt import EPT, NPT, PAGE_SIZE, Prot, PteFormat, Reservoir, Vcpu, Vm, VmSpace, _html
from npt.dirty import DirtyLog
from npt.studies import Results, precopy

MIB = 1 << 20
LONGEST = 20_000  # characters


class _Text(HTMLParser):
    """All text, cell by cell; tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.cells.append(data.strip())


def text(shown: _html.Shown) -> list[str]:
    """What it shows, without tags; it stays short, and has no style that a hosting site would strip."""
    html = shown._repr_html_()
    assert len(html) < LONGEST
    assert "<style" not in html
    assert "<script" not in html
    return _Text(html).cells


def test_reservoir__shows_where_its_frames_are() -> None:
    """The bar's legend is the usage."""
    with Reservoir(8 * MIB, limit=9 * MIB) as reservoir, reservoir.allocate(3 * MIB) as _ram:
        shown = text(reservoir)
        assert {"allocated 3 MiB", "free 5 MiB", "quarantined 0 B", "transient 0 B"} <= set(shown)
        assert shown[shown.index("free spans") + 1] == "1, the largest of 5 MiB"
    assert text(reservoir)[0] == "Reservoir, closed"


@pytest.mark.parametrize("form", [EPT, NPT], ids=["ept", "npt"])
def test_space__shows_its_mappings_and_what_is_resident(form: PteFormat) -> None:
    """Sizes, a row for each mapping, at most ten of them."""
    with Reservoir(8 * MIB) as reservoir, reservoir.allocate(4 * MIB) as ram:
        with VmSpace(1 << 40, format=form, reservoir=reservoir) as space:
            for number in range(13):
                space.map(ram, number * MIB, PAGE_SIZE, Prot.RX, offset=number * PAGE_SIZE)
            space.populate(0, PAGE_SIZE)
            shown = text(space)
            assert {"resident 4 KiB", "mapped only 48 KiB", "and 3 more", f"{space.table_root:#x}"} <= set(shown)
            first = shown.index("0x0")
            assert shown[first : first + 5] == ["0x0", "4 KiB", "RX", shown[first + 3], "0x0"]
            tables = text(space.table)
            assert tables[tables.index("1", 9) :][:2]
            assert [str(space.table.tables_in_use(level)) in tables for level in (4, 3, 2, 1)] == [True] * 4
        assert text(space)[0] == "VmSpace, destroyed"


def test_clients__show_what_they_hold() -> None:
    """One by one and together; no more than ten rows each."""
    with Reservoir(8 * MIB) as reservoir, reservoir.allocate(MIB) as ram, VmSpace(1 << 30, reservoir=reservoir) as space:
        space.map(ram, 0, MIB, Prot.RW)
        client = space.client()
        page = client.hold(3 * PAGE_SIZE, Prot.RW)
        pages = client.hold_many([PAGE_SIZE * number for number in range(100)], Prot.READ)
        shown = text(client)
        assert {"0x3000", f"{page.pfn:#x}", "RW", "100", "READ"} <= set(shown)
        assert text(page)[0].startswith("VmPage 0x3000 RW")
        assert text(pages)[-1] == "and 90 more"
        assert f"{int(pages.pfns[9]):#x}" in text(pages)
        assert f"{int(pages.pfns[10]):#x}" not in text(pages)
        client.release_all()
        assert text(pages)[0].endswith("released")
        exit = Vcpu(client, tlb=4).run([0], write=True)
        assert (text(exit)[0], text(Vcpu(client))[0]) == ("VcpuExit DONE after 1", "Vcpu 0, ept")
        assert len(text(ram)) == 8


def test_vm__shows_segments_and_vcpus() -> None:
    """With the space below."""
    with Reservoir(8 * MIB) as reservoir, Vm(reservoir) as vm:
        vm.alloc_memseg(7, 2 * MIB)
        vm.map_memseg(7, 0, 2 * MIB, Prot.RW)
        vm.vcpu(5)
        shown = text(vm)
        assert {"7", "5", "Vcpu 5, ept", "mapped only 2 MiB"} <= set(shown)
        assert text(vm.map_guest(0, PAGE_SIZE, Prot.RW)) == ["GuestSegment of 4 KiB, RW"]
    assert text(vm) == ["Vm, destroyed"]


def test_log__shows_its_rounds() -> None:
    """The first ten."""
    with Reservoir(MIB) as reservoir, reservoir.allocate(MIB) as ram, VmSpace(MIB, reservoir=reservoir) as space:
        space.map(ram, 0, MIB, Prot.RW)
        log, vcpu = DirtyLog(space), Vcpu(space.client())
        log.start()
        for number in range(12):
            vcpu.run(range(0, (number + 1) * PAGE_SIZE, PAGE_SIZE), write=True)
            log.round()
        log.stop()
        shown = text(log)
        assert shown[-1] == "and 3 more"  # stop was a round, too
        tenth = shown[shown.index("generation") + 1 :][: 4 * 10][-4:]
        assert tenth[:2] == ["10", "10"], shown


def test_results__show_rows_and_units() -> None:
    """Some of both; text is escaped."""
    results = Results([{"<b>": number, **dict.fromkeys("abcdefghijklmnop", None)} for number in range(11)], {}, {"<b>": "ns"})
    assert {"<b>, ns", "and 1 more", "rows, the first 12 of 17 columns"} <= set(text(results))
    moved = precopy(4096 * MIB, 1000 * MIB, 400 * MIB, policy="freebsd")
    assert text(moved)[0] == "PrecopyResult freebsd: 4 live sends, 6.6 GiB, 104.858 ms down, converged"
    assert "655.4 MiB" in text(moved)


def test_long_text__is_cut() -> None:
    """In cells, heads and titles; an entity is not cut in two."""
    long = "<" * 100_000
    shown = text(Results([{long: long}] * 10, {}))
    assert {cell for cell in shown if "<" in cell} == {"<" * 119 + "\u2026"}
    assert len(text(_html_of_title(long))[0]) == 120


def _html_of_title(title: str) -> _html.Shown:
    class Titled(_html.Shown):
        def __repr__(self) -> str:
            return f"<{title}>"

    return Titled()


def test_bar__is_to_scale() -> None:
    """Widths are shares; nothing has none."""
    html = _html.bar({"a": 1, "b": 0, "c": 3}, {"a": "1", "b": "0", "c": "3"})
    assert re.findall(r"width:([0-9.]+)%", html) == ["25.0000", "75.0000"]
    assert "width" in _html.bar({"a": 0}, {"a": "0"})


def test_shown__while_somebody_changes_it() -> None:
    """It says so, and raises nothing."""

    class Growing(_html.Shown):
        def _shown(self) -> Iterable[str]:
            grown = {1}
            for number in grown:
                grown.add(number + 1)
                yield ""

    assert text(Growing()) == ["Growing", "changing"]


def test_shown__waits_for_no_lock() -> None:
    """Another thread has all locks; we come back."""
    with Reservoir(MIB) as reservoir, reservoir.allocate(MIB) as ram, VmSpace(MIB, reservoir=reservoir) as space:
        space.map(ram, 0, MIB, Prot.RW)
        client = space.client()
        vcpu, held, done = Vcpu(client), threading.Event(), threading.Event()

        def hold() -> None:
            with space._core.exclusion.lock, client.gate.lock, reservoir._lock:
                held.set()
                done.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        shown = [text(one) for one in (space, client, vcpu, reservoir, ram, space.table)]
        done.set()
        thread.join()
        assert all(shown)
