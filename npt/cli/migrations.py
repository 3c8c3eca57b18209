"""What ``precopy`` and ``migrate`` have in common: options of the link and the policies."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from npt.cli.options import Duration, Number, Rate
from npt.errors import InvalidArgument
from npt.studies.policies import POLICIES, Policy, policy

__all__ = ["link_options", "milliseconds", "policy_option"]

F = TypeVar("F", bound=Callable[..., Any])


class _Rates(click.ParamType):  # type: ignore[type-arg]
    """A rate, or one for each send with commas between them; after the first one it may be nothing."""

    name = "rate[,rate...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | list[int]:
        """Bytes a second."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        rates: list[int] = [Rate(zero=place > 0).convert(one, param, ctx) for place, one in enumerate(value.split(","))]
        return rates if len(rates) > 1 else rates[0]


class _Policy(click.ParamType):  # type: ignore[type-arg]
    """A policy, or all of them."""

    name = "policy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sequence[Policy]:
        """The policies that a word stands for."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return [policy(name) for name in (POLICIES if value == "all" else [value])]
        except InvalidArgument as error:
            self.fail(str(error.strerror), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names."""
        return [CompletionItem(name) for name in ("all", *POLICIES) if name.startswith(incomplete)]


def _flattened(_: click.Context, __: click.Parameter, value: Sequence[Sequence[Policy]]) -> list[Policy]:
    return list(dict.fromkeys(one for some in value for one in some))


def policy_option(function: F) -> F:
    """``--policy``: the command gets ``policies``, each one once."""
    return click.option(
        "--policy",
        "policies",
        type=_Policy(),
        multiple=True,
        default=["all"],
        callback=_flattened,
        help=f"One of {', '.join(POLICIES)}, alone or with options, like qemu:auto_converge=yes; repeatable.  [all]",
    )(function)


def link_options(function: F) -> F:
    """``--bandwidth`` and what goes with it, under the names that they have in Python."""
    for option in (
        click.option(
            "--compression", type=Number(0, min_open=True), default=1.0, show_default=True,
            help="Bytes of memory for one on the wire.",
        ),
        click.option(
            "--latency", type=Duration(zero=True), default="0", show_default=True, help="That each send takes besides."
        ),
        click.option(
            "--max-rounds", type=click.IntRange(min=1), default=1000, show_default=True, help="Live sends, whatever the policy."
        ),
        click.option(
            "--downtime", type=Duration(zero=True), default="300ms", show_default=True, help="Aimed at, if the policy aims."
        ),
        click.option(
            "--bandwidth", type=_Rates(), default="1GiB", show_default=True,
            help="Of the link, like 1000MiB or 10Gbit/s; or one for each send, the last for all others: 1GiB,100MiB,0.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def milliseconds(ns: int) -> str:
    """For a table."""
    return f"{ns / 1e6:,.3f}"
