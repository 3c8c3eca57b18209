"""A campaign: the tests without a mutant, then every mutant, several at a time; what is done is kept."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant, Stale
from tests.mutants.running import BROKEN, SURVIVED, Running, Verdict

__all__ = ["Kept", "all_of", "pass_without"]

Say = Callable[[Verdict], object]


class Kept:
    """Verdicts in a file, by what they depend on; in none, nothing is known."""

    def __init__(self, path: Path | None, root: Path = ROOT) -> None:
        self._path, self._root = path, root
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = {key: Verdict(*verdict) for key, verdict in map(json.loads, lines)}

    def get(self, mutant: Mutant) -> Verdict | None:
        """What is known of a mutant as it is now."""
        return self._known.get(self._key(mutant)) if self._known else None

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """Write a verdict down."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([self._key(mutant), verdict]) + "\n")

    def _key(self, mutant: Mutant) -> str:
        """Hash of a mutant, the files that it changes and its tests."""
        files = {file for file, _, _ in mutant.edits} | {test.partition("::")[0] for test in mutant.tests}
        digest = hashlib.sha256(repr(mutant).encode())
        for file in sorted(files):
            digest.update((self._root / file).read_bytes())
        return digest.hexdigest()


def all_of(mutants: Sequence[Mutant], jobs: int, kept: Kept, say: Say, root: Path = ROOT) -> list[Verdict]:
    """What becomes of each, in their order; after an interrupt, of those that were done."""
    verdicts = {mutant: known for mutant in mutants if (known := kept.get(mutant)) is not None}
    for known in verdicts.values():
        say(known)
    running = Running(root)
    with ThreadPoolExecutor(jobs, "mutants") as pool:
        futures = {pool.submit(running.run, mutant): mutant for mutant in mutants if mutant not in verdicts}
        try:
            for mutant, verdict in _done(futures):
                verdicts[mutant] = verdict
                kept.add(mutant, verdict)
                say(verdict)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            running.stop()
            print("interrupted: this is what was done", flush=True)
    return [verdicts[mutant] for mutant in mutants if mutant in verdicts]


def _done(futures: "dict[Future[Verdict], Mutant]") -> Iterator[tuple[Mutant, Verdict]]:
    for future in as_completed(futures):
        mutant = futures[future]
        try:
            yield mutant, future.result()
        except Stale as stale:
            yield mutant, Verdict(mutant.name, BROKEN, "", str(stale))


def pass_without(mutants: Sequence[Mutant], jobs: int, kept: Kept, root: Path = ROOT) -> bool:
    """Whether all tests meant for mutants pass without one: else that one is killed proves nothing."""
    unharmed = list(dict.fromkeys(mutant.unharmed for mutant in mutants))
    print(f"without a mutant: {len(unharmed)} selections of tests", flush=True)
    verdicts = all_of(unharmed, jobs, kept, _tell_failure, root)
    return len(verdicts) == len(unharmed) and all(one.verdict == SURVIVED for one in verdicts)


def _tell_failure(verdict: Verdict) -> None:
    if verdict.verdict != SURVIVED:
        print(f"control failure: {verdict.mutant}\n{verdict.said}", flush=True)
