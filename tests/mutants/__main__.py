"""Plant every mutant, and say which of them the tests notice: ``python -m tests.mutants``.

First each selection of tests must pass without a mutant. Then the mutants follow, each in a copy of the checkout, as many at a
time as there are processors, or ``--jobs``. With names only those are planted (``*`` stands for anything); ``--list`` is all.
``--keep FILE`` writes down what became of each mutant, and does not do again what stands there already, unless the mutant, what
it changes or its tests have changed since. An interrupt ends with the table of what was done. When all were planted,
``TABLE.md`` is written anew. The exit code is 0 if all died.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tests.mutants.campaign import Kept, all_of, pass_without
from tests.mutants.everything import MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.running import BROKEN, KILLED, Verdict
from tests.mutants.table import TABLE, as_text

__all__ = ["main"]


def _progress(total: int) -> Callable[[Verdict], None]:
    """Says each verdict in a line, and of a broken one why it is."""
    n_done = 0

    def say(verdict: Verdict) -> None:
        nonlocal n_done
        n_done += 1
        print(f"{n_done:4}/{total} {verdict.verdict:8} {verdict.mutant}  {verdict.test}".rstrip(), flush=True)
        if verdict.verdict == BROKEN:
            print(verdict.said, flush=True)

    return say


def _chosen(names: Sequence[str], mutants: Sequence[Mutant]) -> list[Mutant]:
    """Mutants by name, in their order; all if none is named."""
    unknown = [name for name in names if not any(fnmatchcase(mutant.name, name) for mutant in mutants)]
    if unknown:
        raise SystemExit(f"there is no mutant {', '.join(unknown)}; --list tells which there are")
    return [mutant for mutant in mutants if not names or any(fnmatchcase(mutant.name, name) for name in names)]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Plant mutants; see which the tests notice.")
    parser.add_argument("names", nargs="*", help="mutants to plant; all if none is named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="say which there are, and end")
    parser.add_argument("--keep", type=Path, help="file of verdicts, to go on from")
    return parser.parse_args(arguments)


def main(
    arguments: Sequence[str] | None = None, known: Sequence[Mutant] = MUTANTS, root: Path = ROOT, table: Path = TABLE
) -> int:  # fmt: skip
    """The command; its exit code."""
    options = _options(arguments)
    mutants, kept = _chosen(options.names, known), Kept(options.keep, root)
    if options.list:
        print(*(f"{mutant.name}: {mutant.sentence}" for mutant in mutants), sep="\n")
        return 0
    if not pass_without(mutants, options.jobs, kept, root):
        return 1
    verdicts = all_of(mutants, options.jobs, kept, _progress(len(mutants)), root)
    text = as_text({mutant.name: mutant.sentence for mutant in mutants}, verdicts)
    print(text)
    if len(verdicts) == len(known):
        table.write_text(text)
    return 0 if len(verdicts) == len(mutants) and all(one.verdict == KILLED for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
