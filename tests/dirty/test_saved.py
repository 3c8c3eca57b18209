"""Rounds saved and loaded; and what is refused: cut off, damaged, forged, of another kind."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.dirty.packed import Entry, Form, Packed
from npt.dirty.rounds import Rounds
from tests.dirty.migrating import PAGE, pages_of
from tests.dirty.recording import CHOICES, record, some_rounds


def same(a: Rounds, b: Rounds) -> bool:
    """Whether two records say the same and keep it in the same way."""
    return (a.gpa, a.length, len(a)) == (b.gpa, b.length, len(b)) and all(
        (x.generation, x.time_ns, x.gap) == (y.generation, y.time_ns, y.gap)
        and (x.packed.form, x.packed.n_set, x.packed.n_pages) == (y.packed.form, y.packed.n_set, y.packed.n_pages)
        and x.packed.data.dtype == y.packed.data.dtype
        and np.array_equal(x.packed.data, y.packed.data)
        for x, y in zip(a._entries, b._entries, strict=True)
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good file, with rounds of all forms."""
    path = tmp_path / "log.npz"
    rounds = record(some_rounds(1000), 1000)
    assert {entry.packed.form for entry in rounds._entries} == set(Form)
    rounds.save(path)
    return path


# -- back and forth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_pages", CHOICES)
def test_load__gives_back_what_was_saved(tmp_path: Path, n_pages: int) -> None:
    """Range, bitmaps, forms, generations, times, gaps."""
    rounds = record(some_rounds(n_pages), n_pages)
    rounds.save(tmp_path / "log")
    again = Rounds.load(str(tmp_path / "log"))
    assert same(rounds, again)
    assert [pages_of(each.bitmap) for each in again] == some_rounds(n_pages)
    assert again.last_written().tolist() == rounds.last_written().tolist()


def test_load__of_no_rounds(tmp_path: Path) -> None:
    """A log that was saved at its start."""
    record([], 77).save(tmp_path / "log")
    assert same(Rounds.load(tmp_path / "log"), record([], 77))


def test_load__of_a_range_beyond_4_byte_numbers(tmp_path: Path) -> None:
    """16 TiB of guest: page numbers and runs take 8 bytes."""
    n_pages = 2**32
    rounds = Rounds(0, n_pages * PAGE)
    for generation, (form, data, n_set) in enumerate(
        [(Form.PAGES, [3, n_pages - 1], 2), (Form.RUNS, [0, n_pages], n_pages), (Form.RUNS, [1, 2, n_pages - 5, 5], 7)], 1
    ):
        rounds = rounds.with_one(Entry(Packed(form, np.array(data, np.uint64), n_set, n_pages), generation, 0, False))
    rounds.save(tmp_path / "log")
    assert same(Rounds.load(tmp_path / "log"), rounds)


def test_load__can_go_on(file: Path) -> None:
    """What was loaded is as good as what was recorded: no round of it can be written to."""
    rounds = Rounds.load(file)
    assert len(rounds._entries) > 2
    for entry in rounds._entries:
        assert not entry.packed.data.flags.writeable
    assert pages_of(rounds.union(2, 2)) == set(range(1000))


def test_save__says_the_same_each_time(file: Path, tmp_path: Path) -> None:
    """No clock and no chance in the file."""
    Rounds.load(file).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_save__is_compact(tmp_path: Path) -> None:
    """A file is about as large as the rounds in memory."""
    rounds = record([set(range(n, 80_000, 8000)) for n in range(500)], 80_000)
    rounds.save(tmp_path / "log")
    assert (tmp_path / "log").stat().st_size < rounds.nbytes + 500 * 40 + 4000


