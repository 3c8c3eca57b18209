"""Plant every mutant, and say which of them the tests notice: ``python -m tests.mutants [name ...] [--jobs 2] [--list] [--keep FILE]``.

First each selection of tests must pass without a mutant: else that one is killed proves nothing. Then the mutants follow, each
in a copy of the checkout. With names only those are planted (a name may end in ``*``). ``--keep`` writes down what became of each
mutant, and does not do again what stands there already, unless the mutant, what it changes or its tests have changed since;
without it, too, an interrupt ends with the table of what was done. When all were planted, ``TABLE.md`` is written anew. The exit
code is 0 if all died.

It takes a quarter of an hour on two processors.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from tests.mutants.everything import MUTANTS
from tests.mutants.mutant import ROOT, Mutant, Stale
from tests.mutants.running import BROKEN, KILLED, SURVIVED, Verdict, run
from tests.mutants.table import TABLE, as_text

__all__ = ["main"]


class Kept:
    """Verdicts in a file, by what they depend on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = {key: Verdict(*verdict) for key, verdict in map(json.loads, lines)}

    def get(self, mutant: Mutant) -> Verdict | None:
        """What is known of a mutant as it is now."""
        return self._known.get(_key(mutant)) if self._path is not None else None

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Write a verdict down."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([_key(mutant), verdict]) + "\n")


def _key(mutant: Mutant) -> str:
    """Hash of a mutant, the files that it changes and its tests."""
    files = {file for file, _, _ in mutant.edits} | {test.partition("::")[0] for test in mutant.tests}
    digest = hashlib.sha256(repr(mutant).encode())
    for file in sorted(files):
        digest.update((ROOT / file).read_bytes())
    return digest.hexdigest()


def _all(mutants: Sequence[Mutant], jobs: int, kept: Kept, say: Callable[[Verdict], None]) -> dict[Mutant, Verdict]:
    """What becomes of each; what is done when an interrupt comes is what there is."""
    verdicts = {mutant: known for mutant in mutants if (known := kept.get(mutant)) is not None}
    for known in verdicts.values():
        say(known)
    left = [mutant for mutant in mutants if mutant not in verdicts]
    with ThreadPoolExecutor(jobs, "mutants") as pool:
        futures = {pool.submit(run, mutant): mutant for mutant in left}
        try:
            for mutant, verdict in _done(futures):
                verdicts[mutant] = verdict
                kept.add(mutant, verdict)
                say(verdict)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("interrupted: this is what was done", flush=True)
    return {mutant: verdicts[mutant] for mutant in mutants if mutant in verdicts}


def _done(futures: "dict[Future[Verdict], Mutant]") -> Iterator[tuple[Mutant, Verdict]]:
    for future in as_completed(futures):
        mutant = futures[future]
        try:
            yield mutant, future.result()
        except Stale as stale:
            yield mutant, Verdict(mutant.name, BROKEN, "", str(stale))


def _progress(total: int) -> Callable[[Verdict], None]:
    """Says each verdict in a line, and why a broken one is."""
    n_done = 0

    def say(verdict: Verdict) -> None:
        nonlocal n_done
        n_done += 1
        print(f"{n_done:4}/{total} {verdict.verdict:8} {verdict.mutant}  {verdict.test}".rstrip(), flush=True)
        if verdict.verdict == BROKEN:
            print(verdict.said, flush=True)

    return say


def controls(mutants: Sequence[Mutant], jobs: int, kept: Kept, runner: Callable[..., dict[Mutant, Verdict]] = _all) -> bool:
    """Whether all tests meant for these mutants pass without one."""
    unharmed = list(dict.fromkeys(mutant.unharmed for mutant in mutants))
    print(f"without a mutant: {len(unharmed)} selections of tests", flush=True)
    verdicts = runner(unharmed, jobs, kept, lambda verdict: None)
    failed = [one for one in verdicts.values() if one.verdict != SURVIVED]
    for one in failed:
        print(f"control failure: {one.mutant}\n{one.said}", flush=True)
    return not failed and len(verdicts) == len(unharmed)


def chosen(names: Sequence[str]) -> list[Mutant]:
    """Mutants by name, in their order; all if none is named."""
    unknown = [name for name in names if not any(fnmatchcase(mutant.name, name) for mutant in MUTANTS)]
    if unknown:
        raise SystemExit(f"there is no mutant {', '.join(unknown)}; --list tells which there are")
    return [mutant for mutant in MUTANTS if not names or any(fnmatchcase(mutant.name, name) for name in names)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("names", nargs="*", help="mutants to plant; all if none is named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="say which there are, and end")
    parser.add_argument("--keep", type=Path, help="file of verdicts, to go on from")
    options = parser.parse_args(arguments)
    mutants, kept = chosen(options.names), Kept(options.keep)
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.sentence}")
        return 0
    if not controls(mutants, options.jobs, kept):
        return 1
    verdicts = list(_all(mutants, options.jobs, kept, _progress(len(mutants))).values())
    text = as_text({mutant.name: mutant.sentence for mutant in mutants}, verdicts)
    print(text)
    if len(verdicts) == len(MUTANTS):
        TABLE.write_text(text)
    return 0 if len(verdicts) == len(mutants) and all(one.verdict == KILLED for one in verdicts) else 1


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
