"""The throughput study: what it is asked for is checked, and what it says can be saved."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt import EPT, NPT, InvalidArgument, ReservoirExhausted
from npt.studies import Results, compare, throughput

SMALL: dict[str, Any] = {"sizes": [1 << 20], "repeat": 1}


def test_rows__of_numpy_numbers_and_generators(tmp_path: Path) -> None:
    """An operation and a share a row, for each format; all of it loads again."""
    made = throughput(
        (one for one in (EPT, NPT)), sizes=np.array([1 << 20]), shares=np.array([0, 0.5]), repeat=np.int64(1), seed=np.int32(3),
        threads=np.int64(1),  # type: ignore[arg-type]
    )  # fmt: skip
    rows = [(row["format"], row["operation"], row["share"]) for row in made.rows]
    once = [("map", None), ("populate", None), ("harvest", 0.0), ("harvest", 0.5), ("unmap", None)]
    assert rows == [(form, *one) for form in ("ept", "npt") for one in once]
    made.to_json(tmp_path / "a")
    assert Results.load(tmp_path / "a") == made
    assert compare(made, made).meta["matched"] == len(rows)
    assert {"size", "ns_per_page"} <= set(made.units)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"formats": []}, InvalidArgument),
        ({"formats": ["ept"]}, TypeError),
        ({"sizes": []}, InvalidArgument),
        ({"sizes": [4097]}, InvalidArgument),
        ({"sizes": [4096.0]}, TypeError),
        ({"sizes": [1 << 60]}, ReservoirExhausted),
        ({"shares": []}, InvalidArgument),
        ({"shares": [1.5]}, InvalidArgument),
        ({"shares": [float("nan")]}, InvalidArgument),
        ({"shares": ["1"]}, TypeError),
        ({"repeat": 0}, InvalidArgument),
        ({"repeat": True}, TypeError),
        ({"seed": -1}, InvalidArgument),
    ],
)
def test_arguments__are_refused(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], error: type[Exception]) -> None:
    """Before memory is taken."""
    monkeypatch.setattr(import_module("npt.studies.throughput"), "Reservoir", None)
    arguments = {**SMALL, "formats": [EPT], **more}
    with pytest.raises(error) as raised:
        throughput(arguments.pop("formats"), **arguments)
    assert "NoneType" not in str(raised.value)
