"""A recorded run of the reference, read from its file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npt import (
    PAGE_SIZE,
    AddressOverflow,
    BeyondSpace,
    Fault,
    InvalidArgument,
    NoSuchMapping,
    NptError,
    Orphaned,
    Overlap,
    ReservoirExhausted,
    TrackingDisabled,
)

__all__ = ["Line", "Result", "Trace", "status_of"]

Result = dict[str, Any]

_STATUS: dict[type[NptError], str] = {
    AddressOverflow: "EINVAL",
    BeyondSpace: "ENOMEM",
    InvalidArgument: "EINVAL",
    NoSuchMapping: "ENOENT",
    Orphaned: "ENXIO",
    Overlap: "ENOMEM",
    ReservoirExhausted: "NULL",
    TrackingDisabled: "EPERM",
}


@dataclass(frozen=True)
class Line:
    """One recorded operation."""

    i: int
    op: str
    args: dict[str, Any]
    res: Result
    tags: tuple[str, ...] = ()

    def number(self, name: str) -> int:
        """An argument that may be a hex string or an integer."""
        value = self.args[name]
        return int(value, 16) if isinstance(value, str) else int(value)

    @property
    def range(self) -> tuple[int, int]:
        return self.number("gpa"), self.number("len")


@dataclass(frozen=True)
class Trace:
    """One recorded run."""

    path: Path
    header: dict[str, Any]
    lines: tuple[Line, ...]

    @classmethod
    def read(cls, path: Path) -> "Trace":
        """Load a ``.jsonl`` file; ``i`` must count its lines."""
        header, *records = (json.loads(text) for text in path.read_text(encoding="utf-8").splitlines())
        lines = tuple(
            Line(record["i"], record["op"], record["args"], record["res"], tuple(record.get("tags", ()))) for record in records
        )
        for line in lines:
            line.res.get("orphaned", []).sort()  # the reference tells them in no special order
        assert [line.i for line in lines] == list(range(header["ops"])), f"{path.name} is incomplete"
        return cls(path, header, lines)

    def reservoir_pages(self) -> int:
        """Enough for every object the trace gets, too little for every one it is refused."""
        most = max((int(line.res["resv"]) for line in self.lines if "resv" in line.res), default=0)
        refused = [line.number("size") for line in self.lines if line.op == "obj_mem" and line.res["st"] != "ok"]
        return min([max(2 * most, 64), *(size // PAGE_SIZE - 1 for size in refused)])

    def size_of_space(self, space: int) -> int:
        """Bytes of one of the trace's spaces."""
        return next(n.number("size") for n in self.lines if n.op == "space_alloc" and n.args["s"] == space)


def status_of(error: NptError) -> str:
    """What the reference says where npt raises; the name of the class where it has no word for it."""
    if isinstance(error, Fault):
        return f"FC_{error.code.name}"
    return _STATUS.get(type(error), type(error).__name__)
