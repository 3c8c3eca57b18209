"""Callbacks beside clients that do not want them any more, and beside who reads the tables."""

from npt import EPT, _sync, kernels
from npt.formats.base import ADDRESS
from npt.testing import Play, step
from npt.testing.inside.space import Inside
from tests.interleavings.scenario import scenario
from tests.interleavings.scene import HERE, NEXT, PAGE, Case, Scene

__all__: list[str] = []


class _Callback:
    """A callback that fails when its client has been told that it does not run any more."""

    def __init__(self) -> None:
        self.n_calls = 0
        self.ended = False

    def __call__(self, gpa: int, length: int) -> None:
        assert (gpa, length) == (HERE, PAGE)
        assert not self.ended, "an old callback begins"
        step("in the callback")
        assert not self.ended, "an old callback is still running"
        self.n_calls += 1


@scenario("called 0 times", "called 1 times", "called 2 times", forms=(EPT,), preemptions=3, small=True)
def callback_against_client_destroy(case: Case) -> Play:
    """A client ends itself while a harvest, and an unmap, call clients back."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE, resident=True)
    client, callback = scene.client(), _Callback()
    client.on_invalidate(callback)

    def end() -> None:
        client.destroy()
        callback.ended = True

    def change() -> None:
        scene.space.track_dirty(HERE, PAGE)
        scene.space.unmap(HERE, PAGE)

    return scene.play([end, change], lambda: case.seen.add(f"called {callback.n_calls} times"))


@scenario(*(f"old {old}, new {new}" for old in range(3) for new in range(3) if old + new < 3), forms=(EPT,), small=True)
def callback_against_on_invalidate(case: Case) -> Play:
    """A client takes another callback, then none, while a harvest, and an unmap, call clients back."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE, resident=True)
    client, old, new = scene.client(), _Callback(), _Callback()
    client.on_invalidate(old)

    def end() -> None:
        client.on_invalidate(new)
        old.ended = True
        client.on_invalidate(None)
        new.ended = True

    def change() -> None:
        scene.space.track_dirty(HERE, PAGE)
        scene.space.unmap(HERE, PAGE)

    return scene.play([end, change], lambda: case.seen.add(f"old {old.n_calls}, new {new.n_calls}"))


@scenario("there", "gone", forms=(EPT,), preemptions=3, small=True)
def callback_against_reader(case: Case) -> Play:
    """A device that caches what it reads in the tables, and drops it when called back, has nothing stale in the end."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE, resident=True)
    scene.map(scene.ram(), NEXT, resident=True)
    client, lock = scene.client(), _sync.lock("device")
    leaf = int(Inside(scene.space).tables.leaves[1][0])
    cached: list[int] = []

    def read() -> None:
        with lock:
            entry = kernels.words.load(scene.space._core.table.levels[0], leaf)
            if entry:
                cached.append(entry & ADDRESS)
        case.seen.add("there" if entry else "gone")

    def callback(gpa: int, length: int) -> None:
        with lock:
            cached.clear()

    client.on_invalidate(callback)

    def unmap() -> None:
        scene.space.unmap(HERE, PAGE)

    def finish() -> None:
        assert cached == [], "a stale translation is cached"

    return scene.play([read, unmap], finish)
