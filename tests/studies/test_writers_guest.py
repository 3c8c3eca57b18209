"""Every writer on a real guest: what a harvest reports is what was written."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from npt import EPT, NPT, PAGE_SIZE, Prot, PteFormat, Reservoir, Vcpu, VmSpace
from npt._types import U8Array
from npt.studies.writers import HotCold, Mix, Phases, Sequential, Strided, Uniform, Writer, Zipf, writer

START = 509 * PAGE_SIZE  # leaf tables end in the middle of a byte of the bitmap
WINDOWS = 40

GUESTS: list[Writer] = [
    Uniform(1537, WINDOWS, 900, write_share=0.5, seed=1),
    Sequential(1537, WINDOWS, 500, write_share=0.9),
    Strided(1537, WINDOWS, 700, stride=12, write_share=0.2),
    Zipf(1537, WINDOWS, 3000, write_share=0.5),
    HotCold(1537, WINDOWS, 1500, write_share=0.7, move_every=3),
    Phases([Strided(700, 10, 300), Mix([Zipf(900, 30, 500), Uniform(637, 30, 500, seed=1)], [1, 2], disjoint=True)]),
    writer("sort"),
    writer("sqlite"),
    writer("xz"),
]


@pytest.fixture(params=GUESTS, ids=lambda one: one.name)
def guest(request: pytest.FixtureRequest, page_format: PteFormat) -> Iterator[tuple[Writer, VmSpace]]:
    """A writer, and a populated guest that is as large as it says."""
    made: Writer = request.param
    length = made.n_pages * PAGE_SIZE
    with (
        Reservoir(length, backed=False) as reservoir,
        reservoir.allocate(length) as ram,
        VmSpace(1 << 30, format=page_format, reservoir=reservoir, track_dirty=True) as space,
    ):
        space.map(ram, START, length, Prot.RW)
        space.populate(START, length)
        yield made, space


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def page_format(request: pytest.FixtureRequest) -> PteFormat:
    """Both formats."""
    made: PteFormat = request.param
    return made


def in_bitmap(bitmap: U8Array) -> set[int]:
    """Its pages."""
    return {8 * byte + bit for byte, value in enumerate(bitmap.tolist()) if value for bit in range(8) if value >> bit & 1}


@pytest.mark.slow
def test_harvest__is_what_was_written(guest: tuple[Writer, VmSpace]) -> None:
    """One harvest a window: the pages of its writes, and those alone; what was only read is accessed and not dirty."""
    made, space = guest
    vcpu, where = Vcpu(space.client()), (START, made.n_pages * PAGE_SIZE)
    space.accessed(*where, clear=True)  # fresh nPT leaves have A set
    assert made.n_windows
    for pages, write in islice(made.windows(), WINDOWS):
        vcpu.run(pages * np.uint64(PAGE_SIZE) + np.uint64(START), write=write)
        assert in_bitmap(space.track_dirty(*where)) == set(pages[write].tolist())
        assert in_bitmap(space.accessed(*where, clear=True)) == set(pages.tolist())
