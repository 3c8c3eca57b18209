"""One guest for each test: a small reservoir, an object mapped at 0, a space that tracks, a client."""

from collections.abc import Iterator

import pytest

from npt import EPT, NPT, PteFormat, RamObject, Reservoir, VmClient, VmSpace
from tests.space.everything import Scene
from tests.space.scene import PAGE, SIZE, TIMEOUT, Calls, map_at


@pytest.fixture(params=[EPT, NPT], ids=["ept", "npt"])
def form(request: pytest.FixtureRequest) -> PteFormat:
    """Each entry format in turn."""
    assert isinstance(request.param, PteFormat)
    return request.param


@pytest.fixture
def reservoir() -> Iterator[Reservoir]:
    """4 MiB of frames; that it closes says that nothing leaked."""
    with Reservoir(0x400 * PAGE) as made:
        yield made


@pytest.fixture
def ram(reservoir: Reservoir) -> Iterator[RamObject]:
    """16 pages."""
    with reservoir.allocate(0x10 * PAGE) as made:
        yield made


@pytest.fixture
def space(reservoir: Reservoir, ram: RamObject, form: PteFormat) -> Iterator[VmSpace]:
    """A space of 1 TiB that tracks dirty pages and has the object at 0, to be read and written."""
    with VmSpace(SIZE, format=form, reservoir=reservoir, track_dirty=True, kick_timeout=TIMEOUT) as made:
        map_at(made, ram, 0)
        yield made


@pytest.fixture
def client(space: VmSpace) -> Iterator[VmClient]:
    """A client; what it still holds at the end is released."""
    made = space.client()
    yield made
    if "DESTROY" not in repr(made):
        made.release_all()


@pytest.fixture
def calls() -> Calls:
    """What was called back, in order: to be filled by ``listen``."""
    return []


@pytest.fixture(scope="module", params=[EPT, NPT], ids=["ept", "npt"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """One scene for all cases of a module: what is refused changes nothing."""
    assert isinstance(request.param, PteFormat)
    return Scene(request.param)
