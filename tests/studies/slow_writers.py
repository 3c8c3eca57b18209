"""The writers once more, in plain Python: integers, fractions, and floats one at a time. Slow and obvious."""

from fractions import Fraction
from functools import cache
from math import gcd, sqrt

from npt.studies.writers import HotCold, Sequential, Strided, Synthetic, Uniform, Zipf

WORD = 2**64
PAGES, WRITES, HOT, LAYOUT = 0, 1, 2, 3


def _words32(number: int) -> list[int]:
    """An integer as 32-bit words, the lowest first; 0 is one word."""
    words = [number & 0xFFFFFFFF]
    while number := number >> 32:
        words.append(number & 0xFFFFFFFF)
    return words


class SeedHash:
    """The running hash of numpy's SeedSequence."""

    def __init__(self, constant: int, factor: int) -> None:
        self.constant, self.factor = constant, factor

    def __call__(self, value: int) -> int:
        value ^= self.constant
        self.constant = self.constant * self.factor % 2**32
        value = value * self.constant % 2**32
        return value ^ value >> 16


@cache
def seed_key(seed: int, spawn_key: tuple[int, ...]) -> int:
    """First 64-bit word of the state of a SeedSequence."""
    entropy = _words32(seed)
    entropy += [0] * (4 - len(entropy))
    for number in spawn_key:
        entropy += _words32(number)
    hashed = SeedHash(0x43B0D7E5, 0x931E8875)
    pool = [hashed(word) for word in entropy[:4]]

    def mix(place: int, word: int) -> None:
        mixed = (pool[place] * 0xCA01F9DD - hashed(word) * 0x4973F715) % 2**32
        pool[place] = mixed ^ mixed >> 16

    for source in range(4):
        for place in range(4):
            if place != source:
                mix(place, pool[source])
    for word in entropy[4:]:
        for place in range(4):
            mix(place, word)
    state = SeedHash(0x8B51F9DD, 0x58F38DED)
    low, high = state(pool[0]), state(pool[1])
    return high << 32 | low


def word(seed: int, stream: int, number: int, i: int) -> int:
    """Word ``i`` of a sequence."""
    z = (seed_key(seed, (stream, number)) + (i + 1) * 0x9E3779B97F4A7C15) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def is_chosen(drawn: int, share: float) -> bool:
    """Whether a word is among the lowest share of all."""
    return drawn + 1 <= Fraction(share) * WORD


@cache
def zipf_thresholds(n: int, exponent: float) -> list[int]:
    """First words of all ranks but the first."""
    steps = int(exponent * 1024)
    weights = []
    for rank in range(1, n + 1):
        power, root = 1.0, float(rank)
        for _ in range(steps // 1024):
            power *= rank
        for bit in range(1, 11):
            root = sqrt(root)
            if steps % 1024 & 1024 >> bit:
                power *= root
        weights.append(1.0 / power)
    total = sum(int(Fraction(weight) * 2**62) for weight in weights)
    factor = 2**126 / total
    shares = [max(1, int(weight * factor)) for weight in weights]
    found, rest = [], WORD
    for share in reversed(shares[1:]):
        rest -= share
        found.append(rest)
    return found[::-1]


def shuffled(place: int, n: int, seed: int) -> int:
    """Where the shuffle takes a place."""
    bits = 0
    while 2**bits < n:
        bits += 1
    while True:
        for i in range(4):
            place = (place * (word(seed, LAYOUT, 0, i) | 1) + word(seed, LAYOUT, 1, i)) % 2**bits
            place ^= place >> -(-bits // 2)
        if place < n:
            return place


def page(writer: Synthetic, window: int, i: int) -> int:
    """The page of access ``i`` of a window."""
    n = writer.n_pages
    nth = window * writer.accesses + i
    drawn = word(writer.seed, PAGES, window, i)
    if isinstance(writer, Uniform):
        return drawn * n // WORD
    if isinstance(writer, Sequential):
        return nth % n
    if isinstance(writer, Strided):
        round_length = n // gcd(n, writer.stride)
        return (nth * writer.stride + nth % n // round_length) % n
    if isinstance(writer, Zipf):
        rank = sum(first <= drawn for first in zipf_thresholds(n, writer.exponent))
        return shuffled(rank, n, writer.seed) if writer.spread else rank
    assert isinstance(writer, HotCold)
    hot = round(Fraction(writer.hot_share) * n)
    step = hot if writer.step is None else writer.step
    start = window // writer.move_every * step
    if is_chosen(word(writer.seed, HOT, window, i), writer.hot_accesses):
        return (start + drawn * hot // WORD) % n
    return (start + hot + drawn * (n - hot) // WORD) % n


def window(writer: Synthetic, number: int, accesses: range) -> tuple[list[int], list[bool]]:
    """Pages and writes of some of the accesses of a window."""
    drawn = [word(writer.seed, WRITES, number, i) for i in accesses]
    return [page(writer, number, i) for i in accesses], [is_chosen(one, writer.write_share) for one in drawn]
