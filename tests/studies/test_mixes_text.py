"""Phases and mixes from words."""

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from npt import InvalidArgument
from npt.studies.history import History
from npt.studies.writers import HotCold, Mix, Phases, Sequential, Synthetic, Uniform, Writer, Zipf, writer
from tests.studies.test_mixes import MADE


def usual(kind: type[Synthetic], seed: int = 0) -> Synthetic:
    """With what is not said."""
    return kind(65536, 100, 10_000, seed=seed)


XZ, SQLITE, SORT = (History.load(name) for name in ("xz", "sqlite", "sort"))


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("zipf|uniform", Phases([usual(Zipf), usual(Uniform, 1)])),
        ("zipf:pages=9,windows=3,accesses=2,seed=7 | xz | uniform", Phases([Zipf(9, 3, 2, seed=7), XZ, usual(Uniform, 1)])),
        ("zipf*0.7+uniform*.3", Mix([usual(Zipf), usual(Uniform, 1)], [0.7, 0.3], seed=2)),
        ("zipf * 7 & uniform * 3 & xz * 1e0", Mix([usual(Zipf), usual(Uniform, 1), XZ], [7, 3, 1], disjoint=True, seed=2)),
        (
            "(sqlite*0.5+xz*0.5):accesses=500,windows=0x10|sort",
            Phases([Mix([SQLITE, XZ], [0.5, 0.5], n_windows=16, accesses=500, seed=0), SORT]),
        ),
        ("(zipf|xz)*1+uniform*2", Mix([Phases([usual(Zipf), XZ]), usual(Uniform, 1)], [1, 2], seed=2)),
        (
            "(zipf*1+uniform*1)*1+(hotcold*2&sequential*3)*4",
            Mix(
                [
                    Mix([usual(Zipf), usual(Uniform, 1)], [1, 1], seed=2),
                    Mix([usual(HotCold, 3), usual(Sequential, 4)], [2, 3], disjoint=True, seed=5),
                ],
                [1, 4],
                seed=6,
            ),
        ),
        ("((zipf|xz)|sort)", Phases([Phases([usual(Zipf), XZ]), SORT])),
        ("(( zipf ))", usual(Zipf)),
        ("zipf:exponent=1e+0", Zipf(65536, 100, 10_000, exponent=1.0)),
        ("zipf:seed=0|(xz*1+uniform*1):seed=0", Phases([usual(Zipf), Mix([XZ, usual(Uniform, 1)], [1, 1])])),
    ],
)
def test_writer__from_words(text: str, made: Writer) -> None:
    """Phases, mixes, parts in parentheses; a seed that is not said is the number of those that ended before."""
    assert writer(text) == made


@pytest.mark.parametrize("made", [*MADE, Mix([XZ, SORT], [1e16, 1e-5], accesses=3)], ids=range(len(MADE) + 1))
def test_writer__reads_what_str_wrote(made: Writer) -> None:
    """Words and back, for histories that have a name."""
    assert writer(str(made)) == made


def test_writer__files_in_parts(tmp_path: Path) -> None:
    """A file may be a part; one whose name has marks in it is found where it stands alone."""
    marked, plain = tmp_path / "a|b*(2+3.npz", tmp_path / "mine+his&hers.npz"
    with as_file(files("npt") / "data" / "sort.npz") as kept:
        shutil.copy(kept, marked)
        shutil.copy(kept, plain)
    assert writer(os.fspath(marked)) == writer(marked) == History.load(marked)
    assert writer(f"{plain}*1+zipf*2") == Mix([History.load(plain), usual(Zipf)], [1, 2], seed=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zipf|", "'' is neither a writer"),
        ("no|zipf", "'no' is neither a writer"),
        ("zipf|zipf:seed=many", "zipf:seed=many: seed must be an integer"),
        ("zipf+uniform", "'zipf.uniform' is neither"),
        ("zipf*1", r"'zipf\*1' is a mix of one writer; it needs two or more"),
        ("zipf*1+uniform", r"'uniform' must have one share, like uniform\*0.3"),
        ("zipf*1*2+uniform*1", r"'zipf\*1\*2' must have one share"),
        ("*1+zipf*1", "'' is neither"),
        ("zipf*+xz*1", "a share must be a number, not ''"),
        ("zipf*a lot+xz*1", "a share must be a number, not 'a lot'"),
        ("zipf*0+xz*1", "each share must be a positive number, not 0"),
        ("zipf*nan+xz*1", "each share must be a positive number, not nan"),
        ("zipf*1+xz*1&sort*1", "has both . and &; put one of the mixes in parentheses"),
        ("sqlite*1+xz*1", "give accesses"),
        ("(", "the parentheses do not match"),
        ("xz(|zipf", "the parentheses do not match"),
        ("zipf)", "the parentheses do not match"),
        ("(zipf))*(xz", "the parentheses do not match"),
        ("()", "'' is neither"),
        ("(zipf)seed=2", "'seed=2' cannot stand behind parentheses"),
        ("(zipf):seed=2", "a single writer's parameters stand behind its name"),
        ("(zipf|xz):seed=2", "phases have no parameters of their own"),
        ("(zipf*1+xz*1):pages=2", "'pages' is no parameter of it; these are: windows, accesses, seed"),
        ("(zipf*1+xz*1):", "'' is not of the form name=value"),
        ("(zipf*1+xz*1):seed=1,seed=2", "seed is said twice"),
        ("(zipf*1+xz*1):accesses=0", "accesses must be from 1 to"),
        ("(" * 40 + "zipf" + ")" * 40, "more than 32 parentheses in each other"),
        ("(" * 5000, "more than 32 parentheses in each other"),
    ],
)
def test_writer__bad_words(text: str, message: str) -> None:
    """InvalidArgument that says what is wrong with which part."""
    with pytest.raises(InvalidArgument, match=message):
        writer(text)


def test_writer__a_path_is_never_taken_apart() -> None:
    """Only a str has parts."""
    with pytest.raises(InvalidArgument, match=r"'zipf\|uniform' is neither"):
        writer(Path("zipf|uniform"))
