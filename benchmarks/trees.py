"""Checkouts to be compared: copies of the package as it is in a directory or in a git revision.

A copy lives in a directory named after its content. So what is compared does not change while it runs, equal packages are one
and the same, and kernels are compiled once for all comparisons. The benchmarks that run on it are this checkout's own, copied
beside it: both sides are measured by the same code.
"""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from npt.errors import InvalidArgument

__all__ = ["HERE", "Tree", "tree_of"]

HERE = Path(__file__).resolve().parents[1]
_BESIDE = ("benchmarks", "pyproject.toml")
_OURS = (".py", ".npz", ".typed", ".toml")


@dataclass(frozen=True)
class Tree:
    """A copy that benchmarks can run on.

    Attributes
    ----------
    name : str
        As the user called it.
    what : str
        Commit, with a ``+`` if it was changed; or the directory.
    path : Path
        Of the copy.
    """

    name: str
    what: str
    path: Path


def tree_of(name: str, store: Path) -> Tree:
    """Make a copy of a checkout, or find it.

    Parameters
    ----------
    name
        A directory with ``npt`` in it, or a git revision of this checkout.
    store
        Directory of the copies.

    Raises
    ------
    InvalidArgument
        It is neither.
    """
    there = Path(name)
    if (there / "npt" / "__init__.py").is_file():
        files, what = _files_in(there, ("npt",)), _commit_of(there) or str(there.resolve())
    elif there.exists() and there.is_dir():
        raise InvalidArgument(f"{name} has no npt/__init__.py")
    else:
        files, what = _files_of(name)
    files |= _files_in(HERE, _BESIDE)
    return Tree(name, what, _copy(files, store))


def _files_in(root: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Contents of files and of all that is under directories."""
    found = {}
    for name in names:
        top = root / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and path.suffix in _OURS and "__pycache__" not in path.parts:
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def _files_of(revision: str) -> tuple[dict[str, bytes], str]:
    """The package in a revision, and which commit it is."""
    commit = _git(HERE, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise InvalidArgument(f"{revision} is neither a directory with npt in it nor a git revision of {HERE}")
    archive = _git(HERE, "archive", "--format=tar", commit.decode().strip(), "--", "npt")
    if archive is None:
        raise InvalidArgument(f"revision {revision} has no npt")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [member for member in tar if member.isfile() and PurePosixPath(member.name).suffix in _OURS]
        return {member.name: _content(tar, member) for member in members}, commit.decode().strip()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _commit_of(root: Path) -> str | None:
    head, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    return None if head is None or changed is None else head.decode().strip() + ("+" if changed.strip() else "")


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git says, or None where it refuses or is not there."""
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _copy(files: dict[str, bytes], store: Path) -> Path:
    """Write files into a directory named after them, unless it is there; a half-made one never has that name."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    path, making = store / digest.hexdigest()[:20], store / f"making-{os.getpid()}"
    if path.is_dir():
        return path
    try:
        for name, content in files.items():
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            (making / name).write_bytes(content)
        os.replace(making, path)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return path
