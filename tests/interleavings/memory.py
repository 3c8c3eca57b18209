"""A reservoir beside several who take from it, give back, and resize it."""

import numpy as np

from npt import EPT, RamObject, Reservoir, ReservoirExhausted, VmSpace
from npt.testing import Play, check, step
from tests.interleavings.scenario import scenario
from tests.interleavings.scene import PAGE, Case

__all__: list[str] = []


class _Owners:
    """Who has which frame, as the holders themselves say."""

    def __init__(self, reservoir: Reservoir) -> None:
        self._reservoir = reservoir
        self._frames: dict[int, str] = {}

    def use(self, name: str, obj: RamObject, byte: int) -> None:
        """Take an object's frames, which nobody has and all are zero; fill them, and give them back as they were filled."""
        frames = [span.pfn - self._reservoir.base_pfn + n for span in obj.spans for n in range(span.n_pages)]
        pages = self._reservoir.memory.reshape(-1, PAGE)
        for frame in frames:
            assert self._frames.setdefault(frame, name) == name, f"frame {frame:#x} is {self._frames[frame]}'s and {name}'s"
            assert not pages[frame].any(), f"frame {frame:#x} was handed out and is not zero"
        pages[frames] = byte
        step("in use")
        assert np.unique(pages[frames]).tolist() == [byte], f"somebody wrote to frames {frames}, which are {name}'s"
        for frame in frames:
            del self._frames[frame]
        obj.release()


@scenario("both", "one failed", "other failed", "shrank", "shrank less", forms=(EPT,))
def allocate_free_and_resize(case: Case) -> Play:
    """Two threads allocate, use and free, one of them transient memory too; a third shrinks the reservoir and lets it grow."""
    reservoir = Reservoir(3 * PAGE, limit=4 * PAGE)
    space = VmSpace(PAGE, reservoir=reservoir)
    owners = _Owners(reservoir)
    failed: list[str] = []

    def use(name: str, length: int, byte: int, *, transient: bool = False) -> None:
        try:
            obj = reservoir.allocate(length, transient=transient)
        except ReservoirExhausted:
            failed.append(name)
            return
        owners.use(name, obj, byte)

    def one() -> None:
        use("one", 2 * PAGE, 0x11)

    def other() -> None:
        use("other", PAGE, 0x22)
        use("transient", PAGE, 0x33, transient=True)

    def resize() -> None:
        reached = reservoir.resize(PAGE, chunk=PAGE)
        assert reached in (PAGE, 2 * PAGE, 3 * PAGE)
        case.seen.add("shrank" if reached == PAGE else "shrank less")
        assert reservoir.resize(3 * PAGE, chunk=PAGE) <= 3 * PAGE

    def finish() -> None:
        check(space)
        case.seen.update(f"{name} failed" for name in failed if name != "transient")
        case.seen |= set() if failed else {"both"}
        usage = reservoir.usage
        assert (usage.allocated, usage.transient, usage.quarantined) == (0, 0, 0)
        assert usage.free == reservoir.size
        assert reservoir.resize(4 * PAGE) == 4 * PAGE

    each_step = (lambda: check(space, at_rest=False)) if case.each_step else None
    return Play([one, other, resize], finish, each_step, may_time_out=False)
