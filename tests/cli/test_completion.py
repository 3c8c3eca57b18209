"""What a shell completes."""

import shlex

import pytest
from click.shell_completion import BashComplete

from npt.cli.app import cli
from npt.studies import HISTORIES, POLICIES, TASKS, WRITERS
from tests.cli.running import Shell

pytestmark = pytest.mark.slow


def _completed() -> list[str]:
    return BashComplete(cli, {}, "npt", "_NPT_COMPLETE").complete().splitlines()


@pytest.mark.parametrize(("line", "words"), [
    ("npt mig", {"migrate"}),
    ("npt dirty", {"dirty", "dirty-log"}),
    ("npt --ver", {"--version"}),
    ("npt migrate --pol", {"--policy"}),
    ("npt migrate --policy x", {"xen"}),
    ("npt precopy --policy ", {"all", *POLICIES}),
    ("npt sweep ", set(TASKS)),
    ("npt sweep precopy --executor d", {"dask"}),
    ("npt dirty ", {*HISTORIES, *WRITERS}),
    ("npt dirty sqlite s", {"sort", "sqlite", "sequential", "strided"}),
    ("npt migrate --history sq", {"sqlite"}),
    ("npt replay x", {"xz"}),
    ("npt og", set()),
    ("npt import lack", {"lackey"}),
    ("npt info --js", {"--json"}),
    ("npt completion ", {"bash", "fish", "zsh"}),
])  # fmt: skip
def test_bash__is_given_the_words(line: str, words: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By click's own machinery, as bash calls it."""
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(shlex.split(line)) - (not line.endswith(" "))))
    assert set(_completed()) == {f"plain,{word}" for word in words}


@pytest.mark.parametrize("line", ["npt replay my", "npt dirty xz my", "npt migrate --history my", "npt compare my"])
def test_bash__is_told_to_look_for_files(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none of our words begins like this."""
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert _completed() == ["file,my"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_source__is_for_the_shell_that_was_asked_for(name: str, shell: Shell) -> None:
    """It calls the program back by its name."""
    ended = shell(f"completion {name}")
    assert ended.code == 0
    assert f"_NPT_COMPLETE={name}_complete" in ended.out
