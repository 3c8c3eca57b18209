"""``python -m benchmarks.compare``: told is what differs, and nothing else."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import compare as module
from benchmarks import trees
from benchmarks.compare import Process, compare, main, needed, undisturbed
from benchmarks.trees import Tree, tree_of
from npt.errors import InvalidArgument
from npt.studies.results import Results

RUNS = 12
Times = dict[str, list[float]]


def made_up(seed: int, *, n: int = 20, slower: dict[str, float] | None = None) -> Times:
    """Times of benchmarks on a shared machine: a few percent of noise, and now and then a process that is far off."""
    random = np.random.default_rng(seed)
    times = {}
    for k in range(n):
        name = f"bench_{k}"
        off = np.where(random.random(RUNS) < 0.03, 1.5, 1.0)
        times[name] = (10.0 * (1 + 0.02 * random.standard_exponential(RUNS)) * off * (slower or {}).get(name, 1.0)).tolist()
    return times


def verdicts(a: Times, b: Times) -> dict[str, str]:
    """Of those that differ."""
    return {one.name: one.verdict for one in compare(a, b, 0.01, 0.03) if one.verdict in ("slower", "faster")}


def test_compare__a_tenth_is_noticed() -> None:
    """Both ways, among others that did not change, and by how much."""
    a, b = made_up(1), made_up(2, slower={"bench_3": 1.1, "bench_7": 1 / 1.1})
    assert verdicts(a, b) == {"bench_3": "slower", "bench_7": "faster"}
    (found,) = [one for one in compare(a, b, 0.01, 0.03) if one.name == "bench_3"]
    assert found.low < 1.1 < found.high
    assert found.ratio == pytest.approx(1.1, abs=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_compare__the_same_is_quiet(seed: int) -> None:
    """Twenty benchmarks of one and the same."""
    assert verdicts(made_up(2 * seed), made_up(2 * seed + 1)) == {}


def test_compare__is_corrected_for_many() -> None:
    """What would be told of one benchmark alone is chance among a thousand."""
    one, other = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [1.45, 1.6, 1.7, 1.8, 1.9, 2.0]
    same: Times = {f"same_{k}": [1.0, 1.1] for k in range(1000)}
    assert verdicts({"it": one}, {"it": other}) == {"it": "slower"}
    assert verdicts({"it": one, **same}, {"it": other, **same}) == {}


def test_compare__small_differences_are_not_told() -> None:
    """However sure they are."""
    a = {"it": [1 + k / 1e6 for k in range(RUNS)]}
    b = {"it": [1.02 + k / 1e6 for k in range(RUNS)]}
    assert verdicts(a, b) == {}
    assert [one.verdict for one in compare(a, b, 0.01, 0.01)] == ["slower"]


def test_compare__ties_are_no_difference() -> None:
    """A clock that ticks coarsely gives equal times."""
    assert verdicts({"it": [1.0] * RUNS}, {"it": [1.0] * RUNS}) == {}


def test_needed__runs_grow_with_the_benchmarks() -> None:
    """So many that the least p value there is can be told: 2 of 252 deals, 2 of 12870."""
    assert needed(1, 0.01) == 5
    assert needed(64, 0.01) == 8


def test_compare__too_few_or_too_noisy_to_be_sure() -> None:
    """That nothing was found does not say that nothing is there."""
    quiet, few, noisy = [1.0, 1.01, 1.02] * 4, [1.0, 1.01], [1.0, 1.2, 1.5] * 4
    found = compare({"quiet": quiet, "few": few, "noisy": noisy}, {"quiet": quiet, "few": few, "noisy": noisy}, 0.01, 0.03)
    assert [one.verdict for one in found] == ["same", "unsure", "unsure"]
    halves = [1.0, 1.01, 1.02] * 2 + [1.0] + [1.5] * 5  # more may be there, or less, but not both
    assert [compare({"it": a}, {"it": b}, 0.01, 0.03)[0].verdict for a, b in ((quiet, halves), (halves, quiet))] == [
        "unsure"
    ] * 2


def test_undisturbed__by_the_yardstick() -> None:
    """Rounds with a slow yardstick do not count; a process with fewer than three others gives no number."""

    def process(times: list[float], sticks: list[float]) -> Process:
        return {"it": np.array([times, sticks])}

    a = [process([5, 6, 7, 1], [1, 1.05, 1.1, 1.11]), process([3, 7, 7, 7], [1.2, 1, 1, 1.2]), process([4, 9], [1, 1])]
    b = [process([8, 9, 7], [1.1, 1.0, 1.1]), {}]
    assert undisturbed((a, b), "it") == [[5.0, 4.0], [7.0]]


def test_undisturbed__by_what_half_can_keep_to() -> None:
    """One process was lucky: the others are not left out for that, but those that were slower than half of all are."""

    def process(time: float, stick: float) -> Process:
        return {"it": np.array([[time] * 3, [stick] * 3])}

    a, b = [process(5, 1.0), process(6, 2.0)], [process(7, 2.0), process(8, 2.1)]
    assert undisturbed((a, b), "it") == [[5.0, 6.0], [7.0]]


# -- the command --------------------------------------------------------------------------------------------------------

Run = Callable[[Tree, Sequence[str]], Results]


def row(name: str, least: float) -> dict[str, Any]:
    """What a benchmark leaves, as far as it is looked at."""
    return {"name": name, "least": least, "n": 1, "seconds": {"npt": [least, 3 * least], "yardstick": [1.0, 1.0]}}


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Copies are not made; what is run on which side is noted."""
    monkeypatch.setattr(module, "tree_of", lambda name, _: Tree(name, name, tmp_path / name))
    return []


