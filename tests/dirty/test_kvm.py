"""KVM's dirty log over a range of a space: its words, its length rule, its rules of clearing, its refusals."""

import errno
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from npt import (
    EPT,
    NPT,
    AddressOverflow,
    BeyondSpace,
    InvalidArgument,
    KickTimeout,
    Prot,
    PteFormat,
    Reservoir,
    StaleHandle,
    TrackingDisabled,
    Vcpu,
    VmSpace,
)  # fmt: skip
from npt.dirty.kvm import KvmDirtyLog, from_words, to_words
from tests.interrupts.interrupt import KINDS, interrupted
from tests.space.scene import PAGE, on_cpu_elsewhere

FIRST = 0x1C0 * PAGE  # the slot: 64 pages before the end of a leaf table
N = 133  # two granules and five pages
SIZE = 1 << 30
LE = np.dtype("<u8")


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def space(request: pytest.FixtureRequest) -> Iterator[VmSpace]:
    """A slot of 133 pages, with as many to either side of it, all resident."""
    assert isinstance(request.param, PteFormat)
    with (
        Reservoir(3 * N * PAGE, backed=False) as reservoir,
        reservoir.allocate(reservoir.size) as ram,
        VmSpace(SIZE, format=request.param, reservoir=reservoir, track_dirty=True, kick_timeout=0.01) as made,
    ):
        made.map(ram, FIRST - N * PAGE, ram.length, Prot.RW)
        made.populate(FIRST - N * PAGE, ram.length)
        yield made


def write(space: VmSpace, *pages: int) -> None:
    """A vCPU writes to pages of the slot, or beside it."""
    client = space.client()
    Vcpu(client).run([FIRST + page * PAGE for page in pages], write=True)
    client.destroy()


