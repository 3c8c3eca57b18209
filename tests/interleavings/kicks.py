"""Kicks beside vCPUs that come and go, that do not leave, that have much to do."""

from typing import Any

import numpy as np

from npt import EPT, ExitReason, KickTimeout, kernels
from npt.space.gate import ENTERED, KICK, ON_CPU
from npt.testing import Play, timeouts_fired, until
from npt.testing.inside.space import Inside
from tests.interleavings.scenario import scenario
from tests.interleavings.scene import FAR, HERE, PAGE, Case, Copy, Scene, write

__all__: list[str] = []

BLOCK = 64  # accesses within which a vCPU sees a kick


@scenario("kicked once", "kicked twice", "not kicked", forms=(EPT,))
def storm_against_kick(case: Case) -> Play:
    """A vCPU that comes back as soon as it was kicked out, and stays until it is kicked again; harvests go on beside it."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE, resident=True)
    client = scene.client()
    line, exclusion = client.gate.line, client.gate.exclusion
    done: list[int] = []
    generations: list[int] = []
    kicks: list[int] = []

    def storm() -> None:
        while len(done) < 2:
            generations.append(client.table_enter())
            until(lambda: line[KICK] or len(done) == 2, "a kick, or the end of the harvests")
            kicks.append(int(line[KICK]))
            client.table_exit()

    def harvest() -> None:
        for _ in range(2):
            scene.space.track_dirty(HERE, PAGE)
            assert not line[ON_CPU] or line[ENTERED] in (0, exclusion.epoch)  # 0: about to read it
            done.append(1)

    def finish() -> None:
        assert generations == sorted(generations)
        assert scene.space.counters.kicks == sum(kicks)
        case.seen.add(("not kicked", "kicked once", "kicked twice")[sum(kicks)])

    return scene.play([storm, harvest], finish)


@scenario("given up", "not given up", small=True)
def stayer_against_kick(case: Case) -> Play:
    """A vCPU that does not leave until the host has given its harvest up: no dirty bit is lost."""
    scene = Scene(case, kick_timeout=0.01)
    ram = scene.ram()
    scene.map(ram, HERE)
    write(scene.vcpu(), HERE, 7)
    client = scene.client()
    copy = Copy(scene, ram, HERE)
    ended: list[str] = []

    def stay() -> None:
        client.table_enter()
        until(lambda: ended, "the harvest to end")
        client.table_exit()

    def harvest() -> None:
        before = scene.space.generation
        try:
            assert copy.harvest() == [0]
            ended.append("not given up")
        except KickTimeout:
            assert scene.space.peek_dirty(HERE, PAGE)[0] == 1, "D was not put back"
            ended.append("given up")
        assert scene.space.generation == before + 1

    def finish() -> None:
        case.seen |= set(ended)
        assert copy.check() == ([0] if ended == ["given up"] else [])
        assert scene.space.counters.timeouts == (ended == ["given up"]) == (timeouts_fired() > 0)

    return scene.play([stay, harvest], finish, may_time_out=True)


class _Waits:
    """A gate's condition that counts, around each wait for its vCPU, how many pages that has marked."""

    def __init__(self, scene: Scene, condition: Any, n_pages: int) -> None:
        self._levels, self._dirty = scene.space.table.levels, int(scene.case.form.masks.dirty)
        self._leaves = Inside(scene.space).tables.leaves[1][:n_pages].tolist()
        self._condition = condition
        self.n_marked: list[tuple[int, int]] = []

    def wait(self, timeout: float | None = None) -> Any:
        """Wait, and count before and after."""
        before = self._count()
        result = self._condition.wait(timeout)
        self.n_marked.append((before, self._count()))
        return result

    def notify_all(self) -> None:
        """As it is."""
        self._condition.notify_all()

    def _count(self) -> int:
        return sum(kernels.words.load(self._levels[0], leaf) & self._dirty != 0 for leaf in self._leaves)


@scenario("done", "kicked after 0", "kicked after 64", "kicked after 128", "waited for", tlbs=(0, 4), sampled=200)
def kick_against_long_run(case: Case) -> Play:
    """A vCPU with three blocks of accesses, each to another page first, sees a kick before the next block begins."""
    scene = Scene(case, 5)
    ram = scene.ram(4)
    scene.map(ram, HERE, resident=True)
    scene.map(scene.ram(), FAR)
    vcpu = scene.vcpu()
    gate = vcpu.client.gate
    gate.changed = waits = _Waits(scene, gate.changed, 3)
    gpas = np.full((3, BLOCK), HERE + 3 * PAGE, np.uint64)
    gpas[:, 0] = np.uint64(HERE) + np.arange(3, dtype=np.uint64) * np.uint64(PAGE)

    def run() -> None:
        exit = vcpu.step(gpas.reshape(-1), write=True)
        assert exit.reason in (ExitReason.DONE, ExitReason.KICKED)
        case.seen.add("done" if exit.reason is ExitReason.DONE else f"kicked after {exit.completed}")

    def finish() -> None:
        if waits.n_marked:
            case.seen.add("waited for")
        for before, after in waits.n_marked:
            assert after - before <= 1, f"kicked after page {before}, it went on to {after}"

    return scene.play([run, lambda: scene.space.track_dirty(FAR, PAGE)], finish)