def processes(sides: list[str], slower: float) -> Run:
    """Processes that take B longer."""
    random = np.random.default_rng(5)

    def process(tree: Tree, _: Sequence[str]) -> Results:
        sides.append(tree.name)
        times = {"A": 1.0, "B": slower}[tree.name]
        return Results([row("one", times + 0.01 * random.random()), row("two", 2 + 0.01 * random.random())], {})

    return process


def test_main__says_what_got_slower(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sides: list[str], tmp_path: Path
) -> None:
    """The status is 1; both sides warm up, and then take turns."""
    monkeypatch.setattr(module, "_process", processes(sides, 1.1))
    assert main(["A", "B", "--runs", "6", "--json", str(tmp_path / "it.json")]) == 1
    assert "".join(sides) == "AB" + "ABBA" * 3
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("slower")
    assert said[-1] == "1 slower, 0 faster, 1 same, 0 unsure"
    saved = json.loads((tmp_path / "it.json").read_text())
    assert [len(one["times_b"]) for one in saved["rows"]] == [6, 6]
    assert (saved["meta"]["a"], saved["meta"]["b"]) == ("A", "B")


def test_main__is_quiet_on_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sides: list[str]
) -> None:
    """The status is 0."""
    monkeypatch.setattr(module, "_process", processes(sides, 1.0))
    assert main(["A", "B", "--runs", "6"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 slower, 0 faster, 2 same, 0 unsure"


def test_main__too_few_runs_to_show_anything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sides: list[str]
) -> None:
    """Said before they are done, with what would do."""
    monkeypatch.setattr(module, "_process", processes(sides, 1.0))
    assert main(["A", "B", "--runs", "4"]) == 2
    assert len(sides) == 2
    assert "--runs 6" in capsys.readouterr().err


def test_main__interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sides: list[str]) -> None:
    """What was measured so far is told; the status is that of an interrupt."""
    usual = processes(sides, 1.5)

    def process(tree: Tree, arguments: Sequence[str]) -> Results:
        if len(sides) == 2 + 13:
            raise KeyboardInterrupt
        return usual(tree, arguments)

    monkeypatch.setattr(module, "_process", process)
    assert main(["A", "B"]) == 130
    assert "1 slower" in capsys.readouterr().out


def test_main__disturbed_processes_are_made_up_for(monkeypatch: pytest.MonkeyPatch, sides: list[str]) -> None:
    """Others are run, but not for ever."""

    def process(tree: Tree, _: Sequence[str]) -> Results:
        sides.append(tree.name)
        found = row("one", 1.0)
        if tree.name == "B" and sides.count("B") % 4 if always else 2 < len(sides) <= 2 + 4:
            found["seconds"]["yardstick"] = [9.0, 9.0]
        return Results([found], {})

    monkeypatch.setattr(module, "_process", process)
    always = False
    assert main(["A", "B", "--runs", "6"]) == 0
    assert len(sides) == 2 + 2 * 8
    always = True
    sides.clear()
    assert main(["A", "B", "--runs", "6"]) == 0
    assert len(sides) == 2 + 2 * 18


def test_main__a_machine_that_is_seldom_at_its_best(monkeypatch: pytest.MonkeyPatch, sides: list[str]) -> None:
    """What half of the processes can keep to is good enough."""

    def process(tree: Tree, _: Sequence[str]) -> Results:
        sides.append(tree.name)
        found = row("one", 1.0)
        found["seconds"]["yardstick"] = [1.0 if len(sides) == 3 else 2.0] * 2
        return Results([found], {})

    monkeypatch.setattr(module, "_process", process)
    assert main(["A", "B", "--runs", "6"]) == 0
    assert len(sides) == 2 + 2 * 6


