"""Files that are written whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """All of a file, or nothing: what was there stays until all is written. Into a pipe or device as it is."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    number, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(number, "wb") as file:
            file.write(content)
        os.chmod(scratch, path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        os.replace(scratch, path)
    except BaseException:
        with suppress(FileNotFoundError):  # an interrupt behind the last step
            os.unlink(scratch)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
