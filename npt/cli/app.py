"""The group of all commands, and what becomes of errors and interrupts."""

import os
import sys
import traceback
from importlib import import_module

import click
from click.shell_completion import CompletionItem

import npt
from npt.cli.exits import Exit, code, told
from npt.errors import InvariantError

__all__ = ["cli", "run"]

_COMMANDS = {  # module, and what it does: the list of all of them imports none
    "bench": ("bench", "How fast this machine maps, populates, harvests and unmaps."),
    "compare": ("compare", "Two result files side by side, ratio by ratio."),
    "completion": ("completion", "What makes a shell complete npt's words."),
    "dirty": ("dirty", "What each mechanism that notices writes costs a guest."),
    "dirty-log": ("dirty_log", "The phases of dirty logging, as KVM's dirty_log_perf_test."),
    "import": ("importing", "Write histories from valgrind's traces or KVM's bitmaps."),
    "info": ("info", "This machine, the names npt knows, what a guest takes."),
    "migrate": ("migrate", "Real bytes between two guests, under hypervisors' rules."),
    "populate": ("populate", "How fast a guest is made resident, and its first touches."),
    "precopy": ("precopy", "The same rules in the closed model, without a byte."),
    "replay": ("replay", "A program's write history through the tables, checked."),
    "report": ("report", "One page of results, to read and to sort."),
    "show": ("show", "Logs, histories and results in the terminal."),
    "sweep": ("sweep", "A study at every point of a grid, here or on a cluster."),
    "warm-up": ("warm_up", "Compile all kernels now."),
}


class _Commands(click.Group):
    """Each command in a module of its own, that is imported when it is asked for, and not to be named in a list."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"npt.cli.commands.{_COMMANDS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line for each."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands by how they begin, or the group's own options."""
        found = [CompletionItem(name, help=what) for name, (_, what) in _COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)


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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # for as long as we live
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
        click.echo(f"Error: {told(error)}", err=True)
        return code(error)
    except MemoryError as error:
        click.echo(f"Error: not enough memory: {error}", err=True)
        return Exit.TOO_LARGE
    except Exception as error:
        return _bug(error)
    return Exit.FINE


def _bug(error: BaseException) -> Exit:
    traceback.print_exception(error)
    click.echo("Error: this is a bug in npt; please report it with the lines above", err=True)
    return Exit.BUG
