"""``python -m npt.testing fuzz`` and ``conform``: random calls of the engine and the oracle, and traces of calls."""

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import npt
from npt.errors import NptError
from npt.testing.calls.duel import Differ
from npt.testing.calls.player import Implementation
from npt.testing.calls.trace import Mismatch, Trace, conform
from npt.testing.fuzzing import FORMATS, ORACLE, ROUND, fuzz, fuzz_bytes, keep

_OTHERS: dict[str, Implementation] = {"npt": npt, "oracle": ORACLE}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit code: 1 for a difference, 2 for what cannot be done, 130 for an interrupt."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("\ninterrupted; no difference so far", file=sys.stderr)
        return 130
    except (OSError, NptError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m npt.testing", description="test an implementation of the contract")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one: Any = commands.add_parser("fuzz", help="random calls of the engine and the oracle")
    one.add_argument("--operations", type=_count, default=20_000, metavar="N", help="calls for each format (20000)")
    one.add_argument("--seed", type=int, default=0, metavar="N", help="the same calls for the same seed (0)")
    one.add_argument("--format", choices=FORMATS, action="append", help="one format only")
    one.add_argument("--keep", type=Path, default=Path("found"), metavar="DIR", help="where a difference is written (found)")
    one.add_argument("--atheris", nargs=argparse.REMAINDER, metavar="...", help="let atheris choose; what follows is for it")
    one.set_defaults(run=_fuzz)
    one = commands.add_parser("conform", help="make the calls of traces and compare")
    one.add_argument("traces", type=Path, nargs="+", metavar="FILE", help="traces of calls")
    one.add_argument("--on", choices=_OTHERS, default="npt", help="whose calls (npt)")
    one.set_defaults(run=_conform)
    return parser


def _count(text: str) -> int:
    n = int(text)
    if n < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return n


def _fuzz(options: argparse.Namespace) -> int:
    if options.atheris is not None:
        return _with_atheris(options.atheris)
    for format in options.format or FORMATS:
        try:
            done = fuzz(format, operations=options.operations, seed=options.seed, progress=_show)
        except Differ as found:
            path = keep(found, options.keep, f"{format.lower()}-{options.seed}")
            print(f"{format}, seed {options.seed}: {found}\nkept in {path}")
            return 1
        print(f"{format}, seed {options.seed}: {done.calls} calls, {done.errors} refused, {done.facts} facts, no difference")
    return 0


def _show(n: int, wanted: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{n} of {wanted}", end="\n" if n == wanted else "", file=sys.stderr, flush=True)
    elif n % (50 * ROUND) == 0:
        print(f"{n} of {wanted}", file=sys.stderr, flush=True)


def _conform(options: argparse.Namespace) -> int:
    failed = 0
    for path in options.traces:
        trace = Trace.read(path)
        try:
            conform(trace, _OTHERS[options.on])
            print(f"{path}: {len(trace.lines)} calls, as it says")
        except Mismatch as found:
            print(f"{path}: {found}")
            failed = 1
    return failed


def _with_atheris(arguments: list[str]) -> int:
    try:
        import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        print("Error: atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    _run_atheris(atheris, arguments)
    return 0


def _run_atheris(atheris: ModuleType, arguments: list[str]) -> None:
    atheris.Setup([sys.argv[0], *arguments], lambda text: [fuzz_bytes(text, format) for format in FORMATS])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
