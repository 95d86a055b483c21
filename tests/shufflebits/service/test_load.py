"""Clients that mean harm, on the loopback interface: meanwhile the others are answered, and memory stays bounded.

Every attack is the largest that the limits let through, or one of those that once stopped the server.
"""

import asyncio
import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from common.service import admission, connection
from common.service.admission import Limits, Work
from shufflebits.service.client import Client
from shufflebits.service.encrypted_model import EncryptedEmbedder
from shufflebits.service.server import serving
from tests.conftest import _resident_mib as resident_mib
from tests.shufflebits.service.tiny_server import IMAGE, KEY, PNG, black, build_embedder, form, post, refusal

MOST_MIB, MOST_SECONDS = 300, 1.0


@pytest.fixture(scope="module")
def embedder():
    encrypted = EncryptedEmbedder(build_embedder())
    with serving(encrypted) as url:  # compiles the graph
        assert post(url, IMAGE, KEY).status_code == 200
    return encrypted


@contextlib.contextmanager
def others_are_served(url, requests_at_least=30):
    """Asks for one image again and again while the block runs: all are answered, 99 % within a second."""
    times, statuses, peaks, is_over = [], set(), [], threading.Event()
    before = resident_mib()

    def ask():
        while not is_over.is_set() or len(times) < requests_at_least:
            start = time.monotonic()
            statuses.add(post(url, IMAGE, KEY).status_code)
            times.append(time.monotonic() - start)

    def watch():
        while not is_over.wait(0.02):
            peaks.append(resident_mib())

    threads = [threading.Thread(target=each) for each in (ask, watch)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert statuses == {200} and np.percentile(times, 99) < MOST_SECONDS
    assert max(peaks) - before < MOST_MIB


def connected(url, *contents):
    """Sockets that have sent something and wait."""
    host, port = url.removeprefix("http://").split(":")
    sockets = []
    for content in contents:
        sockets.append(socket.create_connection((host, int(port))))
        sockets[-1].settimeout(10)
        sockets[-1].sendall(content)
    return sockets


def raw(url, *parts):
    """The bytes of a request."""
    whole = form(url, *parts)
    head = f"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: {whole.headers['Content-Type']}\r\n"
    return f"{head}Content-Length: {len(whole.body)}\r\n\r\n".encode() + whole.body


def unfinished(url, size):
    """A request without its last bytes."""
    return raw(url, ("images", bytes(size)), KEY)[:-10]


def embedder_of(encrypt):
    return SimpleNamespace(image_size=(16, 8), dimensions=24, cipher="xchacha20-poly1305", encrypt=encrypt)


def test_images_of_few_bytes_and_many_pixels(embedder):
    """24 of 5792 × 5792 in 100 kB are refused unseen; one is decoded, by a thread that others do not wait for."""
    bomb, answers, end = black(5792, 5792), [], time.monotonic() + 2.5
    assert len(bomb) < 5000 and Limits().max_pixels >= 5792**2

    def attack(url):
        while time.monotonic() < end:
            answers.append(post(url, ("images", bomb), KEY))

    with serving(embedder) as url, others_are_served(url):
        assert [refusal(post(url, *[("images", bomb)] * 24, KEY))[0] for _ in range(2)] == [413] * 2
        threads = [threading.Thread(target=attack, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {answer.status_code for answer in answers} == {200, 503}
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert refusal(busy)[1] == "The server is busy; send the request again in a second."
    assert busy.headers["Retry-After"] == "1"


def test_stalled_uploads(embedder):
    """16 of the largest bodies but for their last bytes: their memory is bounded, and they end."""
    with serving(embedder, Limits(idle_seconds=2.0)) as url, others_are_served(url):
        content = unfinished(url, Limits().max_bytes - 4096)
        sockets = []
        for _ in range(16):
            with contextlib.suppress(OSError):
                sockets += connected(url, content)
        ends = [each.recv(12) for each in sockets]
    assert set(ends) <= {b"HTTP/1.1 408", b"HTTP/1.1 503"} and len(ends) == 16 and b"HTTP/1.1 408" in ends


def test_half_sent_headers(embedder):
    """300 connections, and some that send a byte now and then."""
    with serving(embedder, Limits(idle_seconds=1.0)) as url, others_are_served(url):
        start = time.monotonic()
        sockets = connected(url, *[b"POST /embed HTTP/1.1\r\nX: y"] * 300)
        with contextlib.suppress(OSError):
            while time.monotonic() - start < 5:
                sockets[0].sendall(b"z")
                time.sleep(0.1)
        assert 1 <= time.monotonic() - start < 4
        for each in sockets[1:]:
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""


def test_answer_that_nobody_reads():
    """32 MiB, of which the client takes none: the server lets go of them."""
    with serving(embedder_of(lambda *_: bytes(2**25)), Limits(idle_seconds=1.0)) as url:
        (lazy,) = connected(url, raw(url, IMAGE, KEY))
        before = lazy.recv(12)
        time.sleep(2)
        size = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := lazy.recv(2**20):
                size += len(chunk)
    assert before == b"HTTP/1.1 200" and size < 2**24


def test_client_that_does_not_wait_for_its_answer():
    begun, ended = threading.Event(), threading.Event()

    def encrypt(images, key, go_on):
        begun.set()
        try:
            while True:
                go_on()
                time.sleep(0.01)
        finally:
            ended.set()

    with serving(embedder_of(encrypt)) as url:
        (gone,) = connected(url, raw(url, IMAGE, KEY))
        assert begun.wait(5) and not ended.wait(0.1)
        gone.close()
        assert ended.wait(5)


def test_more_connections_than_there_may_be(embedder, monkeypatch):
    """The one that has waited longest makes room."""
    monkeypatch.setattr(connection, "_MOST", 20)
    with serving(embedder) as url, requests.Session() as session:
        assert session.get(url, timeout=30).status_code == 200
        sockets = connected(url, *[b"GET"] * 30)
        assert [post(url, IMAGE, KEY).status_code for _ in range(3)] == [200] * 3
        sockets[-1].sendall(b" / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sockets[-1].recv(12) == b"HTTP/1.1 200"
        for each in sockets[:10]:
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""


@pytest.mark.parametrize("stalls", [True, False], ids=["stalled", "slow"])
def test_place_of_an_upload_is_given_away(stalls, embedder, monkeypatch):
    """The stalled one's, though more has come of it, or the slower one's; only after a second, in which one waits."""
    naps, sleep = [], time.sleep
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: naps.append(seconds) or sleep(seconds))
    with serving(embedder, Limits(all_requests=2)) as url:
        places = connected(url, *(unfinished(url, size)[: -size // 2] for size in (5000, 500)))
        is_over = threading.Event()

        def trickle():
            while not is_over.wait(0.1):
                for each in places[stalls:]:
                    with contextlib.suppress(OSError):
                        each.sendall(b"\0")

        thread = threading.Thread(target=trickle)
        thread.start()
        sleep(0.1)
        answer = post(url, IMAGE, KEY)
        assert refusal(answer)[0] == 503 and answer.headers["Retry-After"] == "1"
        assert Client(url).embed([PNG]).shape == (1, 24) and 1 in naps
        is_over.set()
        thread.join()
        ended, other = places if stalls else places[::-1]
        assert ended.recv(12) == b"HTTP/1.1 503"
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
        other.close()


def test_all_bodies_share_their_memory(embedder):
    """A quarter of it is left to small ones."""
    with serving(embedder, Limits(all_bytes=8 * 2**20)) as url:
        large = connected(url, *[unfinished(url, 2 * 2**20)] * 3)
        sleep_until(lambda: post(url, ("images", bytes(2 * 2**20)), KEY).status_code == 503)
        assert post(url, IMAGE, KEY).status_code == 200
        for each in large:
            each.close()


def sleep_until(condition):
    end = time.monotonic() + 60  # only a server that stands still takes that long
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class FakeRequest:
    """Its client is gone once `gone` is set."""

    def __init__(self):
        self.gone = asyncio.Event()

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}


def test_work_ends_with_its_client():
    """What has begun stops at its next step, what waits never begins, and what waits is bounded."""
    steps, begun = [], threading.Event()

    def endless(go_on):
        begun.set()
        while True:
            go_on()
            steps.append(1)
            time.sleep(0.01)

    async def run():
        work, request, other = Work(Limits(all_pixels=10**8)), FakeRequest(), FakeRequest()
        threads = work._long.pool._max_workers
        running = [asyncio.create_task(work.run(request, [5 * 10**6], endless)) for _ in range(threads)]
        await asyncio.to_thread(begun.wait)
        waiting = asyncio.create_task(
            work.run(other, [9 * 10**7 - 5 * 10**6 * threads], lambda go_on: steps.append("w"))
        )
        await asyncio.sleep(0.05)
        with pytest.raises(HTTPException, match="busy"):
            await work.run(FakeRequest(), [10**7 + 1], endless)
        assert await work.run(FakeRequest(), [10], lambda go_on: "short") == "short"
        other.gone.set()
        with pytest.raises(ClientDisconnect):
            await waiting
        request.gone.set()
        for each in running:
            with pytest.raises(ClientDisconnect):
                await each
        work._long.pool.shutdown()  # waits for the threads
        assert work._long.cost == work._short.cost == 0

    asyncio.run(run())
    assert steps and "w" not in steps


def test_short_requests_have_threads_of_their_own(monkeypatch):
    """32 small images are short, one of four million pixels is, and more is not."""
    monkeypatch.setattr(admission.os, "sched_getaffinity", lambda _: range(3))
    work, lanes = Work(Limits()), []
    assert (work._short.pool._max_workers, work._long.pool._max_workers) == (3, 2)

    def cost(go_on):
        lanes.append((work._short.cost, work._long.cost))

    async def run():
        for pixels in ([100] * 32, [2**22], [2**22 + 1], [100] * 33):
            await work.run(FakeRequest(), pixels, cost)

    asyncio.run(run())
    assert lanes == [(2**22, 0), (2**22, 0), (0, 2**22 + 1), (0, 33 * 2**17)]
