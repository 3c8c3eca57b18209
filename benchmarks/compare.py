"""``python -m benchmarks.compare A B``: what got faster or slower from one checkout to another, on this machine, now.

A and B are directories with ``npt`` in them, or git revisions. Options that it does not know are pytest's and the benchmarks'
(``-k harvest``, ``--size 1GiB``, ``--format ept``).

Theory of operation
-------------------
Both sides run this checkout's benchmarks, each time in a fresh process, in turn: A, B, B, A, A, B and so on, so that whatever
the machine does meanwhile meets both alike. A process has its own luck with memory, caches and neighbours for as long as it
lives; therefore the unit is the process and not the round: each gives one number a benchmark, the least time of its rounds. The
two handfuls of numbers are compared by rank (``ranks``), and the p values are corrected for the number of benchmarks.

A difference is told if it is unlikely to be chance (``--alpha``) *and* is worth telling (``--least``).

The exit status is 0 if nothing got slower, 1 if something did, 2 if there is nothing to tell, 130 after an interrupt.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import rows
from benchmarks.ranks import MOST, holm, least_p, p_value, ratio
from benchmarks.trees import HERE, Tree, tree_of
from npt.errors import InvalidArgument, NptError
from npt.studies.results import Results, provenance

__all__ = ["Difference", "compare", "main"]

_STORE = HERE / ".benchmarks" / "trees"
_RUNS, _ALPHA, _LEAST = 10, 0.01, 0.03
_SLOWER, _NOTHING, _INTERRUPTED = 1, 2, 130

Times = dict[str, list[float]]  # by name of the benchmark: a number of each process


@dataclass(frozen=True)
class Difference:
    """One benchmark on both sides.

    Attributes
    ----------
    name : str
        Of the benchmark.
    a, b : float
        Median of the processes' times, in ns a unit.
    ratio, low, high : float
        B over A, and its interval of 95 %.
    p : float
        That it is chance, corrected for the number of benchmarks.
    verdict : str
        ``slower``, ``faster`` or ``same``; B beside A.
    """

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    p: float
    verdict: str

    def __str__(self) -> str:
        percent = f"{abs(self.ratio - 1) * 100:.1f} % {'more' if self.ratio > 1 else 'less'} time"
        return f"{self.verdict:<7}{self.ratio:7.3f} [{self.low:.3f}, {self.high:.3f}]  p {self.p:.2g}  {self.name}  ({percent})"


def compare(a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]], alpha: float, least: float) -> list[Difference]:
    """Compare what both sides measured, by name.

    Parameters
    ----------
    a, b
        A number of each process, by benchmark; names that only one side has are left out.
    alpha
        How likely it may be that any difference is told where there is none.
    least
        Smallest difference that is told: 0.03 is 3 %.
    """
    names = [name for name in a if name in b]
    corrected = holm([p_value(a[name], b[name]) for name in names])
    return [_difference(name, a[name], b[name], p, alpha, least) for name, p in zip(names, corrected, strict=True)]


def _difference(name: str, a: Sequence[float], b: Sequence[float], p: float, alpha: float, least: float) -> Difference:
    times, low, high = ratio(a, b)
    verdict = "same"
    if p <= alpha and times >= 1 + least:
        verdict = "slower"
    elif p <= alpha and times <= 1 / (1 + least):
        verdict = "faster"
    return Difference(name, sorted(a)[len(a) // 2], sorted(b)[len(b) // 2], times, low, high, p, verdict)


def needed(n: int, alpha: float) -> int:
    """Runs a side without which no difference in ``n`` benchmarks could be told."""
    return next((runs for runs in range(2, MOST + 1) if n * least_p(runs) <= alpha), MOST + 1)


# -- running ------------------------------------------------------------------------------------------------------------


def _process(tree: Tree, arguments: Sequence[str]) -> Results:
    """The benchmarks once, on a copy, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        path, environment = Path(folder) / "rows.jsonl", os.environ | {"PYTHONPATH": str(tree.path), "PYTHONHASHSEED": "0"}
        options = ["-q", "-p", "no:cacheprovider", "--alone", f"--rootdir={tree.path}", f"--rows={path}", *arguments]
        command = [sys.executable, "-m", "pytest", "benchmarks", *options]
        done = subprocess.run(command, cwd=tree.path, env=environment, capture_output=True, text=True)
        if not path.exists():
            raise InvalidArgument(f"the benchmarks do not run on {tree.name}:\n{done.stdout}{done.stderr}")
        found = rows.read(path)
    if Path(found.meta["package"]).resolve() != (tree.path / "npt").resolve():
        raise InvalidArgument(f"{tree.name} would be measured with the npt in {found.meta['package']}")
    return found


