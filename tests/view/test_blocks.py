"""Pictures of characters: every one of them can be told from the state of a page."""

import numpy as np
import pytest

from npt import PAGE_SIZE, InvalidArgument
from npt.dirty.bitmap import from_pages
from npt.view import blocks
from tests.view.conftest import HIGH, Guest


def test_layout__has_a_character_for_each_page(guest: Guest) -> None:
    """In the order of addresses; dirty, accessed and mapped pages look different."""
    lines = blocks.layout(guest.space, width=40)
    assert lines[:2] == ["0x0  20 KiB RX", "·····"]
    assert lines[2] == f"{HIGH:#x}  256 KiB RW"
    pages = "".join(lines[3:5])
    assert [page for page, sign in enumerate(pages) if sign == "█"] == [3, 31, 32, 63]
    assert [page for page, sign in enumerate(pages) if sign == "▒"] == [5]
    assert (len(pages), set(pages)) == (64, {"·", "▒", "█"})
    assert "█ dirty" in blocks.layout(guest.space)[-1]


def test_layout__shows_the_most_of_several_pages(guest: Guest) -> None:
    """At most four lines: 64 pages in 80 places fit, but not in 8 times as many lines."""
    guest.space.unmap(0, 5 * PAGE_SIZE)
    lines = blocks.layout(guest.space, width=20)
    assert [len(line) for line in lines[1:6]] == [2, 20, 20, 20, 4]  # behind what allows the mapping
    guest.vcpu.run([HIGH + 40 * PAGE_SIZE], write=True)
    assert blocks.layout(guest.space, width=20)[4][0] == "█"  # page 40 begins the third line


def test_tables__are_shaded_by_how_full_they_are(guest: Guest) -> None:
    """Two of three leaf tables have something resident; nothing is never shown as something."""
    lines = blocks.tables(guest.space, width=40)
    assert [line.split()[:3] for line in lines] == [["level", str(level), n] for level, n in zip("4321", "1123", strict=True)]
    assert lines[-1][-3:] == " ░░"
    guest.space.populate(HIGH, 64 * PAGE_SIZE)
    assert blocks.tables(guest.space, width=40)[-1][-3:] == " ░░"


def test_heat__has_the_highest_address_first() -> None:
    """Shares by shade; the last line says what a character is."""
    bitmaps = [from_pages([0, 63], 64), from_pages([63], 64), from_pages([], 64)]
    lines = blocks.heat(bitmaps, gpa=HIGH, n_pages=64, width=60)
    assert lines[0].split() == [hex(HIGH + 62 * PAGE_SIZE), "██"]
    assert lines[31].split() == [hex(HIGH), "█"]
    assert not "".join(lines[1:31]).replace("█", "").split("x")[0].strip().endswith("█")
    assert " ".join(lines[32:]) == (
        "3 rounds from 1; a character: 2 pages by 1 rounds, █ 50 % of them dirty, the most there is; ▒ half of that"
    )
    assert max(map(len, blocks.heat([np.full(512, 255, np.uint8)] * 500, width=30))) <= 30


def test_heat__is_shaded_beside_the_fullest() -> None:
    """Where one page in 64 is dirty at most, there are still shades; where nothing is, nothing looks dirty."""
    pages = [*range(0, 31 * 64, 64), 2047]
    rounds = [from_pages(pages, 2048), from_pages([], 2048), from_pages(pages[::2], 2048)]
    lines = blocks.heat(rounds, n_pages=2048, width=60)
    assert "█ 1.56 % of them dirty" in " ".join(lines)
    assert {line[18:] for line in lines[:32]} == {"█  ", "█ █"}
    nothing = blocks.heat([from_pages([], 64)] * 3, n_pages=64, width=60)
    assert {line[18:] for line in nothing[:32]} == {"   "}
    assert "█ 0 % of them dirty" in " ".join(nothing)


def test_legends__are_not_cut(guest: Guest) -> None:
    """In the narrowest terminal they take more lines."""
    said = " ".join(blocks.layout(guest.space, width=20))
    assert all(word in said for word in ("· mapped", "░ resident", "▒ accessed", "█ dirty", "◆ device"))
    assert f"{HIGH:#x} 256 KiB RW" in " ".join(said.split())
    assert max(map(len, blocks.layout(guest.space, width=20))) <= 20


@pytest.mark.parametrize("width", [0, 19, -1])
def test_blocks__need_some_width(guest: Guest, width: int) -> None:
    """Else there is no picture."""
    for picture in (blocks.layout, blocks.tables):
        with pytest.raises(InvalidArgument, match="width"):
            picture(guest.space, width=width)
