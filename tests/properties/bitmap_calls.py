"""Calls of the kernels that work on bitmaps, runs, rounds, samples, mechanisms' lists, frames and single words."""

from random import Random

import numpy as np

from npt._types import U8Array, U64Array
from tests.properties.calls import Call, a_bitmap, a_number, a_range, case, some_bytes, some_words

_ALL = 2**64 - 1


def zeros(n: int) -> U64Array:
    """Words."""
    return np.zeros(n, np.uint64)


def some_runs(numbers: Random, n_pages: int, base: int = 0) -> U64Array:
    """Runs inside so many pages: address and number of pages in turn."""
    edges = sorted({a_number(numbers, n_pages) for _ in range(numbers.randrange(12))})
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return np.array([word for first, end in pairs for word in (base + 4096 * first, end - first)], np.uint64)


# -- bitmaps ------------------------------------------------------------------------------------------------------------


@case("bitmap.count")
def count(numbers: Random) -> Call:
    return Call(a_bitmap(numbers))


@case("bitmap.find")
def find(numbers: Random) -> Call:
    bitmap, n_pages = a_bitmap(numbers)
    return Call((bitmap, n_pages, a_number(numbers, n_pages), numbers.choice([0, _ALL])))


@case("bitmap.without")
def without(numbers: Random) -> Call:
    n = a_number(numbers, 200)
    return Call((some_bytes(numbers, n), some_bytes(numbers, n), some_bytes(numbers, n)))


@case("bitmap.remove")
def remove(numbers: Random) -> Call:
    n = a_number(numbers, 200)
    return Call((some_bytes(numbers, n), some_bytes(numbers, n)))


@case("bitmap.numbers")
def pages_by_number(numbers: Random) -> Call:
    return Call((*a_bitmap(numbers), zeros(a_number(numbers, 700))))


@case("bitmap.set_bits")
def set_bits(numbers: Random) -> Call:
    pages = np.array([a_number(numbers, 800) for _ in range(numbers.randrange(50))], np.uint64)
    return Call((pages, some_bytes(numbers, 101)))


@case("bitmap.set_runs")
def set_runs(numbers: Random) -> Call:
    base = numbers.choice([0, 1 << 40, 2**63])
    return Call((some_runs(numbers, 800, base), base, some_bytes(numbers, 101)))


@case("bitmap.coarsen")
def coarsen(numbers: Random) -> Call:
    bitmap, n_pages = a_bitmap(numbers)
    shift = numbers.randrange(12)
    return Call((bitmap, n_pages, numbers.randrange(1 << shift), shift, np.zeros(400, np.uint8)))


@case("bitmap.refine")
def refine(numbers: Random) -> Call:
    n_pages, shift = a_number(numbers, 1300) + 1, numbers.randrange(12)
    return Call((some_bytes(numbers, 400), n_pages, numbers.randrange(1 << shift), shift, np.zeros(200, np.uint8)))


@case("bitmap.shift_down", "bitmap.shift_up")
def shift(numbers: Random) -> Call:
    offset = numbers.choice([0, 1, 63, 64, 65, numbers.randrange(300), 2**63, _ALL])
    return Call((some_words(numbers, numbers.randrange(2, 9)), offset, some_words(numbers, numbers.randrange(9))))


# -- runs, rounds -------------------------------------------------------------------------------------------------------


@case("runs.append")
def append(numbers: Random) -> Call:
    bitmap, n_pages = a_bitmap(numbers, 9000)
    return Call((bitmap, n_pages, numbers.choice([0, 1 << 63]), zeros(a_number(numbers, 9001)), zeros(3)))