def _times(found: Results) -> dict[str, float]:
    return {row["name"]: row["least"] for row in map(dict, found.rows) if rows.is_figure(row) and row["unit"].startswith("ns")}


def _rehearse(trees: Sequence[Tree], arguments: Sequence[str]) -> list[str]:
    """Run both sides once, so that kernels are compiled; names of the benchmarks that both can run."""
    found: list[dict[str, float]] = []
    for side, tree in zip("AB", trees, strict=True):
        _say(f"{side} is {tree.name}, {tree.what}; a run to warm up")
        results = _process(tree, arguments)
        found.append(_times(results))
        for row in map(dict, results.rows):
            if "failed" in row:
                print(f"on {side}: {rows.line(row)}")
    names = [name for name in found[0] if name in found[1]]
    if not names:
        raise InvalidArgument("there is no benchmark that both sides can run")
    return names


def _in_turn(trees: Sequence[Tree], runs: int) -> Iterator[tuple[int, int]]:
    """Number of the run and of the side: A, B, B, A, A, B, ..."""
    for run in range(runs):
        for side in range(len(trees)) if run % 2 == 0 else reversed(range(len(trees))):
            yield run, side


def _measure(trees: Sequence[Tree], names: Sequence[str], runs: int, arguments: Sequence[str], times: Sequence[Times]) -> None:
    """Fill in what each process measures."""
    start = time.monotonic()
    for done, (run, side) in enumerate(_in_turn(trees, runs)):
        left = f", about {(time.monotonic() - start) / done * (2 * runs - done):.0f} s left" if done else ""
        _say(f"run {run + 1} of {runs}, {'AB'[side]}{left}")
        found = _times(_process(trees[side], arguments))
        for name in names:
            if name in found:
                times[side].setdefault(name, []).append(found[name])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- the command --------------------------------------------------------------------------------------------------------


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("a", metavar="A", help="directory or git revision")
    parser.add_argument("b", metavar="B", help="directory or git revision")
    parser.add_argument("--runs", type=int, default=_RUNS, help=f"processes a side  [{_RUNS}]")
    parser.add_argument("--alpha", type=float, default=_ALPHA, help=f"chance of telling a difference that is none  [{_ALPHA}]")
    parser.add_argument("--least", type=float, default=_LEAST, help=f"smallest difference that is told  [{_LEAST}]")
    parser.add_argument("--json", type=Path, help="file for the differences and the times of all processes")
    given, others = parser.parse_known_args(arguments)
    if not 2 <= given.runs <= MOST:
        parser.error(f"--runs {given.runs}: give 2 to {MOST}")
    if not 0 < given.alpha < 1 or not 0 <= given.least < 10:
        parser.error("--alpha must be between 0 and 1, and --least not negative")
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"--json: {given.json.parent} is not a directory")
    return given, others


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare, tell."""
    given, others = _parse(sys.argv[1:] if arguments is None else arguments)
    times: tuple[Times, Times] = {}, {}
    status = 0
    try:
        trees = [tree_of(name, _STORE) for name in (given.a, given.b)]
        names = _rehearse(trees, others)
        if given.runs < needed(len(names), given.alpha):
            raise InvalidArgument(
                f"{given.runs} runs can show nothing in {len(names)} benchmarks at alpha {given.alpha:g}: give at least "
                f"--runs {needed(len(names), given.alpha)}, or select fewer with -k"
            )
        try:
            _measure(trees, names, given.runs, others, times)
        except KeyboardInterrupt:
            _say("interrupted; this is what there is")
            status = _INTERRUPTED
        return status or _tell(given, trees, times)
    except (NptError, OSError) as error:
        _say(f"error: {error.strerror or error}")
        return _NOTHING


def _tell(given: argparse.Namespace, trees: Sequence[Tree], times: tuple[Times, Times]) -> int:
    differences = compare(*times, given.alpha, given.least)
    for difference in sorted(differences, key=lambda one: -one.ratio):
        print(difference)
    count = {verdict: sum(one.verdict == verdict for one in differences) for verdict in ("slower", "faster", "same")}
    print(", ".join(f"{n} {verdict}" for verdict, n in count.items()))
    if given.json is not None:
        meta = provenance(runs=given.runs, alpha=given.alpha, least=given.least, a=trees[0].what, b=trees[1].what)
        kept = [{**asdict(one), "times_a": times[0][one.name], "times_b": times[1][one.name]} for one in differences]
        Results(kept, meta).save_json(given.json)
    return _SLOWER if count["slower"] else 0


if __name__ == "__main__":
    sys.exit(main())
