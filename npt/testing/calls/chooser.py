"""Chooses what calls are made of: things, addresses, numbers; with a bias to what is there, to borders, to dead handles.

About one call in five is to be wrong on purpose: a bad number or type, a handle that is dead, or one of another space.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from npt.errors import InvalidArgument, NptError
from npt.testing.calls.call import Call, plain
from npt.testing.calls.player import MAKES, Player
from npt.testing.calls.recorder import LETTERS
from npt.testing.calls.source import Source

__all__ = ["DEVICES", "FRAMES", "LARGEST", "PAGE", "PLACES", "SIZES", "Chooser"]

_T = TypeVar("_T")

PAGE, TABLE = 0x1000, 0x20_0000
LARGEST = 1 << 41  # a space; the bitmap of a larger one, whole, is more than a test should take
# Where mappings are made: the start, the borders of a table of each level, and odd places between.
PLACES = (
    0,
    PAGE,
    TABLE - 3 * PAGE,
    TABLE,
    3 * TABLE - PAGE,
    (1 << 30) - 2 * PAGE,
    1 << 30,
    (1 << 39) - PAGE,
    (1 << 39) + TABLE,
)
SIZES = (1 << 30, (1 << 30) + PAGE, 1 << 40, LARGEST)
FRAMES = 1 << 24  # from one reservoir to the next
DEVICES = (0xFE00_0000, 0xC000_0000)
WRONG: tuple[Any, ...] = (
    -1, -PAGE, 0, 1, 0xFFF, 0x1001, (1 << 47) + PAGE, 1 << 48, 1 << 63, 2**64 - PAGE, 2**64, 2**64 + PAGE, None, 1.5, "x", True,
)  # fmt: skip
MOST = {
    "Reservoir": 2, "RamObject": 9, "MmioObject": 3, "VmSpace": 4, "VmClient": 8, "VmPage": 10, "VmPages": 3, "Vcpu": 4,
    "Vm": 1, "Segment": 3, "view": 6,
}  # fmt: skip
MOST_DEAD = 3
_OBJECTS = ("RamObject", "MmioObject")
_MANY = {"RamObject", "MmioObject", "VmPage", "VmPages", "Segment", "view"}  # are ended when there are enough
ENDS = {
    "Reservoir": ("close",), "RamObject": ("release",), "MmioObject": ("release",), "VmSpace": ("close", "destroy"),
    "VmClient": ("destroy", "release_all"), "VmPage": ("release", "release_chain"), "VmPages": ("release",), "Vm": ("destroy",),
    "Segment": ("close",), "view": ("drop",),
}  # fmt: skip
_SIGN_OF_LIFE = {
    "Reservoir": "size", "RamObject": "length", "MmioObject": "length", "VmSpace": "generation", "VmClient": "holds",
    "VmPage": "pfn", "VmPages": "gpas", "Vm": "space", "Segment": "__len__",
}  # fmt: skip
_CALL_BACK = {"unmap", "track_dirty", "reset_dirty", "accessed", "set_tracking", "close"}


class Chooser(ABC):
    """Makes choices about things that a player has made.

    Parameters
    ----------
    player
        Plays the calls, so that what they made can be looked at; best on a model, which is not what is tested.
    source
        Makes the choices.
    format
        ``"EPT"`` or ``"NPT"``, of all spaces.
    """

    def __init__(self, player: Player, source: Source, format: str) -> None:
        if format not in ("EPT", "NPT"):  # spaces would never be made, by neither side, and nothing would differ
            raise InvalidArgument(f'format must be "EPT" or "NPT", not {format!r}')
        self.player, self.source, self.format = player, source, format
        self.on_cpu: list[str] = []  # clients, as far as is known
        self.hosted: set[str] = set()  # spaces that had the first reservoir from the start
        self._made = dict.fromkeys(LETTERS.values(), 0)
        self._dead: set[str] = set()
        self._homes: dict[str, str] = {}  # space of each client, vCPU and so on
        self._in_callback = False

    @abstractmethod
    def next(self) -> Call:
        """The next call."""

    # -- choices ------------------------------------------------------------------------------------------------------

    def below(self, n: int) -> int:
        """A number from 0 to ``n - 1``."""
        return self.source.below(n)

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return self.below(one_in) == one_in - 1

    def of(self, these: Sequence[_T]) -> _T:
        """One of these."""
        return these[self.below(len(these))]

    def number(self, n: int) -> Any:
        """A number, and now and then a wrong one."""
        return plain(self.of(WRONG) if self.chance(48) else n, {})

    def prot(self, *good: int) -> Any:
        """One of some permissions, and now and then what is none."""
        return plain(self.of((0, 2, 4, 6, 8, -1, "x", None)) if self.chance(32) else self.of(good), {})

    def flag(self) -> Any:
        """True or False, and seldom a number."""
        return 1 if self.chance(64) else self.chance(2)

    # -- things -------------------------------------------------------------------------------------------------------

    def names(self, kind: str) -> list[str]:
        """Living things of a class."""
        return [name for name, its in self.player.kinds.items() if its == kind and self.lives(name)]

    def lives(self, name: str) -> bool:
        """Whether a thing has not been ended."""
        if name in self._dead or name not in self.player.kinds:
            return False
        kind = self.player.kinds[name]
        if kind == "Vcpu":
            return self.lives(self._homes.get(name, ""))
        if kind not in _SIGN_OF_LIFE or _shows_life(self.player.things[name], _SIGN_OF_LIFE[kind]):
            return True
        self._dead.add(name)
        return False

    def thing(self, *kinds: str) -> str | None:
        """One of a class; now and then one that is dead, or of another class."""
        if self.chance(24) and (dead := [n for n, its in self.player.kinds.items() if its in kinds and n in self._dead]):
            return self.of(dead)
        living = [name for kind in kinds for name in self.names(kind)]
        return self.of(living) if living else None

    def argument(self, *kinds: str) -> Any:
        """A thing as an argument; now and then something that is none of the kind."""
        if self.chance(64):
            return self.of((None, 1, "x", *({"thing": name} for name in self.player.things)))
        name = self.thing(*kinds)
        return None if name is None else {"thing": name}

    def fitting(self, space: str | None) -> Any:
        """An object of the reservoir that a space's first RAM is from, or of the first reservoir."""
        mapped = [one.obj for one in self.mappings(space or "") if hasattr(one.obj, "reservoir")]
        home = mapped[0].reservoir if mapped else self.player.things.get("r0")
        names = [name for name in self.names("RamObject") if self.player.things[name].reservoir is home]
        return {"thing": self.of(names)} if names else None

    def surplus(self) -> str | None:
        """Something dead, of a class that has many such."""
        for kind in MOST:
            dead = [name for name, its in self.player.kinds.items() if its == kind and not self.lives(name)]
            if len(dead) > MOST_DEAD:
                self._dead.discard(dead[0])
                return dead[0]
        return None

    def new(self, name: str, on: str | None = None, **args: Any) -> Call | None:
        """A call that makes something; if there is a lot of it already, one that ends one."""
        if ("." in name and on is None) or None in (args.get("client", 0), args.get("reservoir", 0)):
            return None
        kind = MAKES[name]
        if len(self.names(kind)) >= MOST[kind] and not self.chance(16):
            return self.end(kind) if kind in _MANY else None
        letter = LETTERS[kind]
        self._made[letter] += 1
        made = f"{letter}{self._made[letter] - 1}"
        self._settle(made, name, on, args)
        return Call(name, on, args, made)

    def made(self, kind: str) -> int:
        """How many of a class were asked for so far."""
        return self._made[LETTERS[kind]]

    def _settle(self, made: str, name: str, on: str | None, args: dict[str, Any]) -> None:
        """Remember what space a thing is about."""
        origin = on
        if origin is None and isinstance(args.get("client"), dict):
            origin = args["client"]["thing"]
        home = origin if name == "VmSpace.client" else self._homes.get(origin or "")
        if name == "Vm.space" and on is not None:
            self._homes.setdefault(on, made)
        elif home is not None:
            self._homes[made] = home

    def home(self, name: str) -> str | None:
        """Name of the space that a thing is about, as far as is known."""
        return self._homes.get(name)

    def on(self, name: str, **args: Any) -> Call | None:
        """A call of one of the things that have it."""
        thing = self.thing(name.partition(".")[0])
        return None if thing is None or None in [args.get("page", 0)] else Call(name, thing, args)

    def end(self, kind: str) -> Call | None:
        """A call that ends one of a class."""
        name = self.thing(kind)
        if name is None or kind not in ENDS:
            return None
        end = ENDS[kind][-1] if self.chance(4) else ENDS[kind][0]
        return Call(f"{kind}.{end}", name, inside=self.inside(end))

    def inside(self, method: str) -> tuple[tuple[Call, ...], ...]:
        """What callbacks do that come during a call: mostly nothing."""
        if method not in _CALL_BACK or self._in_callback or not self.chance(4):
            return ()
        self._in_callback = True
        drawn = tuple(tuple(self._call_inside() for _ in range(self.below(3))) for _ in range(1 + self.below(2)))
        self._in_callback = False
        return drawn

    def _call_inside(self) -> Call:
        return Call("raise") if self.chance(8) else self.next()

    # -- what things are like -----------------------------------------------------------------------------------------

    def pages_of(self, obj: Any) -> int:
        """How many pages an object has that is an argument."""
        name = obj["thing"] if isinstance(obj, dict) else ""
        known = self.lives(name) and self.player.kinds[name] in _OBJECTS
        return int(self.player.things[name].length) // PAGE if known else 4

    def count(self, batch: str) -> int:
        """Pages of a batch."""
        return len(self.player.things[batch].gpas) if self.lives(batch) else 1

    def is_writable(self, view: str) -> bool:
        """Whether an array may be written."""
        flags = getattr(self.player.things[view], "flags", None)
        return flags is not None and bool(flags.writeable)

    # -- addresses ----------------------------------------------------------------------------------------------------

    def range(self, space: str) -> dict[str, Any]:
        """A range of a space: a mapping, a part of one, around one, or anywhere."""
        mappings = self.mappings(space)
        kind = self.below(20)
        if not mappings or kind >= 18:
            gpa, n = self.place(space), 1 + self.below(12)
            return {"gpa": self.number(gpa), "length": self.number(n * PAGE)}
        one = self.of(mappings)
        first, n = one.gpa // PAGE, one.length // PAGE
        if kind >= 13:  # around
            first, n = max(first - self.below(4), 0), n + self.below(8)
        elif kind >= 7:  # in it
            skip = self.below(n)
            first, n = first + skip, 1 + self.below(n - skip)
        return {"gpa": self.number(first * PAGE), "length": self.number(n * PAGE)}

    def part(self, space: str) -> dict[str, Any]:
        """A part of one mapping, mostly."""
        mappings = self.mappings(space)
        if not mappings or self.chance(4):
            return self.range(space)
        one = self.of(mappings)
        n = one.length // PAGE
        skip = self.below(n)
        return {"gpa": self.number(one.gpa + skip * PAGE), "length": self.number((1 + self.below(n - skip)) * PAGE)}

    def mapping(self, space: str) -> dict[str, Any]:
        """Exactly a mapping, mostly."""
        mappings = self.mappings(space)
        if not mappings or self.chance(6):
            return self.range(space)
        one = self.of(mappings)
        return {"gpa": self.number(one.gpa), "length": self.number(one.length)}

    def mappings(self, space: str) -> Any:
        """What a space has mapped; nothing if it is dead, or no space."""
        try:
            return self.player.things[space].mappings
        except (NptError, AttributeError, KeyError):  # dead, no space at all, or forgotten
            return ()

    def place(self, space: str) -> int:
        """A page where something may be mapped."""
        size = getattr(self.player.things[space], "size", None) if self.lives(space) else None
        places = PLACES if size is None else (*(place for place in PLACES if place < size), size - 4 * PAGE)
        return int(self.of(places)) + self.below(4) * PAGE

    def gpas(self, space: str | None) -> list[Any]:
        """A few addresses of pages."""
        return [self.number(self.gpa(space)) for _ in range(self.below(6))]

    def gpa(self, space: str | None) -> int:
        """An address, most often in a mapping."""
        mappings = self.mappings(space) if space else ()
        if not mappings or self.chance(12):
            return self.place(space) if space else self.of(PLACES)
        one = self.of(mappings)
        return int(one.gpa) + self.below(one.length // PAGE) * PAGE

    def byte(self, space: str | None) -> int:
        """An address, most often in a mapping, and half the time inside a page."""
        return self.gpa(space) + (self.of((0, 8, 0x7F8, PAGE - 8, PAGE - 1)) if self.chance(2) else 0)

    def bits(self, length: Any) -> Any:
        """A bitmap for a range: long enough, mostly."""
        n = (length // PAGE + 7) // 8 if isinstance(length, int) and 0 < length < 1 << 20 else 2
        return {"bits": bytes(self.below(256) for _ in range(max(n + self.of((0, 0, 0, 0, 0, 1, 2, -1)), 0))).hex()}

    def text(self, n: int) -> Any:
        """Some bytes."""
        return {"hex": (bytes([1 + self.below(255), 1 + self.below(255), 1 + self.below(255)]) * (n // 3 + 1))[:n].hex()}


def _shows_life(thing: Any, sign: str) -> bool:
    try:
        found = getattr(thing, sign)
        _ = found() if callable(found) else found
        return not getattr(thing, "orphaned", False)
    except NptError:
        return False
