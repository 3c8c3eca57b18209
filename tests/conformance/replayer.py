"""Replays recorded traces of the reference implementation on npt and compares every field of every result.

Theory of operation
-------------------
A trace is a list of lines, each one operation with its arguments and what the reference returned. For every operation
there is a method ``_op_<name>`` that does the same with npt and returns npt's result in the trace's own terms: the same
keys, the same number forms, host frames named by object and page. ``Replayer.step`` compares the two dictionaries key
by key, so a field that a method forgets is a mismatch, too.

Where npt differs on purpose, the replay stays exact:

- The reference's resident count never falls. Its figure is compared with the number of pages that ever became resident,
  and ``present`` with npt's count.
- The reference placed objects by first fit. Its frames are translated with ``base_pfn``, ours with ``pfn_at``.
- A harvest that npt refuses changes nothing in npt, but raised the generation in the reference. The difference is
  carried along; of a range that only ends past the end, the part inside is harvested, so that both go on with the same
  dirty bits.
- The reference's ``map`` and ``mmio`` consume a reference, npt's do not: the replay gives the caller's back.

Guarantees: a refused call left generation, resident count, entries, mappings and reservoir as they were, and called
            nobody back.
Relies on:  ids are never reused within a trace.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npt import (
    EPT,
    NPT,
    PAGE_SIZE,
    ExitReason,
    MmioObject,
    NptError,
    Prot,
    RamObject,
    Reservoir,
    Vcpu,
    VmClient,
    VmPage,
    VmSpace,
)
from tests.conformance.books import FRAME, LEVELS, Frames, Home, SpaceState, tables_in_use
from tests.conformance.trace import Line, Result, Trace, status_of

__all__ = ["Mismatch", "Replayer"]

_FORMATS = {"ept": EPT, "rvi": NPT}
_NOT_PORTABLE = {("obj_mem", "base_pfn"), ("root", "root")}  # where things were placed in the reference's host memory
_CALLS_BACK = {"unmap", "track_dirty"}


class Mismatch(AssertionError):
    """npt answered otherwise than the reference."""


class Replayer:
    """One trace on one reservoir.

    Attributes
    ----------
    reservoir : Reservoir
        Backed, and only as large as the trace needs.
    spaces, objects, clients, pages : dict
        What is alive, by the trace's ids.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        size = trace.reservoir_pages() * PAGE_SIZE
        self.reservoir = Reservoir(size, base_pfn=trace.header["reservoir"]["base_pfn"])
        self.spaces: dict[int, Home] = {}
        self.objects: dict[int, RamObject | MmioObject] = {}
        self.clients: dict[int, VmClient] = {}
        self.pages: dict[int, VmPage] = {}
        self._home: dict[int, int] = {}  # client id -> space id
        self._next: dict[int, int] = {}
        self._frames = Frames()
        self._invalidations: list[list[Any]] = []
        self._line = trace.lines[0]

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self, until: int | None = None) -> "Replayer":
        """Replay all lines, or those before line ``until``.

        Raises
        ------
        Mismatch
            At the first field that differs.
        """
        for line in self.trace.lines[:until]:
            self.step(line)
        return self

    def step(self, line: Line) -> None:
        """Do one operation and compare its result."""
        self._line = line
        if "Q3" in line.tags:  # refused by the reference for ending where the space ends; npt takes it
            return
        self._invalidations.clear()
        try:
            got = getattr(self, f"_op_{line.op}")(line)
        except (NptError, TypeError) as error:
            raise self._mismatch("refused", line.res, f"{type(error).__name__}: {error}") from error
        self._compare(line, got)
        if line.op not in _CALLS_BACK:
            self._expect("callbacks", [], self._invalidations)
        for home in self.spaces.values():
            home.count()

    def finish(self) -> None:
        """After the last line: nothing is left, and host memory is free and zero."""
        for name in ("spaces", "clients", "pages"):
            self._expect(f"{name} left", [], list(getattr(self, name)))
        self._expect("references left", [], [number for number, obj in self.objects.items() if obj.refs])
        usage = self.reservoir.usage
        self._expect("allocated, quarantined", (0, 0), (usage.allocated, usage.quarantined))
        self._expect("bytes that are not zero", 0, int(np.count_nonzero(self.reservoir.buffer)))
        self.reservoir.close()

    # -- comparing --------------------------------------------------------------------------------------------------

    def _mismatch(self, what: str, expected: Any, got: Any) -> Mismatch:
        line = self._line
        return Mismatch(
            f"{self.trace.path.name} line {line.i} {line.op} {json.dumps(line.args)}: {what}: "
            f"expected {expected!r}, got {got!r}"
        )

    def _expect(self, what: str, expected: Any, got: Any) -> None:
        if expected != got:
            raise self._mismatch(what, expected, got)

    def _compare(self, line: Line, got: Result) -> None:
        for key, expected in line.res.items():
            if (line.op, key) in _NOT_PORTABLE:
                continue
            self._expect(key, expected, got.get(key, "nothing"))
        self._expect("fields", [], sorted(got.keys() - line.res.keys()))

    def _attempt(self, home: Home | None, call: Callable[[], Any], **other: str) -> str:
        """Status of a call in the trace's words; a refused one must have changed nothing.

        ``other`` gives an exception another status than usual, by class name.
        """
        spaces = [home] if home else []
        before = [SpaceState.of(each.space, self.reservoir) for each in spaces]
        try:
            call()
        except NptError as error:
            status = other.get(type(error).__name__, status_of(error))
        else:
            return "ok"
        self._expect("state after a refusal", before, [SpaceState.of(each.space, self.reservoir) for each in spaces])
        self._expect("callbacks of a refusal", [], self._invalidations)
        return status

    @property
    def _resv(self) -> int:
        return self.reservoir.usage.allocated // PAGE_SIZE

    def _home_of(self, line: Line) -> Home:
        return self.spaces[line.args["s"]]

    def _living_home(self, client: int) -> Home | None:
        return self.spaces.get(self._home[client])

    def _pte(self, space: VmSpace, gpa: int) -> str | None:
        entry = space.pte(gpa)
        return None if entry is None else self._frames.in_reference(entry)

    # -- spaces -----------------------------------------------------------------------------------------------------

    def _op_space_alloc(self, line: Line) -> Result:
        space = VmSpace(
            line.number("size"),
            format=_FORMATS[line.args["format"]],
            reservoir=self.reservoir,
            track_dirty=line.args["track"],
        )
        self.spaces[line.args["s"]] = Home(space, line.args["track"])
        return {"gen": space.generation}

    def _op_space_destroy(self, line: Line) -> Result:
        home = self.spaces.pop(line.args["s"])
        self._expect("tables of an empty space", (1, 0, 0, 0), tables_in_use(home.space))
        left = [int(np.count_nonzero(home.space.table.entries(level))) for level in LEVELS]
        self._expect("entries of an empty space", [0, 0, 0, 0], left)
        home.space.destroy()
        return {"orphaned": sorted(number for number in home.clients if self.clients[number].orphaned)}

    def _op_gen(self, line: Line) -> Result:
        return {"gen": self._home_of(line).generation}

    def _op_root(self, line: Line) -> Result:
        root = self._home_of(line).space.table_root
        return {"root": hex(root), "low12": root & 0xFFF}

    def _op_tables(self, line: Line) -> Result:
        return {"n": list(tables_in_use(self._home_of(line).space))}

    def _op_resident(self, line: Line) -> Result:
        home = self._home_of(line)
        present = home.space.resident_count
        self._expect("leaf entries", present, int(np.count_nonzero(home.space.table.entries(1))))
        return {"n": home.count(), "present": present}

    def _op_pte(self, line: Line) -> Result:
        space = self._home_of(line).space
        entry = space.pte(line.number("gpa"))
        result: Result = {"pte": self._pte(space, line.number("gpa"))}
        return result | {"pfn": self._frames.told((entry & FRAME) >> 12)} if entry else result

    # -- mappings ---------------------------------------------------------------------------------------------------

    def _op_map(self, line: Line) -> Result:
        home, number, (gpa, length) = self._home_of(line), line.args["o"], line.range
        obj, prot, offset = self.objects[number], Prot(line.args["prot"]), line.number("off")
        status = self._attempt(home, lambda: home.space.map(obj, gpa, length, prot, offset))
        if status == "ok":
            home.mapped[gpa] = number
            obj.release()
        return {"st": status, "refs": obj.refs}

    def _op_mmio(self, line: Line) -> Result:
        home, (gpa, length) = self._home_of(line), line.range
        made: list[MmioObject] = []
        status = self._attempt(
            home,
            lambda: made.append(home.space.map_mmio(gpa, length, line.number("hpa"))),
            BeyondSpace="NULL",
            InvalidArgument="NULL",
            Overlap="NULL",
        )
        if status != "ok":
            return {"st": status}
        (obj,) = made
        home.mapped[gpa] = line.args["o"]
        self.objects[line.args["o"]] = obj
        obj.release()
        return {"st": status, "refs": obj.refs}

    def _op_unmap(self, line: Line) -> Result:
        home, (gpa, length) = self._home_of(line), line.range
        status = self._attempt(home, lambda: home.space.unmap(gpa, length))
        result = {"st": status, "inval": list(self._invalidations), "gen": home.generation}
        if status != "ok":
            return result
        obj = self.objects[home.mapped.pop(gpa)]
        return result | {"refs": obj.refs, "resv": self._resv}

    def _op_populate(self, line: Line) -> Result:
        home, (gpa, length) = self._home_of(line), line.range
        if not length:  # the reference looks whether anything is mapped there and does nothing
            self._expect("no pages", "EINVAL", self._attempt(home, lambda: home.space.populate(gpa, length)))
            return {"st": line.res["st"], "n": home.count()}
        before, newly = home.count(), [0]
        status = self._attempt(home, lambda: newly.append(home.space.populate(gpa, length)), NoSuchMapping="FC_NOMAP")
        self._expect("newly resident", home.count() - before, newly[-1])
        return {"st": status, "n": home.count()}

    # -- dirty bits -------------------------------------------------------------------------------------------------

    def _op_track_dirty(self, line: Line) -> Result:
        home, (gpa, length) = self._home_of(line), line.range
        bitmap = np.zeros((length // PAGE_SIZE + 7) // 8, dtype=np.uint8)
        if "bitmap_in" in line.args:
            bitmap[:] = np.frombuffer(bytes.fromhex(line.args["bitmap_in"]), dtype=np.uint8)
        if not length or gpa + length > home.space.size:
            return self._harvest_refused(line, home, bitmap)
        status = self._attempt(home, lambda: home.space.track_dirty(gpa, length, into=bitmap))
        if status != "ok":
            return {"st": status, "gen": home.generation}
        return {
            "st": status,
            "gen": home.generation,
            "bitmap": bitmap.tobytes().hex(),
            "inval": list(self._invalidations),
        }

    def _harvest_refused(self, line: Line, home: Home, bitmap: NDArray[np.uint8]) -> Result:
        """A range that npt does not take: empty, or past the end. Do what of it can be done."""
        gpa, length = line.range
        status = self._attempt(home, lambda: home.space.track_dirty(gpa, length, into=bitmap))
        self._expect("range", "ENOMEM" if length else "EINVAL", status)
        if not home.tracking:
            return {"st": "EPERM", "gen": home.generation}
        inside = min(length, home.space.size - gpa)
        if inside > 0:
            home.space.track_dirty(gpa, inside, into=bitmap)
            told = [[client, at, hex(length)] for client, at, _ in self._invalidations]
        else:
            home.behind += 1
            told = line.res["inval"]
        return {"st": "ok", "gen": home.generation, "bitmap": bitmap.tobytes().hex(), "inval": told}

    def _op_hw_touch(self, line: Line) -> Result:
        """What the MMU does at one access: a vCPU of a client that is gone afterwards."""
        space, gpa = self._home_of(line).space, line.number("gpa")
        client = space.client()
        try:
            left = Vcpu(client).step(np.array([gpa], dtype=np.uint64), write=np.array([line.args["write"]]))
        finally:
            client.destroy()
        hit = left.reason is ExitReason.DONE
        self._expect("exit", (ExitReason.DONE, 1) if hit else (ExitReason.FAULT, 0), (left.reason, left.completed))
        return {"hit": hit, "pte": self._pte(space, gpa)}

    # -- objects ----------------------------------------------------------------------------------------------------

    def _op_obj_mem(self, line: Line) -> Result:
        made: list[RamObject] = []
        status = self._attempt(None, lambda: made.append(self.reservoir.allocate(line.number("size"))))
        if status != "ok":
            return {"st": status, "resv": self._resv}
        (obj,) = made
        self.objects[line.args["o"]] = obj
        self._frames.add(line.args["o"], obj, line.res["base_pfn"])
        return {"st": status, "base_pfn": None, "refs": obj.refs, "resv": self._resv}

    def _op_obj_ref(self, line: Line) -> Result:
        obj = self.objects[line.args["o"]]
        obj.reference()
        return {"refs": obj.refs}

    def _op_obj_release(self, line: Line) -> Result:
        obj = self.objects[line.args["o"]]
        obj.release()
        return {"refs": obj.refs, "resv": self._resv}

    def _op_obj_pfn(self, line: Line) -> Result:
        return {"pfn": self._frames.told(self.objects[line.args["o"]].pfn_at(line.number("off")))}

    def _op_resv(self, line: Line) -> Result:
        return {"used": self._resv}

    # -- clients ----------------------------------------------------------------------------------------------------

    def _add_client(self, number: int, space: int, client: VmClient) -> None:
        self.clients[number] = client
        self._home[number] = space
        self.spaces[space].clients.append(number)

    def _op_client(self, line: Line) -> Result:
        home = self._home_of(line)
        self._add_client(line.args["c"], line.args["s"], home.space.client())
        return {}

    def _op_clone(self, line: Line) -> Result:
        origin = line.args["from"]
        self._add_client(line.args["c"], self._home[origin], self.clients[origin].clone())
        return {}

    def _op_client_destroy(self, line: Line) -> Result:
        number = line.args["c"]
        self.clients.pop(number).destroy()
        home = self._living_home(number)
        if home is not None:
            home.clients.remove(number)
        return {}

    def _op_set_cb(self, line: Line) -> Result:
        number = line.args["c"]

        def invalidated(gpa: int, length: int) -> None:
            self._invalidations.append([number, hex(gpa), hex(length)])

        client, callback = self.clients[number], invalidated if line.args["on"] else None
        return {"st": self._attempt(self._living_home(number), lambda: client.on_invalidate(callback))}

    def _op_table_enter(self, line: Line) -> Result:
        generation = self.clients[line.args["c"]].table_enter()
        return {"gen": generation + self.spaces[self._home[line.args["c"]]].behind}

    def _op_table_exit(self, line: Line) -> Result:
        self.clients[line.args["c"]].table_exit()
        return {}

    def _op_fault(self, line: Line) -> Result:
        number, gpa, prot = line.args["c"], line.number("gpa"), Prot(line.args["prot"])
        client = self.clients[number]
        return {"st": self._attempt(self._living_home(number), lambda: client.fault(gpa, prot))}

    # -- pages ------------------------------------------------------------------------------------------------------

    def _op_hold(self, line: Line) -> Result:
        number, gpa, prot = line.args["c"], line.number("gpa"), Prot(line.args["prot"])
        client, defer = self.clients[number], bool(line.args["flags"])
        home = self._living_home(number)
        made: list[VmPage] = []
        status = self._attempt(
            home, lambda: made.append(client.hold(gpa, prot, defer_dirty=defer)), Fault="FAULT", Orphaned="ORPHANED"
        )
        if status != "ok":
            self._expect("why there is no page", "FAULT" if home else "ORPHANED", status)
            return {"st": "NULL"}
        self.pages[line.args["p"]] = made[0]
        self._expect("gpa of the page", gpa, made[0].gpa)
        return {"st": status, "pfn": self._frames.told(made[0].pfn)}

    def _op_write(self, line: Line) -> Result:
        new, offset = np.frombuffer(bytes.fromhex(line.args["data"]), dtype=np.uint8), line.args["off"]
        self.pages[line.args["p"]].writable()[offset : offset + new.size] = new
        return {}

    def _op_read(self, line: Line) -> Result:
        offset, length = line.args["off"], line.args["len"]
        return {"data": self.pages[line.args["p"]].readable()[offset : offset + length].tobytes().hex()}

    def _op_mark_dirty(self, line: Line) -> Result:
        self.pages[line.args["p"]].mark_dirty()
        return {}

    def _op_chain(self, line: Line) -> Result:
        self.pages[line.args["p"]].chain(self.pages[line.args["to"]])
        self._next[line.args["p"]] = line.args["to"]
        return {}

    def _op_next(self, line: Line) -> Result:
        following = self.pages[line.args["p"]].next
        return {"p": next((number for number, page in self.pages.items() if page is following), None)}

    def _op_release(self, line: Line) -> Result:
        self._next.pop(line.args["p"], None)
        return {"unmapped": self.pages.pop(line.args["p"]).release(), "resv": self._resv}

    def _op_release_chain(self, line: Line) -> Result:
        chain: list[int] = [line.args["p"]]
        while chain[-1] in self._next:
            following = self._next.pop(chain[-1])
            self._expect("next", True, self.pages[chain[-1]].next is self.pages[following])
            chain.append(following)
        unmapped = self.pages[chain[0]].release_chain()
        for number in chain:
            del self.pages[number]
        return {"unmapped": unmapped, "released": chain, "resv": self._resv}
