"""Traces of valgrind's lackey: which pages are in which window, and what is no trace."""

import gzip
import io
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npt import InvalidArgument
from npt.studies import History, import_lackey
from npt.studies.imports import lackey

# the beginning and the end of what lackey 3.19 said of /bin/true
REAL = b"""\
==26002== Lackey, an example Valgrind tool
==26002== Copyright (C) 2002-2017, and GNU GPL'd, by Nicholas Nethercote.
==26002== Using Valgrind-3.19.0 and LibVEX; rerun with -h for copyright info
==26002== Command: /bin/true
==26002== Parent PID: 25999
==26002==\x20
I  0401ab70,3
I  0401ab73,5
 S 1fff000768,8
I  0401b770,1
 S 1fff000760,8
I  0401b771,7
 L 04033ff8,8
 M 1ffefffffe,4
==26002==\x20
==26002== Counted 0 calls to main()
==26002==\x20
==26002== Exit code:       0
"""
TEXT, DATA, STACK = 0x401A, 0x4033, 0x1FFEFFF


def trace(n_lines: int, seed: int) -> bytes:
    """Lines like lackey's: an instruction first, addresses of 8 to 12 digits, sizes of 1 to 4."""
    drawn = random.Random(seed)
    lines = [b"I  04000000,2\n"]
    for _ in range(n_lines - 1):
        address = drawn.choice([0x4000000, 0x1FFEFFF000, 0x7FFFFFF00000]) + drawn.randrange(0x8000)
        letter = drawn.choice([b"I  ", b"I  ", b" L ", b" S ", b" M "])
        lines.append(b"%s%08x,%d\n" % (letter, address, drawn.choice([1, 2, 8, 16, 512, 4096])))
    return b"".join(lines)


def windows(history: History) -> list[tuple[list[int], list[int]]]:
    """Pages read and written, by window."""
    return [
        (history.pages[history.read(number)].tolist(), history.pages[history.written(number)].tolist())
        for number in range(history.n_windows)
    ]


def slow(text: bytes, length: int, *, by_accesses: bool, fetches: bool) -> list[tuple[list[int], list[int]]]:
    """The same in plain Python, line by line."""
    made: dict[int, tuple[set[int], set[int]]] = {}
    counted = 0
    for line in text.decode().splitlines():
        letter, (address, size) = line[:3].strip(), line[3:].split(",")
        counted += (letter != "I") if by_accesses else (letter == "I")
        window = max(counted - 1, 0) // length
        read, written = made.setdefault(window, (set(), set()))
        pages = {int(address, 16) >> 12, (int(address, 16) + int(size) - 1) >> 12}
        if letter in ("L", "M") or (letter == "I" and fetches):
            read |= pages
        if letter in ("S", "M"):
            written |= pages
    assert sorted(made) == list(range(len(made)))
    return [(sorted(read), sorted(written)) for read, written in made.values()]


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_import__a_real_trace() -> None:
    """A store writes, a load reads, a modify over the end of a page does both on both; valgrind's own lines are none of it."""
    history = import_lackey(io.BytesIO(REAL), window_instructions=2, name="true")
    assert windows(history) == [([], [STACK + 1]), ([DATA, STACK, STACK + 1], [STACK, STACK + 1])]
    assert (history.name, history.window_length, history.window_unit) == ("true", 2, "instructions")


def test_import__fetches() -> None:
    """The pages of instructions are read if that is asked for."""
    history = import_lackey(io.BytesIO(REAL), window_instructions=2, fetches=True)
    assert windows(history)[0] == ([TEXT], [STACK + 1])
    assert windows(history)[1] == ([TEXT + 1, DATA, STACK, STACK + 1], [STACK, STACK + 1])


