"""What the benchmarks have in common: options, and result files that say how they were made."""

import argparse
import json
from pathlib import Path
from typing import Any

from npt import EPT, NPT, parse_size
from npt.studies.results import provenance

__all__ = ["FORMATS", "parser", "save"]

FORMATS = {"ept": EPT, "npt": NPT}


def parser(description: str | None, *, repeat: int, sizes: str = "") -> argparse.ArgumentParser:
    """Options that every benchmark has; ``sizes``: the default sizes, in words, where it has any."""
    made = argparse.ArgumentParser(description=description)
    if sizes:
        made.add_argument("--size", action="append", type=parse_size, help=f"of the guest; repeatable  [{sizes}]")
    made.add_argument("--repeat", type=int, default=repeat, help=f"after one untimed round  [{repeat}]")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--json", type=Path, help="file for the results")
    return made


def save(options: argparse.Namespace, rows: list[dict[str, Any]], **meta: Any) -> None:
    """Write the rows, if a file was asked for."""
    if options.json:
        document = {"meta": provenance(seed=options.seed, repeat=options.repeat, **meta), "rows": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
