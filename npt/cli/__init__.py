"""The command line: ``npt``."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run ``npt``; needs the ``cli`` extra."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError:
        sys.exit("npt's command line needs click and rich: pip install 'npt-engine[cli]'")
    try:
        from npt.cli.app import run
    except KeyboardInterrupt:  # while importing
        sys.exit(130)
    run()