@pytest.mark.parametrize("length", [1, 3, 100, 10**6])
@pytest.mark.parametrize("fetches", [False, True])
@pytest.mark.parametrize("unit", ["window_instructions", "window_accesses"])
@pytest.mark.parametrize("block", [37, 1000, 1 << 20])
def test_import__is_what_the_slow_twin_says(
    monkeypatch: pytest.MonkeyPatch, length: int, fetches: bool, unit: str, block: int
) -> None:
    """Whatever the windows, and wherever a block ends."""
    monkeypatch.setattr(lackey, "_BLOCK", block)
    text = trace(2000 if block > 100 else 400, seed=length)
    history = import_lackey(io.BytesIO(text), fetches=fetches, **{unit: length})  # type: ignore[arg-type]
    assert windows(history) == slow(text, length, by_accesses=unit == "window_accesses", fetches=fetches)


def test_import__lines_of_valgrinds_own_between() -> None:
    """They change nothing, wherever they are, nor do empty lines."""
    text = trace(300, seed=4)
    lines = text.splitlines(keepends=True)
    mixed = b"".join(line + (b"==7== said\n--7-- more\n**7** loud\n\n" if i % 7 == 0 else b"") for i, line in enumerate(lines))
    assert import_lackey(io.BytesIO(mixed), window_instructions=9) == import_lackey(io.BytesIO(text), window_instructions=9)


def test_import__what_is_not_said() -> None:
    """Windows of 200,000 instructions, no fetches."""
    text = b"I  04000000,1\n S 05000000,8\n" * 200_000 + b"I  04000000,1\n S 06000000,8\n"
    assert windows(import_lackey(io.BytesIO(text))) == [([], [0x5000]), ([], [0x6000])]


def test_import__windows_in_which_nothing_happens() -> None:
    """They are there, and empty."""
    text = b" S 05000000,8\n" + b"I  04000000,1\n" * 5 + b" L 06000000,8\n"
    assert windows(import_lackey(io.BytesIO(text), window_instructions=2)) == [([], [0x5000]), ([], []), ([0x6000], [])]


def test_import__windows_of_accesses() -> None:
    """Instructions do not count, not even behind the last access: they make no window."""
    text = b"I  04000000,1\n S 05000000,8\n L 06000000,8\nI  04000000,1\n M 07000000,8\n S 08000000,8\nI  04000000,1\n"
    assert windows(import_lackey(io.BytesIO(text), window_accesses=2)) == [([0x6000], [0x5000]), ([0x7000], [0x7000, 0x8000])]


