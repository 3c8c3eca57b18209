"""The group of all commands, and what becomes of errors and interrupts."""

import os
import sys
import traceback
from enum import IntEnum
from importlib import import_module

import click

import npt
from npt.errors import InvalidArgument, InvariantError, NptError, Unreadable

__all__ = ["Exit", "cli", "run"]

_COMMANDS = {
    "bench": "bench",
    "compare": "compare",
    "completion": "completion",
    "dirty": "dirty",
    "dirty-log": "dirty_log",
    "import": "importing",
    "info": "info",
    "migrate": "migrate",
    "populate": "populate",
    "precopy": "precopy",
    "replay": "replay",
    "sweep": "sweep",
    "warm-up": "warm_up",
}


class Exit(IntEnum):
    """How ``npt`` ends."""

    FINE = 0
    FAILED = 1  # a check, or the work itself
    USAGE = 2
    UNREADABLE = 3
    TOO_LARGE = 4
    BUG = 70
    INTERRUPTED = 130


class _Commands(click.Group):
    """Each command in a module of its own, that is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"npt.cli.commands.{_COMMANDS[cmd_name]}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(npt.__version__, prog_name="npt")
def cli() -> None:
    """Guest memory of a hypervisor: how fast it is here, what real programs do in it, and what it takes to move it.

    \b
    Examples:
      npt bench --size 64MiB                     how fast this machine maps, populates and harvests
      npt migrate --history sqlite --policy all  one program under every hypervisor's rules
      npt info 4GiB                              what a guest of that size takes

    Every command has examples of its own: npt COMMAND --help. It ends with 0 if all is well, 1 if a check failed, 2 for wrong
    usage, 3 for input that cannot be read, 4 for what is too large for this machine, 70 for a bug in npt, 130 if interrupted.
    """


def run() -> None:
    """Run the command line and exit with one of ``Exit``."""
    sys.exit(_run())


def _run() -> int:
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except InvariantError as error:
        return _bug(error)
    except OSError as error:
        click.echo(f"Error: {error.strerror if isinstance(error, NptError) else error}", err=True)
        return _code(error)
    except MemoryError as error:
        click.echo(f"Error: not enough memory: {error}", err=True)
        return Exit.TOO_LARGE
    except Exception as error:
        return _bug(error)
    return Exit.FINE


def _code(error: OSError) -> Exit:
    """How npt ends after an error of its own, or of the system."""
    if isinstance(error, Unreadable):
        return Exit.UNREADABLE
    if isinstance(error, MemoryError):
        return Exit.TOO_LARGE
    return Exit.USAGE if isinstance(error, InvalidArgument) else Exit.FAILED


def _bug(error: BaseException) -> Exit:
    traceback.print_exception(error)
    click.echo("Error: this is a bug in npt; please report it with the lines above", err=True)
    return Exit.BUG