def words_of(pages: set[int], n_pages: int = N) -> list[int]:
    """KVM's words, the slow way."""
    return [sum(1 << page % 64 for page in pages if page // 64 == word) for word in range(-(-n_pages // 64))]


def dirty(space: VmSpace) -> set[int]:
    """Dirty pages of the slot and of its surroundings."""
    found = np.unpackbits(space.peek_dirty(FIRST - N * PAGE, 3 * N * PAGE), bitorder="little")
    return {int(page) - N for page in np.flatnonzero(found)}


# -- get ----------------------------------------------------------------------------------------------------------------

PAGES = {0, 1, 63, 64, 100, 127, 128, 132}


def test_get__is_of_64_bit_words(space: VmSpace) -> None:
    """Bit b of word w is page 64 w + b; bits past the end are zero, though the pages behind the slot are dirty."""
    write(space, *PAGES, -1, 133, 134)
    found = KvmDirtyLog(space, FIRST, N * PAGE).get()
    assert (found.dtype.str, found.tolist()) == ("<u8", words_of(PAGES))


@pytest.mark.parametrize("n_pages", [1, 63, 64, 65, 127, 128, 129])
def test_get__length_rule(space: VmSpace, n_pages: int) -> None:
    """A slot of n pages has ceil(n / 64) words."""
    write(space, *range(N))
    for manual in (True, False):
        found = KvmDirtyLog(space, FIRST, n_pages * PAGE, manual=manual).get()
        assert found.tolist() == words_of(set(range(n_pages)), n_pages)


def test_get__clears_what_it_reads(space: VmSpace) -> None:
    """Of the slot, and nothing beside it; the generation is raised."""
    write(space, *PAGES, -1, 133)
    generation, log = space.generation, KvmDirtyLog(space, FIRST, N * PAGE)
    log.get()
    assert (dirty(space), log.get().tolist()) == ({-1, 133}, [0, 0, 0])
    assert space.generation == generation + 2


def test_get__manual_clears_nothing(space: VmSpace) -> None:
    """It only looks: the same again, and no vCPU is bothered."""
    write(space, *PAGES)
    generation, log = space.generation, KvmDirtyLog(space, FIRST, N * PAGE, manual=True)
    assert log.get().tolist() == log.get().tolist() == words_of(PAGES)
    assert (space.generation, dirty(space)) == (generation, PAGES)


def test_get__of_a_hole_is_clean(space: VmSpace) -> None:
    """A slot may reach over what is not mapped."""
    write(space, 200)
    found = KvmDirtyLog(space, FIRST, 512 * PAGE).get()
    assert found.tolist() == words_of({200}, 512)


# -- clear --------------------------------------------------------------------------------------------------------------

CLEARS = [(0, 64), (64, 64), (0, 128), (0, 133), (64, 69), (128, 5), (0, 0), (64, 0), (128, 0)]


@pytest.mark.parametrize("manual", [True, False])
@pytest.mark.parametrize(("first", "n"), CLEARS)
def test_clear__takes_the_pages_that_are_set(space: VmSpace, first: int, n: int, manual: bool) -> None:
    """Pages whose bit is clear stay dirty, and those outside; who was clean is not counted."""
    write(space, *range(-3, 140, 3))
    log = KvmDirtyLog(space, FIRST, N * PAGE, manual=manual)
    selected = {page for page in range(n) if page % 2}
    expected = {first + page for page in selected} & set(range(0, N, 3))
    assert log.clear(first, n, np.array(words_of(selected, n), LE)) == len(expected)
    assert dirty(space) == set(range(-3, 140, 3)) - expected


def test_clear__then_written_is_in_the_next_get(space: VmSpace) -> None:
    """The sense of clearing late: a page written between get and clear is not reported again, one written after it is."""
    log = KvmDirtyLog(space, FIRST, N * PAGE, manual=True)
    write(space, 3, 4)
    found = log.get()
    write(space, 3)
    assert log.clear(0, N, found) == 2
    write(space, 4)
    assert log.get().tolist() == words_of({4})


@pytest.mark.parametrize("bits", [2**64 - 1, 2**63, 0b100000])
def test_clear__bits_past_the_end_are_ignored(space: VmSpace, bits: int) -> None:
    """Also of pages behind the slot that are dirty, and in words behind the last one that counts."""
    write(space, *range(128, 200))
    log = KvmDirtyLog(space, FIRST, N * PAGE)
    assert log.clear(128, 5, np.array([bits, 2**64 - 1], LE)) == (5 if bits & 1 else 0)
    assert dirty(space) >= set(range(133, 200))


REFUSED = [
    (1, 64), (63, 64), (65, 64), (32, 64), (-64, 64), (-1, 1), (132, 1), (100, 33),
    (0, 1), (0, 8), (0, 32), (64, 8), (0, 72), (0, 63), (0, 65), (0, 132), (64, 5), (64, 68), (128, 4), (128, 1),
    (0, 134), (0, 192), (64, 128), (64, 70), (128, 64), (128, 6), (192, 0), (192, 64), (1 << 47, 64), (1 << 64, 0),
    (0, 1 << 64), (0, -64), (64, -64), (128, -1),
]  # fmt: skip


@pytest.mark.parametrize("manual", [True, False])
@pytest.mark.parametrize(("first", "n"), REFUSED)
def test_clear__refusals(space: VmSpace, first: int, n: int, manual: bool) -> None:
    """First page a multiple of 64; so is the count unless it ends at the end; inside the slot. Else EINVAL, nothing changed."""
    write(space, *PAGES, -1, 133)
    generation, log = space.generation, KvmDirtyLog(space, FIRST, N * PAGE, manual=manual)
    with pytest.raises(InvalidArgument, match=r"a multiple of 64|inside the slot") as refusal:
        log.clear(first, n, np.full(8, 2**64 - 1, LE))
    assert refusal.value.errno == errno.EINVAL
    assert (space.generation, dirty(space)) == (generation, PAGES | {-1, 133})


NO_WORDS: list[Any] = [
    None, [0] * 3, b"\0" * 24, 0, np.uint64(0), np.zeros(24, np.uint8), np.zeros(3, "<i8"), np.zeros(3, ">u8"),
    np.zeros(6, "<u4"), np.zeros(3), np.zeros(3, bool), np.zeros(3, object),
]  # fmt: skip
BAD_WORDS = [np.zeros(2, LE), np.zeros(0, LE), np.zeros((), LE), np.zeros((1, 3), LE), np.zeros((3, 1), LE)]


@pytest.mark.parametrize("words", NO_WORDS, ids=lambda words: repr(words).replace("\n", ""))
def test_words__of_another_type(space: VmSpace, words: Any) -> None:
    """Neither another type nor the other byte order is taken."""
    with pytest.raises(TypeError, match="<u8"):
        KvmDirtyLog(space, FIRST, N * PAGE).clear(0, N, words)
    with pytest.raises(TypeError, match="<u8"):
        from_words(words, N)


@pytest.mark.parametrize("words", BAD_WORDS, ids=lambda words: str(words.shape))
def test_words__too_few_or_not_one_dimensional(space: VmSpace, words: Any) -> None:
    """Nothing is cleared by them."""
    write(space, *PAGES)
    generation = space.generation
    with pytest.raises(InvalidArgument):
        KvmDirtyLog(space, FIRST, N * PAGE).clear(0, N, words)
    with pytest.raises(InvalidArgument):
        from_words(words, N)
    assert (space.generation, dirty(space)) == (generation, PAGES)


def test_words__strided_and_read_only_are_read(space: VmSpace) -> None:
    """They are only read, wherever they are."""
    write(space, *PAGES)
    words = np.repeat(np.array(words_of(PAGES - {64}), LE), 2)[::2]
    words.flags.writeable = False
    assert KvmDirtyLog(space, FIRST, N * PAGE).clear(0, N, words) == len(PAGES) - 1
    odd = np.frombuffer(b"x" + words.tobytes(), np.uint8)[1:].view(LE)
    assert from_words(odd, N).tobytes() == words.tobytes()[:17]


def test_clear__numbers_of_another_type(space: VmSpace) -> None:
    """Floats and bools are no page numbers, numpy integers are."""
    log, words = KvmDirtyLog(space, FIRST, N * PAGE), np.zeros(3, LE)
    bad: Any
    for bad in (0.0, False, None, "0", [0], np.float64(0), np.bool_(False)):
        with pytest.raises(TypeError):
            log.clear(bad, 64, words)
        with pytest.raises(TypeError):
            log.clear(0, bad, words)
    assert log.clear(np.int8(64), np.uint16(69), words) == 0


# -- trouble ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manual", [True, False])
def test_tracking_off(space: VmSpace, manual: bool) -> None:
    """Without a log both are refused, after what is wrong with the call itself."""
    space.set_tracking(False)
    log = KvmDirtyLog(space, FIRST, N * PAGE, manual=manual)
    with pytest.raises(TrackingDisabled):
        log.get()
    with pytest.raises(TrackingDisabled):
        log.clear(0, N, np.zeros(3, LE))
    with pytest.raises(InvalidArgument):
        log.clear(1, N, np.zeros(3, LE))


def test_space_that_is_gone() -> None:
    """The log says so, before anything about numbers and after types."""
    space = VmSpace(SIZE, track_dirty=True)
    logs = [KvmDirtyLog(space, 0, N * PAGE, manual=manual) for manual in (False, True)]
    space.destroy()
    for log in logs:
        assert repr(log)
        with pytest.raises(StaleHandle):
            log.get()
        for n in (N, 0, -1):
            with pytest.raises(StaleHandle):
                log.clear(0, n, np.zeros(3, LE))
        with pytest.raises(TypeError):
            log.clear(0, 64, np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(StaleHandle):
        KvmDirtyLog(space, 1, 1)


def test_kick_timeout__nothing_is_lost(space: VmSpace) -> None:
    """A vCPU that does not leave makes both fail, with the bits put back."""
    write(space, *PAGES)
    log = KvmDirtyLog(space, FIRST, N * PAGE)
    with on_cpu_elsewhere(space.client(), leaves=False):
        with pytest.raises(KickTimeout):
            log.get()
        with pytest.raises(KickTimeout):
            log.clear(0, 64, np.array(words_of(PAGES), LE))
    assert log.get().tolist() == words_of(PAGES)


SLOTS: list[tuple[Any, Any, type[Exception]]] = [
    (1, PAGE, InvalidArgument), (0, 1, InvalidArgument), (0, 0, InvalidArgument), (-PAGE, PAGE, InvalidArgument),
    (0, -PAGE, InvalidArgument), (0, 1 << 64, AddressOverflow), (0, SIZE + PAGE, BeyondSpace), (SIZE, PAGE, BeyondSpace),
    (0.0, PAGE, TypeError), (0, True, TypeError),
]  # fmt: skip


@pytest.mark.parametrize(("gpa", "length", "error"), SLOTS)
def test_new__bad_slot(space: VmSpace, gpa: Any, length: Any, error: type[Exception]) -> None:
    """A slot is a range like any other."""
    with pytest.raises(error):
        KvmDirtyLog(space, gpa, length)


def test_new__bad_types(space: VmSpace) -> None:
    """The space is a space, ``manual`` a bool."""
    bad: Any
    for bad in (None, space.table, space.client(), VmSpace):
        with pytest.raises(TypeError):
            KvmDirtyLog(bad, 0, PAGE)
    for bad in (None, 1, "manual"):
        with pytest.raises(TypeError):
            KvmDirtyLog(space, 0, PAGE, manual=bad)


def test_repr__says_what_slot(space: VmSpace) -> None:
    """And waits for nobody."""
    log = KvmDirtyLog(space, FIRST, N * PAGE, manual=True)
    texts: list[str] = []
    with space._core.exclusion.lock:
        thread = threading.Thread(target=lambda: texts.append(repr(log)))
        thread.start()
        thread.join(10)
    assert texts == ["<KvmDirtyLog of 0x1c0000 + 0x85000, manual>"]


# -- words and bitmaps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_pages", [*range(201), 255, 256, 257, 511, 512, 513])
def test_to_words_and_back(n_pages: int) -> None:
    """Against plain Python, all lengths; bits past the end come out zero on either way, whatever they were."""
    rng = np.random.default_rng(n_pages)
    bitmap = rng.integers(0, 256, -(-n_pages // 8) + 2, dtype=np.uint8)
    pages = {page for page in range(n_pages) if bitmap[page // 8] >> page % 8 & 1}
    words = to_words(bitmap, n_pages)
    assert (words.dtype.str, words.tolist()) == ("<u8", words_of(pages, n_pages))
    if n_pages % 64:
        words[-1] |= np.uint64(2**64 - (1 << n_pages % 64))
    back = from_words(words, n_pages)
    assert (str(back.dtype), back.size) == ("uint8", -(-n_pages // 8))
    assert np.flatnonzero(np.unpackbits(back, bitorder="little")).tolist() == sorted(pages)


@pytest.mark.parametrize("big_endian", [False, True])
def test_words__bytes_are_those_of_the_bitmap(big_endian: bool) -> None:
    """In memory, not in value: so a file or a socket gets KVM's form, whatever machine writes it."""
    bitmap = np.arange(1, 17, dtype=np.uint8)
    words = to_words(bitmap, 128)
    assert words.tobytes() == bitmap.tobytes()
    assert words[0] == 0x0807060504030201
    if big_endian:
        with pytest.raises(TypeError, match="<u8"):
            from_words(words.astype(">u8"), 128)


def test_words__are_memory_of_their_own() -> None:
    """Neither result shares memory with what it was made of."""
    bitmap = np.zeros(16, np.uint8)
    words = to_words(bitmap, 128)
    assert not np.may_share_memory(words, bitmap)
    assert not np.may_share_memory(from_words(words, 128), words)


def test_to_words__strided() -> None:
    """A bitmap is only read, wherever its bytes are."""
    bitmap = np.arange(32, dtype=np.uint8)[::-2]
    assert to_words(bitmap, 128).tobytes() == bitmap.tobytes()


@pytest.mark.parametrize("words", [np.zeros(2, LE), np.zeros(4, LE)], ids=len)
def test_from_words__exactly_as_many_as_it_takes(words: Any) -> None:
    """KVM's length rule: no fewer and no more."""
    with pytest.raises(InvalidArgument, match="0x3 of them"):
        from_words(words, N)


def test_to_words__bad_bitmaps() -> None:
    """Wrong type, shape, length; a negative number of pages."""
    bad: Any
    for bad in (None, [0] * 17, b"\0" * 17, np.zeros(17, bool), np.zeros(17, np.int8), np.zeros(3, np.uint64)):
        with pytest.raises(TypeError):
            to_words(bad, N)
    for bad in (np.zeros(16, np.uint8), np.zeros((), np.uint8), np.zeros((1, 17), np.uint8), np.zeros((17, 1), np.uint8)):
        with pytest.raises(InvalidArgument):
            to_words(bad, N)
    convert: Any
    for convert, empty in ((to_words, np.zeros(0, np.uint8)), (from_words, np.zeros(0, LE))):
        with pytest.raises(InvalidArgument, match="n_pages -1"):
            convert(empty, -1)
        with pytest.raises(TypeError):
            convert(empty, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_get__interrupted_anywhere(space: VmSpace, kind: str) -> None:
    """What was read is handed over, or dirty as before."""
    log, n = KvmDirtyLog(space, FIRST, N * PAGE), 1
    got: list[Any] = []
    write(space, *PAGES)
    while interrupted(lambda: got.append(log.get()), kind, n):
        assert [words.tolist() for words in got] == [words_of(PAGES)] or dirty(space) == PAGES
        got.clear()
        log.get()
        write(space, *PAGES)
        n += 1
    assert n > 20
