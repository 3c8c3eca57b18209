"""Lackey's records, taken apart many lines at once."""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from npt._types import U8Array, U64Array

__all__ = ["INSTRUCTION", "LOAD", "MODIFY", "RECORD", "STORE", "Records", "parse"]

INSTRUCTION, LOAD, STORE, MODIFY = b"ILSM"
RECORD = re.compile(rb"(?:I  | [LSM] )[0-9a-f]{1,16},[0-9]{1,4}")  # what ``parse`` takes

_NEWLINE, _COMMA, _SPACE = b"\n, "
_BEGINNING = 3  # characters before the address
_HEX_DIGITS, _DIGITS = 16, 4
_NO_DIGIT = 255
_VALUES = np.full(256, _NO_DIGIT, np.uint8)
_VALUES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)


class Records(NamedTuple):
    """Records in their order."""

    kinds: U8Array  # the letter
    addresses: U64Array
    sizes: U64Array

    def part(self, start: int, stop: int) -> "Records":
        """Those from one place to another."""
        return Records(self.kinds[start:stop], self.addresses[start:stop], self.sizes[start:stop])


def parse(lines: bytes) -> Records | None:
    """Records of whole lines, each ended; None if there is a line that is not ``RECORD``."""
    text = np.frombuffer(lines, np.uint8)
    ends, commas = np.flatnonzero(text == _NEWLINE), np.flatnonzero(text == _COMMA)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if ends.size != commas.size or ends.size == 0:
        return None
    n_hex, n_digits = commas - starts - _BEGINNING, ends - commas - 1
    if not (1 <= n_hex.min() <= n_hex.max() <= _HEX_DIGITS and 1 <= n_digits.min() <= n_digits.max() <= _DIGITS):
        return None
    kinds = _kinds(text[starts], text[starts + 1], text[starts + 2])
    addresses, sizes = _number(text, commas, n_hex, 16), _number(text, ends, n_digits, 10)
    return None if kinds is None or addresses is None or sizes is None else Records(kinds, addresses, sizes)


def _kinds(first: U8Array, second: U8Array, third: U8Array) -> U8Array | None:
    """Letters of records, from the characters in which their lines begin."""
    fetched = first == INSTRUCTION
    data = (second == LOAD) | (second == STORE) | (second == MODIFY)
    fine = np.where(fetched, second == _SPACE, (first == _SPACE) & data) & (third == _SPACE)
    return np.where(fetched, first, second) if fine.all() else None


def _number(text: U8Array, ends: NDArray[np.int64], n_digits: NDArray[np.int64], base: int) -> U64Array | None:
    """Numbers that end before some places, each of so many digits."""
    made = np.zeros(ends.size, np.uint64)
    least = int(n_digits.min())
    for place in range(int(n_digits.max())):
        digits = _VALUES[text[np.maximum(ends - (1 + place), 0)]]
        if place >= least:
            digits[n_digits <= place] = 0
        if (digits >= base).any():
            return None
        made += digits * np.uint64(base**place)
    return made
