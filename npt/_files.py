"""Files that are written whole or not at all."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """All of a file, or nothing: what was there stays until all is written. Into a pipe or device as it is."""
    if path.exists() and not path.is_file():  # before links are followed: /dev/stdout may lead to a pipe without a name
        path.write_bytes(content)
        return
    path = path.resolve()
    scratch = path.with_name(f".npt-{secrets.token_hex(8)}")
    try:
        with open(scratch, "xb") as file:  # new, so that its mode is what the process makes files with
            file.write(content)
        if path.exists():
            os.chmod(scratch, path.stat().st_mode)
        os.replace(scratch, path)
    except BaseException:
        with suppress(FileNotFoundError):  # an interrupt before the first step, or behind the last
            os.unlink(scratch)
        raise
