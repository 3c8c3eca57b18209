"""Draws calls at random: all calls of the contract, on whatever is there."""

from collections.abc import Iterator, Sequence
from typing import Any

from npt.testing.calls.call import Call
from npt.testing.calls.chooser import FRAMES, LARGEST, PAGE, TABLE, Chooser
from npt.testing.calls.drawn import DRAWN, Draw, make_reservoir, make_space

__all__ = ["Drawer"]


class Drawer(Chooser):
    """Draws one call after the other; the same ones from the same choices."""

    def begin(self) -> Iterator[Call]:
        """A world to begin with: three spaces that share objects, each with two clients and a vCPU, and a foreign reservoir."""
        memory = self._make("Reservoir", size=48 * PAGE, limit=64 * PAGE, base_pfn=FRAMES)
        yield memory
        yield self._make("Reservoir", size=16 * PAGE, base_pfn=2 * FRAMES)
        objects = [self._make("Reservoir.allocate", memory.new, length=n * PAGE) for n in (8, 6, 3)]
        yield from objects
        for size, tracking in ((1 << 40, True), ((1 << 30) + PAGE, True), (LARGEST, False)):
            args: dict[str, Any] = {"size": size, "format": {"format": self.format}, "reservoir": {"thing": memory.new}}
            space = self._make("VmSpace", **args, track_dirty=tracking)
            yield space
            self.hosted.add(space.new or "")
            for obj, gpa, n in ((objects[0], TABLE - 3 * PAGE, 8), (objects[1], 0x5000 * (1 + tracking), 6)):
                args = {"obj": {"thing": obj.new}, "gpa": gpa, "length": n * PAGE, "prot": 3 if n == 8 else 7}
                yield Call("VmSpace.map", space.new, args)
            clients = [self._make("VmSpace.client", space.new) for _ in range(2)]
            yield from clients
            yield self._make("Vcpu", client={"thing": clients[0].new}, tlb=4)

    def _make(self, name: str, on: str | None = None, **args: Any) -> Call:
        call = self.new(name, on, **args)
        assert call is not None
        return call

    def next(self) -> Call:
        """The next call."""
        call = None
        while call is None:
            call = self._draw()
        return call

    def _draw(self) -> Call | None:
        if not self.names("Reservoir"):
            return make_reservoir(self)
        if not self.names("VmSpace"):
            return make_space(self)
        if self.chance(16) and (surplus := self.surplus()):
            return Call("forget", surplus)
        if self.on_cpu and self.chance(5):
            return Call("VmClient.table_exit", self.on_cpu.pop())
        return self.of(DRAWN)(self)

    def one_of(self, draws: Sequence[Draw]) -> Call | None:
        """A call of some, if there is what it is about."""
        return self.of(draws)(self)

    def ends(self) -> Iterator[Call]:
        """Calls that end all there is, and then look whether it all came back."""
        for client in self.on_cpu:
            yield Call("VmClient.table_exit", client)
        for kind, end in _LAST:
            for name in self.names(kind):
                yield Call(f"{kind}.{end}", name)
        for kind in ("RamObject", "MmioObject"):
            for name in self.names(kind):
                yield from [Call(f"{kind}.release", name)] * self.player.things[name].refs
        for name in self.names("Reservoir"):
            yield from (Call("Reservoir.usage", name), Call("Reservoir.close", name))


_LAST = (
    ("view", "drop"), ("VmPage", "release"), ("VmPages", "release"), ("VmClient", "release_all"), ("Segment", "close"),
    ("Vm", "destroy"), ("VmSpace", "close"),
)  # fmt: skip
