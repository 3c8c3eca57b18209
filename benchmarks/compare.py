"""``python -m benchmarks.compare A B``: what got faster or slower from one checkout to another, on this machine, now.

A and B are directories with ``npt`` in them, or git revisions. Options that it does not know are pytest's and the benchmarks'
(``-k harvest``, ``--size 1GiB``, ``--format ept``).

Theory of operation
-------------------
Both sides run this checkout's benchmarks, each time in a fresh process, in turn: A, B, B, A, A, B and so on, so that whatever
the machine does meanwhile meets both alike. A process has its own luck with memory, caches and neighbours for as long as it
lives; therefore the unit is the process and not the round: each gives one number a benchmark, the least time of its rounds. The
two handfuls of numbers are compared by rank (``ranks``), and the p values are corrected for the number of benchmarks.

On a shared machine a neighbour may slow everything down for seconds. Right before and behind each round a yardstick is timed,
the same little work on both sides, and a round does not count if it took more than a tenth longer than the best there was; or,
where the machine was seldom that fast, longer than half of the processes can keep to, of both sides together. A process with
too few rounds that count gives no number; others are run instead, up to three times as many as were asked for.

A difference is told if it is unlikely to be chance (``--alpha``) *and* is worth telling (``--least``). Where none is told,
but the interval has room for a tenth, that is said: *unsure*.

The exit status is 0 if nothing got slower, 1 if something did, 2 if there is nothing to tell, 130 after an interrupt.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import rows
from benchmarks.figures import YARDSTICK
from benchmarks.ranks import MOST, holm, least_p, p_value, ratio
from benchmarks.trees import HERE, Tree, tree_of
from npt.errors import InvalidArgument, NptError
from npt.studies.results import Results, provenance

__all__ = ["Difference", "compare", "main"]

_STORE = HERE / ".benchmarks" / "trees"
_RUNS, _ALPHA, _LEAST = 12, 0.01, 0.03
_MUCH = 1.1
_SLOWER, _NOTHING, _INTERRUPTED = 1, 2, 130

_MOST_TIMES = 3  # as many processes as asked for, where some were disturbed
_DISTURBED = 1.1  # times the best yardstick
_ENOUGH = 3  # rounds that count, for the least of them to mean something

Times = dict[str, list[float]]  # by name of the benchmark: a number of each process that was not disturbed
Process = dict[str, NDArray[np.float64]]  # by name of the benchmark: times of its rounds in ns a unit; yardsticks


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
    n_a, n_b : int
        Processes that gave a number.
    verdict : str
        ``slower``, ``faster``, ``same`` or ``unsure``; B beside A.
    """

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    p: float
    n_a: int
    n_b: int
    verdict: str

    def __str__(self) -> str:
        percent = f"{abs(self.ratio - 1) * 100:.1f} % {'more' if self.ratio > 1 else 'less'} time"
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        return f"{self.verdict:<7}{self.ratio:6.3f} {interval}  p {self.p:.2g}, n {self.n_a} {self.n_b}  {self.name}: {percent}"


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
    verdict = "same" if low > 1 / _MUCH and high < _MUCH else "unsure"
    if p <= alpha and times >= 1 + least:
        verdict = "slower"
    elif p <= alpha and times <= 1 / (1 + least):
        verdict = "faster"
    return Difference(name, sorted(a)[len(a) // 2], sorted(b)[len(b) // 2], times, low, high, p, len(a), len(b), verdict)


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
        try:
            found = rows.read(path)
        except (NptError, FileNotFoundError):
            raise InvalidArgument(f"the benchmarks do not run on {tree.name}:\n{done.stdout}{done.stderr}") from None
    if Path(found.meta["package"]).resolve() != (tree.path / "npt").resolve():
        raise InvalidArgument(f"{tree.name} would be measured with the npt in {found.meta['package']}")
    return found


def _rounds(found: Results) -> Process:
    """Rounds by benchmark, two rows each: times and yardsticks. Only of what was timed."""
    kept = [row for row in map(dict, found.rows) if rows.is_figure(row) and YARDSTICK in row["seconds"]]
    return {row["name"]: np.array([row["seconds"]["npt"], row["seconds"][YARDSTICK]]) * 1e9 / [[row["n"]], [1]] for row in kept}


def undisturbed(sides: Sequence[Sequence[Process]], name: str) -> list[list[float]]:
    """A number for each process of each side, without those that were disturbed in nearly all rounds of a benchmark."""
    there = [[process[name] for process in side if name in process] for side in sides]
    most = _most([rounds[1] for side in there for rounds in side])
    return [[least for rounds in side if (least := _least(rounds, most)) is not None] for side in there]


def _most(yardsticks: Sequence[NDArray[np.float64]]) -> float:
    """Longest yardstick of a round that counts: a tenth more than the best, or what half of the processes can keep to."""
    if not yardsticks:
        return 0.0
    kept_to = sorted(float(np.sort(sticks)[min(_ENOUGH, sticks.size) - 1]) for sticks in yardsticks)
    return max(_DISTURBED * min(float(sticks.min()) for sticks in yardsticks), kept_to[(len(kept_to) - 1) // 2])


def _least(rounds: NDArray[np.float64], most: float) -> float | None:
    """Least time of the rounds whose yardstick is no longer than that, if they are enough."""
    counting = rounds[0][rounds[1] <= most]
    return float(counting.min()) if counting.size >= min(_ENOUGH, rounds.shape[1]) else None


def _all(sides: Sequence[Sequence[Process]], names: Sequence[str]) -> tuple[Times, Times]:
    """The numbers of all benchmarks that have any on both sides."""
    found = {name: undisturbed(sides, name) for name in names}
    there = {name: values for name, values in found.items() if all(values)}
    return {name: a[:MOST] for name, (a, _) in there.items()}, {name: b[:MOST] for name, (_, b) in there.items()}


def _rehearse(trees: Sequence[Tree], arguments: Sequence[str]) -> list[str]:
    """Run both sides once, so that kernels are compiled; names of the benchmarks that both can run."""
    found: list[Process] = []
    for side, tree in zip("AB", trees, strict=True):
        _say(f"{side} is {tree.name}, {tree.what}; a run to warm up")
        results = _process(tree, arguments)
        found.append(_rounds(results))
        for row in map(dict, results.rows):
            if "failed" in row:
                print(f"on {side}: {rows.line(row)}")
    names = [name for name in found[0] if name in found[1]]
    if not names:
        raise InvalidArgument("there is no benchmark that both sides can run")
    return names


def _measure(
    trees: Sequence[Tree], names: Sequence[str], runs: int, arguments: Sequence[str], sides: tuple[list[Process], list[Process]]
) -> None:
    """Fill in what processes measure, A, B, B, A, A, B ..., until each benchmark has as many numbers as asked for."""
    start = time.monotonic()
    for run in range(_MOST_TIMES * runs):
        if run >= runs and all(len(values) >= runs for name in names for values in undisturbed(sides, name)):
            break
        for side in (0, 1) if run % 2 == 0 else (1, 0):
            done = len(sides[0]) + len(sides[1])
            left = f", about {(time.monotonic() - start) / done * (2 * runs - done):.0f} s left" if 0 < done < 2 * runs else ""
            why = "" if run < runs else ", since others were disturbed"
            _say(f"run {run + 1} of {runs}, {'AB'[side]}{left}{why}")
            sides[side].append(_rounds(_process(trees[side], arguments)))


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
    sides: tuple[list[Process], list[Process]] = [], []
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
            _measure(trees, names, given.runs, others, sides)
        except KeyboardInterrupt:
            _say("interrupted; this is what there is")
            status = _INTERRUPTED
        told = _tell(given, others, trees, _all(sides, names))
        return status or told
    except (NptError, OSError) as error:
        _say(f"error: {error.strerror or error}")
        return _NOTHING


def _tell(given: argparse.Namespace, others: Sequence[str], trees: Sequence[Tree], times: tuple[Times, Times]) -> int:
    differences = compare(*times, given.alpha, given.least)
    for difference in sorted(differences, key=lambda one: -one.ratio):
        print(difference)
    count = {verdict: sum(one.verdict == verdict for one in differences) for verdict in ("slower", "faster", "same", "unsure")}
    print(", ".join(f"{n} {verdict}" for verdict, n in count.items()))
    if given.json is not None:
        meta = provenance(
            arguments=others, runs=given.runs, alpha=given.alpha, least=given.least, a=trees[0].what, b=trees[1].what
        )
        kept = [{**asdict(one), "times_a": times[0][one.name], "times_b": times[1][one.name]} for one in differences]
        Results(kept, meta).to_json(given.json)
    return _SLOWER if count["slower"] else 0


if __name__ == "__main__":
    sys.exit(main())
