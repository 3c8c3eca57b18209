"""Many at once is one by one: holds, faults, translations, accesses, bytes; and every client sees the same guest."""

from contextlib import suppress
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from npt import EPT, NO_PFN, NPT, PAGE_SIZE, ExitReason, Fault, NotSupported, Prot, Reservoir, Vcpu, VcpuExit, Vm
from npt._types import U64Array
from npt.formats.base import ADDRESS
from npt.testing.strategies import Access, Built, Guest, Part, accesses, arguments, gpas, guests, page_numbers, protections
from tests.properties.states import few, seen

HELD = st.sampled_from([Prot.READ, Prot.WRITE, Prot.RW])
PROT = {"read": Prot.READ, "write": Prot.WRITE, "execute": Prot.EXEC}
FEW = 30  # bytes that are written one by one; of more, so many at once
RAM = guests(mmio=False, most_pages=600)
APART = Part(0x1FE000, 2, 3, obj=0), Part(0x200000, 2, 3, obj=1)  # side by side in the guest, apart in the host


@st.composite
def addresses(draw: st.DrawFn, guest: Guest, *, most: int = 12) -> list[int]:
    """Pages in and around the mappings, the same ones again, and pages past the end of the space."""
    edges = [edge + step for part in guest.parts for edge in (part.gpa, part.end) for step in (-PAGE_SIZE, 0, PAGE_SIZE)]
    inside = st.one_of([page_numbers(part.n_pages).map(partial(_page_of, part)) for part in guest.parts])
    outside = st.sampled_from([gpa for gpa in edges if gpa >= 0]) | gpas(guest.size)
    return draw(st.lists(inside | inside | inside | outside, max_size=most))


def _page_of(part: Part, page: int) -> int:
    return part.gpa + page * PAGE_SIZE


def outcome(built: Built, gpa: int, prot: Prot) -> int:
    """What one fault comes to: 0, or its code."""
    try:
        built.space.client().fault(gpa, prot)
    except Fault as fault:
        return int(fault.code)
    return 0


@few(30)
@given(guest=guests(), prot=protections(), data=st.data())
def test_fault_many__is_fault_by_fault(guest: Guest, prot: Prot, data: st.DataObject) -> None:
    """The same outcomes, the same pages resident."""
    asked = data.draw(addresses(guest))
    with guest.build() as one, guest.build() as other:
        many = one.space.client().fault_many(np.array(asked, np.uint64), prot)
        assert many.tolist() == [outcome(other, gpa, prot) for gpa in asked]
        assert seen(one) == seen(other)


@few(30)
@given(guest=guests(), prot=HELD, data=st.data())
def test_hold_many__is_hold_by_hold(guest: Guest, prot: Prot, data: st.DataObject) -> None:
    """The same frames, after the release the same marks; all of them, or none and the fault of the first refused."""
    asked = data.draw(addresses(guest))
    with guest.build() as one, guest.build() as other:
        before = seen(one)
        client, their = one.space.client(), other.space.client()
        refused = [gpa for gpa in asked if outcome(other, gpa, prot)]
        if data.draw(st.booleans()):
            asked, refused = [gpa for gpa in asked if gpa not in refused], []
        if refused:
            with pytest.raises(Fault) as caught:
                client.hold_many(asked, prot)
            assert int(caught.value.code) == outcome(other, refused[0], prot)
            assert (client.holds, seen(one)) == (0, before)
            return
        pages, batch = [their.hold(gpa, prot) for gpa in asked], client.hold_many(asked, prot)
        assert batch.pfns.tolist() == [page.pfn for page in pages]
        assert batch.gpas.tolist() == asked
        assert client.holds == their.holds == len(asked)
        assert (batch.release(), [page.release() for page in pages]) == (0, [False] * len(pages))
        assert seen(one) == seen(other)


