"""Bytes of many pages copied out and in, beside ``np.copyto`` of as many."""

import inspect
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.figures import Figure, Peer, limit
from benchmarks.guest import VALUE, Guest, same
from npt import PAGE_SIZE, Prot, PteFormat, VmPages
from npt._types import U8Array

SIZES = ("1GiB",)
_BYTE = VALUE & 0xFF
_CHUNK = 16 << 20  # written at once


@pytest.fixture
def guest(format: PteFormat, size: int, seed: int) -> Iterator[Guest]:
    """A resident guest with bytes, no two pages alike."""
    made = Guest(format, size, backed=True, seed=seed)
    client = made.space.client()
    for start in range(0, size, _CHUNK):
        data = np.full((min(_CHUNK, size - start) // PAGE_SIZE, PAGE_SIZE // 8), VALUE, np.uint64)
        data[:, 0] = start + np.arange(len(data)) * PAGE_SIZE
        client.write(start, data)
    client.destroy()
    yield made
    made.close()


@pytest.fixture(params=[256, 16384], ids=["256-pages", "16384-pages"])
def pages(request: pytest.FixtureRequest, guest: Guest) -> Iterator[VmPages]:
    """Scattered over the guest, held."""
    client = guest.space.client()
    with client.hold_many(guest.gpas(request.param), Prot.RW) as held:
        yield held
    client.destroy()


def _copyto(n_bytes: int, at_least: float | None = None) -> Peer:
    source, target = np.full(n_bytes, _BYTE, np.uint8), np.full(n_bytes, 1, np.uint8)
    return limit("np.copyto", lambda: np.copyto(target, source), at_least=at_least, check=lambda _: same(target, source))


def _first_words(pages: VmPages) -> U8Array:
    return pages.gpas[:, None].view(np.uint8)


def bench_gather(figure: Figure, pages: VmPages) -> None:
    n = len(pages)
    out = np.full((n, PAGE_SIZE), 1, np.uint8)
    more = {"out": out} if "out" in inspect.signature(VmPages.gather).parameters else {}

    def check(found: U8Array) -> None:
        same(found[:, :8], _first_words(pages))

    figure.take(
        f"gather, {n} pages{', out=' if more else ''}", lambda: pages.gather(**more), _copyto(n * PAGE_SIZE, 0.5),
        n=n, check=check,
    )  # fmt: skip


def bench_scatter(figure: Figure, pages: VmPages) -> None:
    n = len(pages)
    data = np.full((n, PAGE_SIZE), _BYTE, np.uint8)
    data[:, :8] = _first_words(pages)

    def check(_: None) -> None:
        same(pages.gather(), data)

    figure.take(f"scatter, {n} pages", lambda: pages.scatter(data), _copyto(n * PAGE_SIZE, 0.5), n=n, check=check)


def bench_read(figure: Figure, guest: Guest) -> None:
    client, n = guest.space.client(), guest.size // 16

    def check(found: bytes) -> None:
        same(np.frombuffer(found, np.uint64)[:: PAGE_SIZE // 8], np.arange(0, n, PAGE_SIZE))

    figure.take("client.read", lambda: client.read(0, n), _copyto(n), n=n // PAGE_SIZE, check=check)
    client.destroy()


def bench_write(figure: Figure, guest: Guest) -> None:
    client, data = guest.space.client(), np.full(guest.size // 16, _BYTE, np.uint8)

    def check(_: None) -> None:
        same(np.frombuffer(client.read(0, data.size), np.uint8), data)

    figure.take("client.write", lambda: client.write(0, data), _copyto(data.size), n=data.size // PAGE_SIZE, check=check)
    client.destroy()
