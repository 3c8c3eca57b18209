"""The end of a space beside look-ups, newcomers and clients that end themselves."""

from collections.abc import Callable
from typing import Any

from npt import EPT, Busy, Fault, Orphaned, Prot, StaleHandle, VmClient
from npt.space.gate import KICK
from npt.testing import Play, until
from tests.interleavings.scenario import scenario
from tests.interleavings.scene import HERE, PAGE, Case, Scene

__all__: list[str] = []


def _probe(scene: Scene, client: VmClient) -> None:
    """Have a client's look-ups fail in a space that is gone."""
    for name in ("_find_resident", "_find"):
        setattr(client, name, _probing(scene, getattr(client, name)))


def _probing(scene: Scene, find: Callable[..., Any]) -> Callable[..., Any]:
    def look(*arguments: Any) -> Any:
        assert not scene.space.destroyed, "a look-up walks the tables of a space that is gone"
        return find(*arguments)

    return look


@scenario("held", "nothing there", "orphaned", forms=(EPT,), small=True)
def wait_for_hold_against_destroy(case: Case) -> Play:
    """A look-up waits for an unmap behind which the space is destroyed."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE)
    client = scene.client()
    _probe(scene, client)

    def hold() -> None:
        try:
            page = client.hold(HERE, Prot.READ)
        except Fault:
            case.seen.add("nothing there")
        except Orphaned:
            assert client.orphaned
            case.seen.add("orphaned")
        else:
            assert not page.readable().any()
            page.release()
            case.seen.add("held")

    def destroy() -> None:
        scene.space.unmap(HERE, PAGE)
        scene.space.destroy()

    return scene.play([hold, destroy])


@scenario("held", "nothing there", "orphaned", forms=(EPT,))
def wait_for_hold_against_close(case: Case) -> Play:
    """The same for ``close``."""
    scene = Scene(case)
    ram = scene.ram()
    scene.map(ram, HERE)
    client = scene.client()
    _probe(scene, client)

    def hold() -> None:
        try:
            page = client.hold(HERE, Prot.RW)
        except Fault:
            case.seen.add("nothing there")
        except Orphaned:
            case.seen.add("orphaned")
        else:
            page.writable()[0] = 1
            page.release()
            case.seen.add("held")

    def finish() -> None:
        assert ram.refs == 1

    return scene.play([hold, scene.space.close], finish)


@scenario("joined", "refused", "entered", "kept out", "busy", forms=(EPT,))
def new_client_against_destroy(case: Case) -> Play:
    """A client is made, and a vCPU enters through another, while the space is destroyed."""
    scene = Scene(case)
    client = scene.client()
    made: list[VmClient] = []

    def join() -> None:
        try:
            made.append(scene.space.client())
            case.seen.add("joined")
        except StaleHandle:
            assert scene.space.destroyed
            case.seen.add("refused")

    def enter() -> None:
        try:
            client.table_enter()
        except Orphaned:
            case.seen.add("kept out")
        else:
            assert not scene.space.destroyed, "a vCPU is inside a space that is gone"
            case.seen.add("entered")
            client.table_exit()

    def destroy() -> None:
        try:
            scene.space.destroy()
        except Busy:
            case.seen.add("busy")

    def finish() -> None:
        for one in (client, *made):
            assert one.orphaned is scene.space.destroyed

    return scene.play([join, enter, destroy], finish)


@scenario("orphaned", "not orphaned", forms=(EPT,), preemptions=3, small=True)
def client_destroy_against_space_destroy(case: Case) -> Play:
    """A client ends itself while its space is destroyed: both work, whatever the order."""
    scene = Scene(case)
    client, other = scene.client(), scene.client()

    def finish() -> None:
        case.seen.add("orphaned" if client.orphaned else "not orphaned")
        assert other.orphaned
        assert scene.space.destroyed
        client.destroy()
        other.destroy()

    return scene.play([client.destroy, scene.space.destroy], finish)


@scenario("cloned", "orphaned", forms=(EPT,), preemptions=3, small=True)
def clone_against_close(case: Case) -> Play:
    """A client is cloned while its space is closed."""
    scene = Scene(case)
    scene.map(scene.ram(), HERE, resident=True)
    client = scene.client()
    clones: list[VmClient] = []

    def clone() -> None:
        try:
            clones.append(client.clone())
            case.seen.add("cloned")
        except Orphaned:
            case.seen.add("orphaned")

    def finish() -> None:
        assert all(one.orphaned for one in (client, *clones))

    return scene.play([clone, scene.space.close], finish)


@scenario("kicked out", "kept out", forms=(EPT,), preemptions=3)
def close_against_enter(case: Case) -> Play:
    """A vCPU that stays until it is kicked enters an empty space while that is closed: it is kicked out, or not let in."""
    scene = Scene(case)
    client = scene.client()

    def enter() -> None:
        try:
            client.table_enter()
        except Orphaned:
            case.seen.add("kept out")
            return
        until(lambda: client.gate.line[KICK], "a kick")
        client.table_exit()
        case.seen.add("kicked out")

    return scene.play([enter, scene.space.close])