def test_save__that_fails_leaves_the_old_file(file: Path) -> None:
    """And no scraps."""
    before = file.read_bytes()
    rounds = Rounds.load(file)
    forged = rounds.with_one(rounds._entries[0]._replace(generation=-1))
    with pytest.raises(OverflowError):
        forged.save(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(FileNotFoundError):
        rounds.save(file.parent / "nowhere" / "log.npz")


# -- refused ------------------------------------------------------------------------------------------------------------


def refused(path: Path, why: str = ": ") -> None:
    """The file is refused: the message names it and says why."""
    with pytest.raises(InvalidArgument, match=why) as caught:
        Rounds.load(path)
    assert str(path) in str(caught.value)
    assert "is not a dirty log of the form npt-dirty-log/1: " in str(caught.value)


def test_load__of_a_file_cut_off_anywhere(file: Path) -> None:
    """At every 100th byte, and just before the end."""
    content = file.read_bytes()
    for n in [*range(0, len(content), 100), len(content) - 1]:
        file.write_bytes(content[:n])
        refused(file)


def test_load__of_a_damaged_file(file: Path) -> None:
    """One bit of every 7th byte, each in turn: refused, or of no account (a date, a note of the zip); never something else."""
    content, good = bytearray(file.read_bytes()), Rounds.load(file)
    n_refused = 0
    places = range(0, len(content), 7)
    for at in places:
        content[at] ^= 1 << at % 8
        file.write_bytes(content)
        content[at] ^= 1 << at % 8
        try:
            assert same(Rounds.load(file), good)
        except InvalidArgument as error:
            assert str(file) in str(error)  # noqa: PT017
            n_refused += 1
    assert n_refused > 0.8 * len(places)


def test_load__of_damaged_data(file: Path) -> None:
    """Whatever bit of an array it is, the checksum tells."""
    content = file.read_bytes()
    with zipfile.ZipFile(file) as opened:
        assert len(opened.infolist()) > 3
        for member in opened.infolist():
            at = content.index(member.filename.encode()) + len(member.filename)
            for place in range(0, 128 + member.file_size // 2, 61):
                damaged = bytearray(content)
                damaged[at + place % member.file_size + 20] ^= 0x10
                file.write_bytes(damaged)
                refused(file)


OTHERS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("dirty"),
    "npy": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "another npz": lambda path: np.savez(path, pages=np.zeros(3)),
    "empty npz": lambda path: np.savez(path),
    "objects": lambda path: np.savez(path, format=np.array([{}], object)),
    "zip": lambda path: zipfile.ZipFile(path, "w").close(),
    "pickle": lambda path: path.write_bytes(b"\x80\x04N."),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_load__of_another_kind_of_file(tmp_path: Path, kind: str) -> None:
    """Named and refused."""
    path = tmp_path / "other.npz"
    OTHERS[kind](path)
    refused(path)


def test_load__of_no_file(tmp_path: Path) -> None:
    """What the system says."""
    with pytest.raises(FileNotFoundError):
        Rounds.load(tmp_path / "none")
    with pytest.raises(TypeError):
        Rounds.load(3.5)  # type: ignore[arg-type]


def changed(path: Path, **changes: Any) -> None:
    """The same file with other arrays in it; None leaves one out."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in arrays.items() if array is not None})
    path.write_bytes(content.getvalue())


def small(path: Path) -> None:
    """Three rounds of 20 pages, one of each form: bits, pages, runs."""
    rounds = Rounds(0, 20 * PAGE)
    bits = np.array([0b1010_1010, 0b1010_1010, 0b1010], np.uint8)
    pages, runs = np.array([3, 19], np.uint32), np.array([1, 2, 5, 15], np.uint32)
    kept = [Packed(Form.BITS, bits, 10, 20), Packed(Form.PAGES, pages, 2, 20), Packed(Form.RUNS, runs, 17, 20)]
    for generation, packed in enumerate(kept, 5):
        rounds = rounds.with_one(Entry(packed, generation, generation, False))
    rounds.save(path)


def u1(*values: int) -> Any:
    """Bytes."""
    return np.array(values, np.uint8)


def u4(*values: int) -> Any:
    """Page numbers."""
    return np.array(values, np.uint32)


def u8(*values: int) -> Any:
    """Counts and the like."""
    return np.array(values, np.uint64)


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "no change": ({}, ""),
    "another version": ({"format": np.array("npt-dirty-log/2")}, "npt-dirty-log/2', another version"),
    "another form": ({"format": np.array("npt-results/1")}, "npt-results/1'$"),
    "a number for a form": ({"format": np.array(1)}, "names no form"),
    "a member missing": ({"gaps": None}, "it holds"),
    "a member more": ({"more": u1(1)}, "it holds"),
    "range of three": ({"range": u8(0, 20 * PAGE, 1)}, "range is"),
    "range of another type": ({"range": np.array([0, 20 * PAGE], np.int64)}, "range is int64"),
    "range unaligned": ({"range": u8(1, 20 * PAGE)}, "page-aligned"),
    "range empty": ({"range": u8(0, 0)}, "not positive"),
    "range past the end": ({"range": u8(0, 2**63)}, "in no space|numbers is"),
    "range past 2**64": ({"range": u8(2**64 - PAGE, 20 * PAGE)}, "reaches"),
    "range in no space": ({"range": u8(2**47, 20 * PAGE)}, "in no space"),
    "range too short": ({"range": u8(0, 19 * PAGE)}, "round 1 does not say"),
    "range of one byte less": ({"range": u8(0, 16 * PAGE)}, "round 1 does not say"),
    "fewer counts": ({"counts": u8(10, 2)}, "counts is"),
    "another byte order": ({"counts": np.array([10, 2, 17], ">u8")}, "counts is >u8"),
    "forms as words": ({"forms": u4(0, 1, 2)}, "forms is"),
    "forms in two dimensions": ({"forms": u1(0, 1, 2).reshape(3, 1)}, "forms is"),
    "no such form": ({"forms": u1(0, 1, 3)}, "form 3"),
    "wrong count of bits": ({"counts": u8(9, 2, 17)}, "round 1 does not say 9 of 20"),
    "wrong count of pages": ({"counts": u8(10, 3, 17)}, "round 2 does not say"),
    "wrong count of runs": ({"counts": u8(10, 2, 16)}, "round 3 does not say"),
    "bits past the end": ({"bits": u1(0xAA, 0xAA, 0x1A), "counts": u8(11, 2, 17)}, "round 1 does not say"),
    "bits past the end, not counted": ({"bits": u1(0xAA, 0xAA, 0x1A)}, "round 1 does not say"),
    "bits missing": ({"bits": u1(0xAA, 0xAA)}, "round 1 does not say"),
    "a bitmap too short": ({"sizes": u8(2, 2, 4), "bits": u1(0xAA, 0xAA)}, "round 1 does not say"),
    "a bitmap too long": ({"sizes": u8(4, 2, 4), "bits": u1(0xAA, 0xAA, 0xA, 0)}, "round 1 does not say"),
    "bits too many": ({"bits": u1(0xAA, 0xAA, 0xA, 0)}, "more than its rounds"),
    "sizes too large": ({"sizes": u8(3, 2**64 - 1, 4)}, "round 2 does not say"),
    "sizes too small": ({"sizes": u8(3, 2, 2)}, "round 3 does not say"),
    "sizes too large at the end": ({"sizes": u8(3, 2, 5)}, "more than its rounds, or less|round 3"),
    "half a run": ({"sizes": u8(3, 2, 3), "numbers": u4(3, 19, 1, 2, 5), "counts": u8(10, 2, 2)}, "round 3 does not say"),
    "no runs": ({"sizes": u8(3, 2, 0), "numbers": u4(3, 19)}, "round 3 does not say"),
    "numbers missing": ({"numbers": u4(3, 19, 1, 2, 5)}, "round 3 does not say"),
    "numbers too many": ({"numbers": u4(3, 19, 1, 2, 5, 15, 0)}, "more than its rounds"),
    "numbers of 8 bytes": ({"numbers": u8(3, 19, 1, 2, 5, 15)}, "numbers is uint64"),
    "numbers in two dimensions": ({"numbers": u4(3, 19, 1, 2, 5, 15).reshape(2, 3)}, "numbers is"),
    "pages not ascending": ({"numbers": u4(19, 3, 1, 2, 5, 15)}, "round 2 does not say"),
    "pages twice": ({"numbers": u4(3, 3, 1, 2, 5, 15)}, "round 2 does not say"),
    "page past the end": ({"numbers": u4(3, 20, 1, 2, 5, 15)}, "round 2 does not say"),
    "run past the end": ({"numbers": u4(3, 19, 1, 1, 5, 16)}, "round 3 does not say"),
    "run that wraps": ({"numbers": u4(3, 19, 1, 2, 2**32 - 1, 15)}, "round 3 does not say"),
    "run that is empty": ({"numbers": u4(3, 19, 1, 0, 3, 17)}, "round 3 does not say"),
    "runs that touch": ({"numbers": u4(3, 19, 1, 2, 3, 15)}, "round 3 does not say"),
    "runs not ascending": ({"numbers": u4(3, 19, 5, 15, 1, 2)}, "round 3 does not say"),
    "generation that stays": ({"generations": u8(5, 5, 6)}, "round 2 is older"),
    "generation 0": ({"generations": u8(0, 5, 6)}, "round 1 is older"),
    "time that goes back": ({"times_ns": u8(5, 4, 6)}, "round 2 is older"),
    "a gap of 2": ({"gaps": np.array([0, 2, 1], np.uint8).view(np.bool_)}, "gaps holds bytes other than 0 and 1"),
    "gaps as bytes": ({"gaps": u1(0, 0, 0)}, "gaps is"),
}


@pytest.mark.parametrize("name", FORGED)
def test_load__of_a_forged_file(tmp_path: Path, name: str) -> None:
    """Whole, and with good checksums, but such as this library never writes."""
    changes, why = FORGED[name]
    path = tmp_path / "log.npz"
    small(path)
    changed(path, **changes)
    if changes:
        refused(path, why)
    else:
        assert Rounds.load(path).counts.tolist() == [10, 2, 17]


def test_load__of_a_compressed_file(file: Path) -> None:
    """A small file may be huge: it is not unpacked."""
    with np.load(file) as opened:
        arrays = {name: opened[name] for name in opened.files} | {"bits": np.zeros(1 << 24, np.uint8)}
    np.savez_compressed(file, **arrays)
    refused(file, "it is compressed")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_load__of_one_compressed_member(file: Path, method: int) -> None:
    """However small it is: the form has none."""
    with zipfile.ZipFile(file) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(name, content, method if name == "gaps.npy" else zipfile.ZIP_STORED)
    refused(file, "it is compressed")


def test_load__of_what_says_the_same(file: Path) -> None:
    """Something before and behind the zip, the name in the other byte order, members in another order."""
    rounds = Rounds.load(file)
    with np.load(file) as opened:
        arrays = {name: opened[name] for name in reversed(opened.files)}
    arrays["format"] = arrays["format"].astype(arrays["format"].dtype.newbyteorder(">"))
    content = io.BytesIO()
    np.savez(content, **arrays)
    file.write_bytes(b"before" + content.getvalue() + b"behind")
    assert same(Rounds.load(file), rounds)


def test_load__of_an_array_of_another_version(file: Path) -> None:
    """numpy has other headers than the one that is written here."""
    with zipfile.ZipFile(file) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    member = io.BytesIO()
    np.lib.format.write_array(member, np.load(io.BytesIO(members["counts.npy"])), version=(2, 0))
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(name, member.getvalue() if name == "counts.npy" else content)
    refused(file, "cut off, damaged")


def test_load__of_an_array_that_lies_about_its_size(file: Path) -> None:
    """Nothing is made that is larger than the file, whatever a header says."""
    header = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }"
    with np.load(file) as opened:
        arrays = {name: opened[name] for name in opened.files}
    with zipfile.ZipFile(file, "w") as made:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            lie = header + text.ljust(117).encode() + b"\n" + b"\0" * 100
            made.writestr(f"{name}.npy", lie if name == "bits" else member.getvalue())
    refused(file, "cut off, damaged")
