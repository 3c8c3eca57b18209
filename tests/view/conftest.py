"""Pictures are drawn into nothing; every figure is closed behind its test."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

pytest.importorskip("matplotlib")

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from npt import EPT, NPT, PAGE_SIZE, Prot, PteFormat, RamObject, Reservoir, Vcpu, VmSpace

HIGH = 0x3FFE_0000  # 32 pages below a directory's edge
N_HIGH = 64  # pages there


class Guest(NamedTuple):
    """Two mappings: five pages of ROM at 0, 64 pages over a table's edge."""

    reservoir: Reservoir
    ram: RamObject
    space: VmSpace
    vcpu: Vcpu


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No window, and nothing left."""
    matplotlib.use("agg")
    yield
    plt.close("all")


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """Pages 3, 31, 32 and 63 of the high mapping are dirty, page 5 was read; the low one is not resident."""
    form: PteFormat = request.param
    with (
        Reservoir(128 * PAGE_SIZE, limit=160 * PAGE_SIZE) as reservoir,
        reservoir.allocate(80 * PAGE_SIZE) as ram,
        VmSpace(1 << 40, format=form, reservoir=reservoir, track_dirty=True) as space,
    ):
        space.map(ram, 0, 5 * PAGE_SIZE, Prot.RX, offset=70 * PAGE_SIZE)
        space.map(ram, HIGH, N_HIGH * PAGE_SIZE, Prot.RW)
        vcpu = Vcpu(space.client())
        vcpu.run([HIGH + 5 * PAGE_SIZE])
        vcpu.run(HIGH + PAGE_SIZE * np.array([3, 31, 32, 63]), write=True)
        yield Guest(reservoir, ram, space, vcpu)