@case("runs.count_edges")
def count_edges(numbers: Random) -> Call:
    bitmap, n_pages = a_bitmap(numbers)
    return Call((bitmap, n_pages, a_number(numbers, -(-n_pages // 64))))


@case("runs.cut")
def cut(numbers: Random) -> Call:
    runs, n_pages = some_runs(numbers, 1300), numbers.choice([1, 7, 64, 513, 5000])
    n_parts = -(-int(runs[1::2].sum()) // n_pages)
    return Call((runs, n_pages, zeros(runs.size + 2 * n_parts), zeros(n_parts)))


@case("rounds.stamp_bits")
def stamp_bits(numbers: Random) -> Call:
    return Call((*a_bitmap(numbers), numbers.choice([1, 2**32 - 1]), np.zeros(1300, np.uint32)))


@case("rounds.stamp_runs")
def stamp_runs(numbers: Random) -> Call:
    return Call((some_runs(numbers, 1300), numbers.choice([1, 2**32 - 1]), np.zeros(1300, np.uint32)))


# -- samples ------------------------------------------------------------------------------------------------------------


@case("usage.record")
def record(numbers: Random) -> Call:
    bitmap, n_pages = a_bitmap(numbers)
    part_pages, samples = numbers.choice([64, 500, 2000]), numbers.randrange(6)
    parts = -(-max(n_pages, 1) // part_pages)
    last = np.array([numbers.randint(0, samples) for _ in range(n_pages)], np.uint32)
    tables = [np.zeros((parts, 8), np.uint64) for _ in range(2)]
    state = np.array([samples], np.uint64)
    return Call((bitmap, n_pages, part_pages, 1 << 62, last, *tables, zeros(8), zeros(8), zeros(8), state))


@case("usage.recent")
def recent(numbers: Random) -> Call:
    last = np.array([numbers.choice([0, 1, 2, 2**31, 2**32 - 1]) for _ in range(a_number(numbers, 600))], np.uint32)
    return Call((last, numbers.choice([0, 1, 2, 2**31, 2**32 - 1]), np.zeros(-(-last.size // 8), np.uint8)))


@case("usage.tally")
def tally(numbers: Random) -> Call:
    return Call((np.array([numbers.randrange(9) for _ in range(a_number(numbers, 600))], np.uint32), zeros(9)))


@case("usage.draw")
def draw(numbers: Random) -> Call:
    n_bits = a_number(numbers, 600) + 1
    return Call((numbers.getrandbits(64), n_bits, numbers.randint(0, n_bits // 2), np.zeros(-(-n_bits // 8), np.uint8)))


@case("usage.pick")
def pick(numbers: Random) -> Call:
    return Call((*a_bitmap(numbers), some_bytes(numbers, 200), zeros(1400)))


@case("usage.hash_pages")
def hash_pages(numbers: Random) -> Call:
    n = numbers.randrange(1, 3)
    return Call((some_bytes(numbers, 4096 * n), zeros(n)))


# -- mechanisms ---------------------------------------------------------------------------------------------------------


def _writes(numbers: Random, n_pages: int) -> tuple[U64Array, U8Array, int]:
    """Addresses, some outside, kinds of access, and where the range begins."""
    base, n = numbers.choice([0, 1 << 30]), numbers.randrange(80)
    pages = [numbers.randint(-2, n_pages + 2) for _ in range(n)]
    gpas = np.array([(base + 4096 * page + numbers.randrange(4096)) % 2**64 for page in pages], np.uint64)
    kinds = [numbers.randrange(3) for _ in range(numbers.choice([1, n]))]
    return gpas, np.array(kinds if n else [1], np.uint8), base


def _words_for(numbers: Random, n_pages: int) -> U64Array:
    return some_words(numbers, -(-n_pages // 64))


@case("mechanisms.protect")
def protect(numbers: Random) -> Call:
    n_pages = a_number(numbers, 300) + 1
    return Call((*_writes(numbers, n_pages), n_pages, _words_for(numbers, n_pages), zeros(2)))


@case("mechanisms.log", "mechanisms.push")
def lists(numbers: Random) -> Call:
    n_pages = a_number(numbers, 300) + 1
    most = numbers.choice([1, 2, 5, n_pages])
    bitmaps = _words_for(numbers, n_pages), _words_for(numbers, n_pages)
    return Call((*_writes(numbers, n_pages), n_pages, *bitmaps, zeros(n_pages + 1), zeros(1), most, zeros(2)))


@case("mechanisms.drain")
def drain(numbers: Random) -> Call:
    entries = np.array(numbers.sample(range(256), 60), np.uint64)
    return Call((entries, np.array([numbers.randint(0, 60)], np.uint64), some_words(numbers, 4)))


@case("mechanisms.rearm")
def rearm(numbers: Random) -> Call:
    first, end = a_range(numbers, 600)
    return Call((*(some_words(numbers, 10) for _ in range(3)), first, max(end - first, 1)))


@case("mechanisms.drop")
def drop(numbers: Random) -> Call:
    first, end = a_range(numbers, 600)
    return Call((some_words(numbers, 10), first, max(end - first, 1)))


@case("mechanisms.note_writes")
def note_writes(numbers: Random) -> Call:
    n_pages = a_number(numbers, 300) + 1
    return Call((*_writes(numbers, n_pages), n_pages, numbers.choice([0, 1 << 63]), zeros(n_pages)))


@case("mechanisms.settle")
def settle(numbers: Random) -> Call:
    pages = np.array([numbers.randrange(100) for _ in range(60)], np.uint64)
    copied, last = (np.array([numbers.randrange(6) for _ in range(100)], np.uint64) for _ in range(2))
    return Call((pages, copied, last, some_bytes(numbers, 13), zeros(3)))


# -- frames, words ------------------------------------------------------------------------------------------------------

_FRAMES = 6


def _memory(numbers: Random) -> U64Array:
    return np.array([numbers.getrandbits(64) for _ in range(512)] * _FRAMES, np.uint64)


@case("frames.zero_spans")
def zero_spans(numbers: Random) -> Call:
    spans = [(numbers.randrange(_FRAMES), 1) for _ in range(3)] + [(1, 3)]
    ends = sorted((numbers.randint(0, 6), numbers.randint(0, 6)))
    ends = sorted((numbers.randint(0, 6), numbers.randint(0, 6)))
    return Call((_memory(numbers).view(np.uint8), np.array(spans, np.uint64), *ends))


@case("frames.gather")
def gather(numbers: Random) -> Call:
    frames = np.array([numbers.randrange(_FRAMES) for _ in range(numbers.randrange(4))], np.uint64)
    return Call((_memory(numbers).view(np.uint8), frames, np.zeros(4096 * frames.size, np.uint8)))


@case("frames.scatter")
def scatter(numbers: Random) -> Call:
    words = _memory(numbers)
    frames = np.array([numbers.randrange(_FRAMES) for _ in range(numbers.randrange(4))], np.uint64)
    return Call((words.view(np.uint8), words, frames, some_bytes(numbers, 4096 * frames.size)))


@case("frames.copy_in")
def copy_in(numbers: Random) -> Call:
    frames = np.array(numbers.sample(range(_FRAMES), 3), np.uint64)
    skip = numbers.choice([0, 1, 4095])
    return Call((_memory(numbers).view(np.uint8), frames, skip, some_bytes(numbers, 8192 - skip + numbers.randint(1, 4096))))


@case("words.load")
def load(numbers: Random) -> Call:
    return Call((np.array([numbers.getrandbits(64) for _ in range(8)], np.uint64), numbers.randrange(8)))


@case("words.store", "words.add")
def store(numbers: Random) -> Call:
    return Call((some_words(numbers, 8), numbers.randrange(8), numbers.choice([0, 1, _ALL, numbers.getrandbits(64)])))
