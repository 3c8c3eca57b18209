"""``python -m tests.soak --minutes 20``: see ``tests/soak/soak.py``."""

import argparse
import sys

from tests.soak.soak import Report, soak


def main(arguments: list[str] | None = None) -> int:
    """Soak, and tell after each shift; exit code 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="vCPUs, migrations, churn and fuzzing together")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (20)")
    parser.add_argument("--seed", type=int, default=0, help="of addresses and calls (0)")
    options = parser.parse_args(arguments)
    if not 0 < options.minutes < 1e6:
        parser.error("--minutes must be more than 0")
    try:
        report = soak(60 * options.minutes, seed=options.seed, progress=_tell)
    except KeyboardInterrupt:
        print("interrupted; nothing failed so far", file=sys.stderr)
        return 130
    except AssertionError as error:
        print(f"failed: {error}")
        return 1
    print(f"soaked: {report}")
    return 0


def _tell(report: Report) -> None:
    print(report, flush=True)


if __name__ == "__main__":
    sys.exit(main())
