"""What a child process needs so that it can be interrupted."""

import signal

__all__ = ["listen_to_sigint"]


def listen_to_sigint() -> None:
    """Undo what a shell does to background jobs: whoever starts with SIGINT ignored never sees a Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
