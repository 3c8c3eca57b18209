"""Every exception: its parents, its number, and that it survives pickling and copying."""

import copy
import errno
import inspect
import pickle

import pytest

import npt
from npt import FaultCode, errors
from npt.errors import Fault, NptError

# DESIGN section 4: class, standard parent, errno.
TABLE: dict[type[NptError], tuple[type[BaseException], int]] = {
    errors.InvalidArgument: (ValueError, errno.EINVAL),
    errors.AddressOverflow: (errors.InvalidArgument, errno.EOVERFLOW),
    errors.OutOfSegment: (IndexError, errno.EINVAL),
    errors.BeyondSpace: (ValueError, errno.ENOMEM),
    errors.Overlap: (ValueError, errno.ENOMEM),
    errors.NoSuchMapping: (LookupError, errno.ENOENT),
    errors.Fault: (LookupError, errno.EFAULT),
    errors.TrackingDisabled: (PermissionError, errno.EPERM),
    errors.Orphaned: (RuntimeError, errno.ENXIO),
    errors.ReservoirExhausted: (MemoryError, errno.ENOSPC),
    errors.StaleHandle: (RuntimeError, errno.EBADF),
    errors.Busy: (RuntimeError, errno.EBUSY),
    errors.Deadlock: (RuntimeError, errno.EDEADLK),
    errors.KickTimeout: (TimeoutError, errno.ETIMEDOUT),
    errors.NotSupported: (RuntimeError, errno.ENOTSUP),
    errors.AccessDenied: (PermissionError, errno.EACCES),
    # Of the studies, not in DESIGN's table.
    errors.LinkDown: (ConnectionError, errno.ENETDOWN),
    errors.Unreadable: (errors.InvalidArgument, errno.EINVAL),
    errors.InvariantError: (AssertionError, errno.EIO),
}
CLASSES = list(TABLE)
MESSAGE = "gpa 0x1001 is not page-aligned"

each = pytest.mark.parametrize("kind", CLASSES, ids=[kind.__name__ for kind in CLASSES])


def make(kind: type[NptError]) -> NptError:
    """One with a message."""
    return Fault(MESSAGE, FaultCode.PROT) if kind is Fault else kind(MESSAGE)


def fields(error: NptError) -> tuple[object, ...]:
    """All that an exception carries."""
    return type(error), error.errno, error.strerror, str(error), error.args, error.filename, vars(error)


def test_errors__are_all_in_the_table() -> None:
    """Nothing is raised that the contract does not name."""
    public = {member for name, member in inspect.getmembers(errors, inspect.isclass) if name in errors.__all__}
    assert public == {NptError, *CLASSES}


@each
def test_error__is_public(kind: type[NptError]) -> None:
    """Importable from ``npt``."""
    assert getattr(npt, kind.__name__) is kind


@each
def test_error__is_an_os_error_of_ours(kind: type[NptError]) -> None:
    """``except NptError`` and ``except OSError`` catch it."""
    assert isinstance(make(kind), (NptError, OSError))
    assert issubclass(NptError, OSError)


@each
def test_error__has_the_standard_parent(kind: type[NptError]) -> None:
    """``except ValueError`` and the like mean what they say."""
    with pytest.raises(TABLE[kind][0]):
        raise make(kind)


@each
def test_error__has_a_real_errno(kind: type[NptError]) -> None:
    """As the table says."""
    assert make(kind).errno == TABLE[kind][1]


@each
def test_error__says_what_happened(kind: type[NptError]) -> None:
    """Number and message, as every ``OSError``."""
    assert str(make(kind)) == f"[Errno {TABLE[kind][1]}] {MESSAGE}"


@each
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_error__survives_pickling(kind: type[NptError], protocol: int) -> None:
    """With all that it carries: it may have to come from another process."""
    error = make(kind)
    assert fields(pickle.loads(pickle.dumps(error, protocol))) == fields(error)


@each
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_error__survives_copying(kind: type[NptError], copied: object) -> None:
    """Shallow and deep."""
    error = make(kind)
    assert fields(copied(error)) == fields(error)  # type: ignore[operator]


@each
def test_error__has_a_docstring_of_its_own(kind: type[NptError]) -> None:
    """Help says when it is raised."""
    assert kind.__doc__
    assert kind.__doc__ != NptError.__doc__


@pytest.mark.parametrize("code", FaultCode)
def test_fault__code_survives_pickling(code: FaultCode) -> None:
    """And is a ``FaultCode`` still, not a number."""
    again = pickle.loads(pickle.dumps(Fault(MESSAGE, code)))
    assert again.code is code


def test_fault__is_a_lookup_error_but_no_key_error() -> None:
    """A page that is not there is no missing key."""
    assert not isinstance(make(Fault), KeyError)


def test_error__keeps_notes() -> None:
    """What was added with ``add_note`` goes along, as with Python's own exceptions."""
    error = make(errors.Busy)
    error.add_note("in window 0x7")
    assert getattr(pickle.loads(pickle.dumps(error)), "__notes__", None) == ["in window 0x7"]
