"""``npt`` in this process, and what a process of its own needs so that it can be interrupted."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from npt.cli.app import cli
from tests.cli.signals import listen_to_sigint

__all__ = ["Ended", "Shell", "commands", "start"]


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


Shell = Callable[[str], Ended]


def start(words: list[str], where: Path) -> "subprocess.Popen[str]":
    """``npt`` with these words, in a session of its own, as from a terminal of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "npt", *words],
        cwd=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen_to_sigint if sys.platform != "win32" else None,
    )


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands and what is under them, each with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        names = command.list_commands(context)
        assert names
        for name in names:
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*path, name))