@few(15)
@given(guest=guests(), data=st.data())
def test_translate__is_the_frame_of_each_entry(guest: Guest, data: st.DataObject) -> None:
    """One address at a time or all of them; any byte of a page."""
    asked = [gpa + data.draw(st.integers(0, PAGE_SIZE - 1)) for gpa in data.draw(addresses(guest))]
    with guest.build() as built:
        entries = [built.space.pte(gpa) for gpa in asked]
        frames = [(entry & ADDRESS) // PAGE_SIZE if entry else NO_PFN for entry in entries]
        assert built.space.translate(np.array(asked, np.uint64)).tolist() == frames
        assert [built.space.translate([gpa])[0] for gpa in asked] == frames


# -- vCPUs --------------------------------------------------------------------------------------------------------------


def said(exit: VcpuExit) -> tuple[object, ...]:
    """All of an exit."""
    return exit.reason, exit.completed, exit.gpa, exit.code, exit.qualification


def serve_by_hand(built: Built, vcpu: Vcpu, todo: list[Access], loads: U64Array) -> tuple[object, ...]:
    """What ``run`` does, access by access, with each fault served by the client: a refusal has the client's code."""
    client = built.space.client()
    for number, access in enumerate(todo):
        known, load = arguments([access]), loads[number : number + 1]
        exit = vcpu.step(**known, into=load)
        if exit.reason is ExitReason.FAULT:
            try:
                client.fault(access.gpa, PROT[access.kind])
            except Fault as fault:
                return ExitReason.FAULT, number, access.gpa, fault.code, exit.qualification
            exit = vcpu.step(**known, into=load)
        assert exit.reason is ExitReason.DONE
    return ExitReason.DONE, len(todo), None, None, None


@few(30)
@given(guest=guests(most_pages=600), tlb=st.sampled_from([0, 1, 5, 64]), data=st.data())
def test_run__is_step_by_step(guest: Guest, tlb: int, data: st.DataObject) -> None:
    """The same exit, the same loads, the same marks, the same bytes; with a TLB and without."""
    todo = data.draw(accesses(guest))
    mine, theirs = (np.full(len(todo), 7, np.uint64) for _ in range(2))
    with guest.build() as one, guest.build() as other:
        exit = Vcpu(one.space.client(), tlb=tlb).run(**arguments(todo), into=mine)
        assert said(exit) == serve_by_hand(other, Vcpu(other.space.client(), tlb=tlb), todo, theirs)
        assert mine.tolist() == theirs.tolist()
        assert seen(one) == seen(other)


# -- bytes --------------------------------------------------------------------------------------------------------------


@st.composite
def texts(draw: st.DrawFn, guest: Guest) -> tuple[int, bytes]:
    """Bytes of some pages and where they go: mostly inside a mapping, sometimes over its end."""
    part = draw(st.sampled_from(guest.parts))
    start = draw(page_numbers(part.n_pages)) * PAGE_SIZE + draw(st.sampled_from([0, 1, 4090, 4095]))
    n = draw(st.sampled_from([0, 1, 2, FEW, 4096, 9000]))
    text = bytes((start // 7 + k * 11) % 251 + 1 for k in range(n))
    return part.gpa + start, text


def written(built: Built, gpa: int, text: bytes) -> bool:
    """Write at once; whether that was allowed."""
    try:
        built.space.client().write(gpa, text)
    except Fault:
        return False
    return True


@few(30)
@given(guest=RAM, data=st.data())
def test_write__is_byte_by_byte(guest: Guest, data: st.DataObject) -> None:
    """All of it or nothing; the same bytes and marks; reading gives them back at once and in pieces."""
    gpa, text = data.draw(texts(guest))
    with guest.build() as one, guest.build() as other:
        before, client = seen(one), other.space.client()
        step = 1 if len(text) <= FEW else FEW
        if not written(one, gpa, text):
            assert not all(written(other, gpa + k, text[k : k + step]) for k in range(0, len(text), step))
            assert seen(one) == before
            return
        for k in range(0, len(text), step):
            client.write(gpa + k, text[k : k + step])
        assert seen(one) == seen(other)
        if text and all(not outcome(one, page, Prot.READ) for page in range(gpa, gpa + len(text), PAGE_SIZE)):
            assert client.read(gpa, len(text)) == text
            assert b"".join(client.read(gpa + k, len(text[k : k + 997])) for k in range(0, len(text), 997)) == text


@pytest.mark.parametrize("format", ["ept", "npt"])
@few(30)
@given(start=st.integers(0, 4 * PAGE_SIZE - 1), n=st.integers(0, 4 * PAGE_SIZE))
def test_read__over_frames_that_lie_apart(format: str, start: int, n: int) -> None:
    """The bytes of the pages one after the other, wherever they are in the host; those written at once, too."""
    gpa, text = APART[0].gpa, bytes(k % 251 for k in range(4 * PAGE_SIZE))
    with Guest(format, 1 << 30, True, (2, 2), APART).build() as built:
        assert built.objects[0].pfn_at(PAGE_SIZE) + 1 != built.objects[1].pfn_at(0)
        client = built.space.client()
        for page in range(4):
            client.write(gpa + page * PAGE_SIZE, text[page * PAGE_SIZE : (page + 1) * PAGE_SIZE])
        piece = text[start : start + n]
        assert client.read(gpa + start, len(piece)) == piece
        client.write(gpa + start, piece[::-1])
        assert b"".join(client.read(gpa + start + k, 1) for k in range(len(piece))[:3]) == piece[::-1][:3]
        assert client.read(gpa + start, len(piece)) == piece[::-1]


@few(30)
@given(guest=guests(mmio=False, most_pages=600), data=st.data())
def test_gather_and_scatter__are_views(guest: Guest, data: st.DataObject) -> None:
    """What is scattered is in the views of single holds, what is in those is gathered; a page named twice keeps the last."""
    writable = [part for part in guest.parts if part.prot & Prot.WRITE]
    if not writable:
        return
    asked = [gpa for gpa in data.draw(addresses(guest)) if any(part.gpa <= gpa < part.end for part in writable)]
    text = np.arange(len(asked) * PAGE_SIZE).reshape(-1, PAGE_SIZE) % 251
    text = (text + np.arange(len(asked))[:, np.newaxis]).astype(np.uint8)
    with guest.build() as one, guest.build() as other:
        client, their = one.space.client(), other.space.client()
        with client.hold_many(asked, Prot.RW) as pages:
            pages.scatter(text)
            gathered = pages.gather()
        views = []
        for gpa, page_text in zip(asked, text, strict=True):
            with their.hold(gpa, Prot.RW) as page:
                page.writable()[:] = page_text
        for gpa in asked:
            with their.hold(gpa, Prot.READ) as page:
                views.append(page.readable().copy())
        assert gathered.tolist() == [view.tolist() for view in views]
        assert seen(one) == seen(other)


@few(20)
@given(format=st.sampled_from([EPT, NPT]), n_pages=st.sampled_from([2, 513]), data=st.data())
def test_segment__is_a_client(format: object, n_pages: int, data: st.DataObject) -> None:
    """Bytes written through one are read through the other, by either way of saying which; the same pages get dirty."""
    base, length = (512 << 12) - PAGE_SIZE, n_pages * PAGE_SIZE
    where = data.draw(st.integers(0, length - 1))
    text = data.draw(st.binary(min_size=1, max_size=20))[: length - where]
    dirty = []
    with Reservoir(2 * length) as reservoir:
        for through_segment in (True, False):
            with Vm(reservoir, format=format, track_dirty=True, size=1 << 30) as vm:  # type: ignore[arg-type]
                vm.alloc_memseg(0, length)
                vm.map_memseg(0, base, length, Prot.RW)
                segment, client = vm.map_guest(base, length, Prot.RW), vm.space.client()
                if through_segment:
                    segment[where : where + len(text)] = text
                else:
                    client.write(base + where, text)
                assert client.read(base + where, len(text)) == text
                assert segment[where : where + len(text)] == segment.read(where, len(text)) == text
                assert segment[where] == text[0]
                dirty.append(vm.space.peek_dirty(base, length).tolist())
    assert dirty[0] == dirty[1]
    assert sum(map(int.bit_count, dirty[0])) == (where + len(text) - 1) // PAGE_SIZE - where // PAGE_SIZE + 1


# -- clients ------------------------------------------------------------------------------------------------------------


@few(20)
@given(guest=guests(most_pages=600), prot=HELD, data=st.data())
def test_clone__is_a_client_like_any(guest: Guest, prot: Prot, data: st.DataObject) -> None:
    """What a clone does and sees is what its original would have; holds and callback are its own."""
    asked = data.draw(addresses(guest))
    states = []
    for cloned in (False, True):
        with guest.build() as built:
            client = built.space.client()
            calls: list[tuple[int, int]] = []
            client.on_invalidate(lambda gpa, length, calls=calls: calls.append((gpa, length)))
            user = client.clone() if cloned else client
            outcomes = user.fault_many(asked, prot).tolist()
            held = [user.hold(gpa, prot) for gpa, code in zip(asked, outcomes, strict=True) if not code]
            assert (user.holds, client.holds) == (len(held), 0 if cloned else len(held))
            pfns = [page.pfn for page in held]
            views = []
            for page in held:
                with suppress(NotSupported):
                    views.append((page.readable() if prot & Prot.READ else page.writable()).tobytes())
            assert user.release_all() == len(held)
            built.space.set_tracking(not guest.tracking)
            assert calls == [(0, guest.size)]
            if cloned:
                user.destroy()
            states.append((outcomes, pfns, views, seen(built), calls))
    assert states[0] == states[1]
