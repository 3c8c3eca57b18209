"""Guests of one study: memory that is the guest's, and goes back."""

import pytest

from npt import NPT, StaleHandle
from npt.studies.guests import guest

PAGE = 4096


def test_guest__words_are_its_memory() -> None:
    """A row a page, all zero at first; what is stored there the guest reads, and what it writes is there, and dirty."""
    with guest(3 * PAGE, NPT) as made:
        assert made.words.shape == (3, PAGE // 8)
        assert not made.words.any()
        made.words[2, 1] = 0x0123
        client = made.space.client()
        assert client.read(2 * PAGE + 8, 2) == b"\x23\x01"
        client.write(PAGE, b"\x07")
        client.destroy()
        assert made.words[1, 0] == 7
        assert made.space.track_dirty(0, 3 * PAGE).tolist() == [0b010]
        assert made.space.format is NPT


def test_guest__is_taken_down_after_an_error_too() -> None:
    """Nothing is left that could be used."""
    with pytest.raises(KeyError), guest(PAGE, NPT) as made:
        raise KeyError
    with pytest.raises(StaleHandle):
        made.space.map_mmio(0, PAGE, 0)
