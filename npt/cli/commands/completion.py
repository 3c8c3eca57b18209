"""``npt completion``."""

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete npt's commands, options and names.

    \b
    Examples:
      npt completion bash >> ~/.bashrc
      npt completion zsh >> ~/.zshrc
      npt completion fish > ~/.config/fish/completions/npt.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click knows no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "npt", "_NPT_COMPLETE").source())
