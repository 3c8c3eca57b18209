"""Writers from words, as on the command line."""

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from npt import InvalidArgument
from npt.studies.history import HISTORIES, History
from npt.studies.writers import WRITERS, HotCold, Sequential, Strided, Synthetic, Uniform, Zipf, writer
from tests.studies.test_writers import SMALL


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("uniform", Uniform(65536, 100, 10_000)),
        ("sequential:windows=3", Sequential(65536, 3, 10_000)),
        ("zipf:exponent=1.2,pages=4096,windows=7,accesses=99,seed=3", Zipf(4096, 7, 99, exponent=1.2, seed=3)),
        *((f"zipf:spread={word}", Zipf(65536, 100, 10_000, spread=False)) for word in ("no", "false", "0")),
        *((f"zipf:spread={word}", Zipf(65536, 100, 10_000, spread=True)) for word in ("yes", "TRUE", "1")),
        ("strided:size=256MiB,stride=0x10", Strided(65536, 100, 10_000, stride=16)),
        ("uniform: size = 1.5 GiB , seed = 1_000 ", Uniform(393216, 100, 10_000, seed=1000)),
        (
            "hotcold:write_share=0.5,hot_share=.25,hot_accesses=1,move_every=2,step=3",
            HotCold(65536, 100, 10_000, write_share=0.5, hot_share=0.25, hot_accesses=1.0, move_every=2, step=3),
        ),
    ],
)
def test_writer__from_words(text: str, made: Synthetic) -> None:
    """Every parameter can be said, by its key; what is not said is as documented."""
    assert writer(text) == made


@pytest.mark.parametrize("made", SMALL, ids=str)
def test_writer__reads_what_str_wrote(made: Synthetic) -> None:
    """Words and back."""
    assert writer(str(made)) == made


def test_writers__are_named() -> None:
    """Each name stands for its class, and is the class's own."""
    assert list(WRITERS) == ["uniform", "sequential", "strided", "zipf", "hotcold"]
    assert all(kind.name == name for name, kind in WRITERS.items())
    assert not set(WRITERS) & set(HISTORIES)


@pytest.mark.parametrize("name", HISTORIES)
def test_writer__is_a_history(name: str) -> None:
    """By its name."""
    assert writer(name) == History.load(name)


def test_writer__is_a_history_file(tmp_path: Path) -> None:
    """By its path, whatever characters that has, as a str or a path; a path is never a writer's name."""
    for file in (tmp_path / "zipf:seed=3,x.npz", tmp_path / "uniform"):
        with as_file(files("npt") / "data" / "sort.npz") as kept:
            shutil.copy(kept, file)
        assert writer(file) == writer(os.fspath(file)) == History.load(file)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert isinstance(writer(Path("uniform")), History)
        assert isinstance(writer("uniform"), Uniform)
        assert isinstance(writer("./uniform"), History)
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'' is neither a writer \(uniform, .*hotcold\) nor a history \(sort, sqlite, xz\) nor a file"),
        ("zip", "'zip' is neither"),
        ("Zipf", "'Zipf' is neither"),
        ("zip:seed=3", "'zip:seed=3' is neither"),
        ("sqlite:seed=3", "'sqlite:seed=3' is neither"),
        ("no/such.npz", "neither"),
        (".", "neither"),
        ("zipf:", "zipf:: '' is not of the form name=value"),
        ("zipf:seed=3,", "'' is not of the form name=value"),
        ("zipf:seed", "'seed' is not of the form name=value"),
        ("zipf:seed=", "'seed=' is not of the form name=value"),
        ("zipf:=3", "'=3' is not of the form name=value"),
        (
            "zipf:stride=3",
            "'stride' is no parameter of it; these are: size, pages, windows, accesses, write_share, seed, exponent",
        ),
        ("zipf:n_pages=3", "'n_pages' is no parameter of it"),
        ("zipf:seed=3,seed=3", "seed is said twice"),
        ("zipf:pages=3,size=1MiB", "pages or size are said twice"),
        ("zipf:size=1MiB,pages=3", "pages or size are said twice"),
        ("zipf:size=1MiB,size=1MiB", "pages or size are said twice"),
        ("zipf:seed=1.5", "zipf:seed=1.5: seed must be an integer, not '1.5'"),
        ("zipf:seed=many", "seed must be an integer, not 'many'"),
        ("zipf:seed=010", "seed must be an integer"),
        ("zipf:exponent=1,2", "'2' is not of the form name=value"),
        ("zipf:exponent=1/2", "exponent must be a number, not '1/2'"),
        ("zipf:exponent=nan", "exponent must be from 0 to 8, not nan"),
        ("zipf:spread=maybe", "spread must be true or false, not 'maybe'"),
        ("zipf:size=many", "'many' is not a size"),
        ("zipf:size=5000", "size '5000' is not a number of whole pages of 4096 bytes"),
        ("zipf:size=0", "n_pages must be from 1 to"),
        ("zipf:size=1TiB", "it must be at most 67108864"),
        ("uniform:size=32TiB", "n_pages must be from 1 to 4294967296, not 8589934592"),
        ("strided:pages=4", "stride 8 is more than the 4 pages"),
        ("hotcold:pages=1", "leaves no hot page"),
    ],
)
def test_writer__bad_words(text: str, message: str) -> None:
    """InvalidArgument that says what is wrong and what there is."""
    with pytest.raises(InvalidArgument, match=message):
        writer(text)


@pytest.mark.parametrize("wrong", [None, 3, b"zipf", ["zipf"], Uniform(1, 1, 1)])
def test_writer__bad_types(wrong: object) -> None:
    """Only words and paths."""
    with pytest.raises(TypeError, match="from a str or a path"):
        writer(wrong)  # type: ignore[arg-type]