def test_main__benchmarks_of_one_side_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sides: list[str]
) -> None:
    """And it is said which do not run; without any there is nothing to compare."""
    failed = {"name": "two", "failed": "TypeError: no such thing"}

    def process(tree: Tree, _: Sequence[str]) -> Results:
        sides.append(tree.name)
        return Results([row("one", 1.0), failed if tree.name == "B" else row("two", 1.0)], {})

    monkeypatch.setattr(module, "_process", process)
    assert main(["A", "B"]) == 0
    said = capsys.readouterr().out
    assert "on B: two: failed: TypeError: no such thing" in said
    assert "0 slower, 0 faster, 1 same" in said
    assert len(sides) == 2 + 2 * RUNS
    monkeypatch.setattr(module, "_process", lambda *_: Results([failed], {}))
    assert main(["A", "B"]) == 2
    assert "no benchmark that both sides can run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runs", "1"], "--runs 1: give 2 to 50"),
        (["--runs", "51"], "--runs 51: give 2 to 50"),
        (["--alpha", "0"], "--alpha must be between 0 and 1"),
        (["--least", "-1"], "--least not negative"),
        (["--json", "/nowhere/it.json"], "/nowhere is not a directory"),
    ],
)
def test_main__refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """Before anything is run."""
    with pytest.raises(SystemExit):
        main(["A", "B", *arguments])
    assert said in capsys.readouterr().err


def test_main__neither_directory_nor_revision(capsys: pytest.CaptureFixture[str]) -> None:
    """Told with what was given."""
    assert main(["no-such-thing", "."]) == 2
    assert "no-such-thing is neither a directory with npt in it nor a git revision" in capsys.readouterr().err


@pytest.mark.slow
def test_process__says_what_pytest_said(tmp_path: Path) -> None:
    """A selection that is none, say; not only that there are no rows."""
    tree = tree_of(str(trees.HERE), tmp_path)
    with pytest.raises(InvalidArgument, match=r"the benchmarks do not run on .*\n(.*\n)*.*Wrong expression"):
        module._process(tree, ["-k", "10%"])


@pytest.mark.slow
def test_process__measures_that_copy(tmp_path: Path) -> None:
    """Not the package that is installed."""
    tree = tree_of(str(trees.HERE), tmp_path)
    found = module._process(tree, ["--tiny", "--format", "ept", "-k", "bench_hold.py"])
    assert Path(found.meta["package"]) == tree.path / "npt"
    assert {name: rounds.shape for name, rounds in module._rounds(found).items()} == {
        f"bench_hold.py::bench_hold[ept-{which}]": (2, 1) for which in ("read", "read-write")
    }
    other = Tree("other", "other", tmp_path)
    (tmp_path / "benchmarks").symlink_to(tree.path / "benchmarks")
    (tmp_path / "pyproject.toml").symlink_to(tree.path / "pyproject.toml")
    with pytest.raises(InvalidArgument, match="would be measured with the npt in"):
        module._process(other, ["--tiny", "--format", "ept", "-k", "bench_hold.py"])


# -- copies -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Something that looks like one."""
    (tmp_path / "its" / "npt").mkdir(parents=True)
    (tmp_path / "its" / "npt" / "__init__.py").write_text("one = 1\n")
    return tmp_path / "its"


def test_tree__is_named_after_its_content(checkout: Path, tmp_path: Path) -> None:
    """The same content is one copy, other content another; what was copied stays as it was, with our benchmarks beside it."""
    one = tree_of(str(checkout), tmp_path / "store").path
    assert tree_of(str(checkout), tmp_path / "store").path == one
    (checkout / "npt" / "__init__.py").write_text("one = 2\n")
    assert tree_of(str(checkout), tmp_path / "store").path != one
    assert (one / "npt" / "__init__.py").read_text() == "one = 1\n"
    assert (one / "benchmarks" / "conftest.py").read_bytes() == (trees.HERE / "benchmarks" / "conftest.py").read_bytes()
    assert not list((tmp_path / "store").glob("making*"))


def test_tree__of_a_revision(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was committed, whatever lies in the directory now."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-C", str(checkout), "-c", "user.name=it", "-c", "user.email=it@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "It"]):
        subprocess.run([*git, *command], check=True)
    (checkout / "npt" / "__init__.py").write_text("one = 2\n")
    monkeypatch.setattr(trees, "HERE", checkout)
    found = tree_of("HEAD", tmp_path / "store")
    assert (found.path / "npt" / "__init__.py").read_text() == "one = 1\n"
    assert len(found.what) == 40


def test_tree__directory_without_a_package(tmp_path: Path) -> None:
    """It is no checkout."""
    with pytest.raises(InvalidArgument, match=r"has no npt/__init__\.py"):
        tree_of(str(tmp_path), tmp_path / "store")