@pytest.mark.parametrize("block", [50, 1 << 20])
def test_import__so_many_windows(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Stops behind them; what follows is not even read, and need not be whole."""
    monkeypatch.setattr(lackey, "_BLOCK", block)
    text = trace(700, seed=1)
    whole = windows(import_lackey(io.BytesIO(text), window_instructions=50))
    for n in (1, 3, len(whole) - 1):
        assert windows(import_lackey(io.BytesIO(text[:-3]), window_instructions=50, n_windows=n)) == whole[:n]
    assert windows(import_lackey(io.BytesIO(text), window_instructions=50, n_windows=len(whole) + 9)) == whole


def test_import__the_last_page_of_the_largest_space() -> None:
    """It is one; the next one is none."""
    history = import_lackey(io.BytesIO(b" S 7fffffffffff,1\n"))
    assert history.pages.tolist() == [2**35 - 1]


@pytest.mark.slow
def test_import__memory_depends_on_windows_and_not_on_lines() -> None:
    """Eight times as many lines in as many windows take no more memory at once."""
    peaks = []
    for times in (1, 8):
        source = io.BytesIO(trace(20_000, seed=2) * 4 * times)
        tracemalloc.start()
        import_lackey(source, window_instructions=10_000 * times)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2


# -- where it comes from -----------------------------------------------------------------------------------------------


def test_import__files_gzip_stdin_and_open_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same from all, named by the file up to its first dot; gzip is known by its beginning."""
    plain, packed = tmp_path / "prog.txt", tmp_path / "prog.lackey"
    plain.write_bytes(REAL)
    packed.write_bytes(gzip.compress(REAL))
    expected = import_lackey(io.BytesIO(REAL), name="prog")
    assert import_lackey(plain) == import_lackey(str(packed)) == expected
    with plain.open("rb") as opened:
        assert import_lackey(opened) == expected
        assert not opened.closed
    bytes_io = io.BytesIO(gzip.compress(REAL[:500]) + gzip.compress(REAL[500:]))
    assert import_lackey(bytes_io, name="prog") == expected
    assert not bytes_io.closed
    with plain.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        history = import_lackey("-")
        assert (windows(history), history.name) == (windows(expected), "stdin")
        assert not stdin.buffer.closed


def test_import__there_and_back(tmp_path: Path) -> None:
    """What was saved is what is loaded, and plays as a writer."""
    for unit in ("window_instructions", "window_accesses"):
        history = import_lackey(io.BytesIO(trace(500, seed=6)), name="mine", **{unit: 60})  # type: ignore[arg-type]
        history.save(tmp_path / "mine.npz")
        again = History.load(tmp_path / "mine.npz")
        assert again == history
        assert again.row() == history.row()
        assert history.n_windows > 3
        assert [one.pages.tolist() for one in again.windows()] == [one.pages.tolist() for one in history.windows()]


def test_import__progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes read of the file as it is; in all where that is known."""
    monkeypatch.setattr(lackey, "_BLOCK", 1000)
    file = tmp_path / "trace"
    file.write_bytes(trace(3000, seed=3))
    size, seen = file.stat().st_size, list[tuple[int, int | None]]()
    import_lackey(file, progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {size}
    assert seen == sorted(seen)
    assert seen[-1][0] == size
    seen.clear()
    packed = tmp_path / "trace.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    import_lackey(packed, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (packed.stat().st_size,) * 2
    seen.clear()
    import_lackey(io.BytesIO(file.read_bytes()), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(min(1000 * number, size), None) for number in range(1, -(-size // 1000) + 1)]


# -- cut short ---------------------------------------------------------------------------------------------------------

CUT = [
    (REAL[: REAL.index(b" M ") + 9], "behind line 13: there is no more than ' M 1ffeff' of the next one"),
    (REAL[: REAL.index(b" M ")], "behind line 13: lackey's last lines, which tell the exit code, are missing"),
    (gzip.compress(REAL * 1)[:-20], "the gzip file ends too early"),
    (gzip.compress(REAL)[:-8] + b"\0\0\0\0" + gzip.compress(REAL)[-4:], "the gzip file is damaged: CRC check failed"),
]


@pytest.mark.parametrize(("text", "message"), CUT)
def test_import__cut_short(text: bytes, message: str) -> None:
    """It is told, with how far it goes; or what there is is taken."""
    with pytest.raises(InvalidArgument, match="BytesIO: the trace is cut short") as raised:
        import_lackey(io.BytesIO(text))
    assert message in str(raised.value.strerror)
    history = import_lackey(io.BytesIO(text), allow_cut=True)
    assert STACK + 1 in history.pages.tolist()


def test_import__without_valgrinds_own_lines() -> None:
    """With valgrind -q there are none: then nothing tells that the end is missing."""
    assert import_lackey(io.BytesIO(b" S 05000000,8\n")).pages.tolist() == [0x5000]


# -- no trace ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        b"hello", b"\xff\x00", b",", b"==", b"== 7 ==", b" S 05000000", b" S ,8", b" S 05000000,", b" S 05000000,8 ",
        b" S 05000000,8\r", b" S 05000000,8,8", b"S  05000000,8", b" S  05000000,8", b" I 05000000,8", b"I 04000000,8",
        b" X 05000000,8", b" S 0500000g,8", b" S 0500000A,8", b" S 0x5000000,8", b" S 5000000000000000a,8", b" S 05000000,-8",
        b" S 05000000,12345", b" S 05000000,a", b"xS 05000000,8",
    ],
)  # fmt: skip
def test_import__a_line_that_is_no_record(wrong: bytes) -> None:
    """Its number and the line itself, wherever it is."""
    lines = trace(40, seed=5).splitlines()
    for place in (0, 17, 40):
        text = b"\n".join([*lines[:place], wrong, *lines[place:], b""])
        with pytest.raises(InvalidArgument, match=rf"BytesIO, line {place + 1}: .* is no record of lackey's"):
            import_lackey(io.BytesIO(text))


@pytest.mark.parametrize("own", [b"", b"==7== said\n"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (b" S 05000000,0", "0 bytes at 0x5000000"),
        (b" S 05000000,4097", "4097 bytes at 0x5000000: a record is of 1 to 4096 bytes"),
        (b" S 7fffffffffff,2", "2 bytes at 0x7fffffffffff: a record is of 1 to 4096 bytes below 0x800000000000"),
        (b" S ffffffffffffffff,1", "1 bytes at 0xffffffffffffffff"),
        (b" S ffffffffffffffff,8", "8 bytes at 0xffffffffffffffff"),
    ],
)
def test_import__a_record_that_cannot_be(own: bytes, wrong: bytes, message: str) -> None:
    """Its line and what it says."""
    text = own + trace(40, seed=5) + own + wrong + b"\n"
    line = 41 + 2 * bool(own)
    with pytest.raises(InvalidArgument, match=f"BytesIO, line {line}: {message}"):
        import_lackey(io.BytesIO(text))


def test_import__line_numbers_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of earlier blocks count."""
    monkeypatch.setattr(lackey, "_BLOCK", 64)
    with pytest.raises(InvalidArgument, match="line 501: 'nothing' is no record"):
        import_lackey(io.BytesIO(trace(500, seed=5) + b"nothing\n"))


def test_import__two_processes_in_one_trace() -> None:
    """A child's accesses are to other memory at the same addresses."""
    with pytest.raises(InvalidArgument, match="line 20: the trace is of two processes, '26002' and '26003'"):
        import_lackey(io.BytesIO(REAL + b"I  04000000,3\n==26003== Exit code: 0\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "BytesIO has no records of lackey's; they are made with --trace-mem=yes"),
        (b"==7== Lackey, an example Valgrind tool\n==7== Exit code:       0\n", "has no records"),
        (b"I  04000000,3\n", "nothing is read or written in 1 windows"),
        (b"\0" * (3 << 20), "line 1 has no end: this is no trace of lackey's"),
    ],
)
def test_import__nothing_in_it(text: bytes, message: str) -> None:
    """No history is made of nothing."""
    with pytest.raises(InvalidArgument, match=message):
        import_lackey(io.BytesIO(text))


def test_import__no_such_file(tmp_path: Path) -> None:
    """As open says it."""
    with pytest.raises(FileNotFoundError):
        import_lackey(tmp_path / "none")


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"window_instructions": 0}, InvalidArgument),
        ({"window_accesses": -1}, InvalidArgument),
        ({"window_instructions": 1, "window_accesses": 1}, InvalidArgument),
        ({"n_windows": 0}, InvalidArgument),
        ({"window_instructions": 1.0}, TypeError),
        ({"window_accesses": True}, TypeError),
        ({"n_windows": 2.0}, TypeError),
        ({"fetches": 1}, TypeError),
        ({"allow_cut": None}, TypeError),
        ({"name": b"x"}, TypeError),
        ({"progress": 3}, TypeError),
        ({"source": 3}, TypeError),
        ({"source": io.StringIO("I  04000000,3\n")}, TypeError),
    ],
)
def test_import__bad_arguments(more: dict[str, Any], error: type[Exception]) -> None:
    """Refused before anything is read."""
    source = io.BytesIO(REAL)
    with pytest.raises(error):
        import_lackey(**{"source": source, **more})
    assert source.tell() == 0


class Interrupted(io.BytesIO):
    """Somebody presses Ctrl-C while it is read."""

    def readinto(self, buffer: Any) -> int:
        """Nothing."""
        raise KeyboardInterrupt


def test_import__interrupted() -> None:
    """The caller's file stays the caller's."""
    source = Interrupted(REAL)
    with pytest.raises(KeyboardInterrupt):
        import_lackey(source)
    assert not source.closed


@pytest.fixture(autouse=True)
def _numbers_stay_numbers() -> Iterator[None]:
    """Overflows in numpy are errors."""
    with np.errstate(all="raise"):
        yield
