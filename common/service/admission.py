"""What a server takes from all clients together, so that none of them keeps it from the others.

An upload that has stalled, or else the slowest one, makes room for who comes; where there is none, the answer says when
to try again.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SMALL_BODY = 2**20  # bytes; a quarter of all room is left to such bodies
_LEAST_COST = 2**17  # pixels; to embed an image takes as long as to decode so many, or longer
_SHORT_COST = 2**22  # pixels; requests of more have threads of their own, which others do not wait for
_PATIENCE = 1.0  # seconds from which on an upload can be ended for another one, or without a byte counts as stalled

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """How much a server takes."""

    max_images: int = 256  # in a request
    max_bytes: int = 2**24  # of a request's body
    max_pixels: int = 2**25  # of all images of a request
    all_requests: int = 256  # at a time
    all_bytes: int = 2**26  # of the bodies of all requests at a time
    all_pixels: int = 2**27  # of all images that wait at a time
    idle_seconds: float = 10.0  # in which some byte of headers or of a body must come
    upload_seconds: float = 60.0  # for a whole body

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above zero, got {value}.")


def busy() -> HTTPException:
    """What to raise so that the client comes again."""
    return HTTPException(503, "The server is busy; send the request again in a second.", {"Retry-After": "1"})


class _Upload:
    """A request whose body is awaited: what has come, and the deadline for more."""

    def __init__(self) -> None:
        self.size, self.last = 0, asyncio.get_running_loop().time()
        self.started, self.is_complete, self.is_evicted = self.last, False, False
        self.deadline: asyncio.Timeout | None = None


class Admission:
    """Middleware with the budgets for requests, bytes and seconds."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits, self._uploads = app, limits, set[_Upload]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if len(self._uploads) >= self._limits.all_requests and not self._evict():
            error = busy()
            return await JSONResponse({"detail": error.detail}, 503, error.headers)(scope, receive, send)
        upload = _Upload()
        self._uploads.add(upload)
        try:
            await self._app(scope, lambda: self._receive(upload, receive), send)
        finally:
            self._uploads.discard(upload)

    async def _receive(self, upload: _Upload, receive: Receive) -> Message:
        if upload.is_complete:
            return await receive()  # that the client is gone
        limits = self._limits
        try:
            end = min(upload.last + limits.idle_seconds, upload.started + limits.upload_seconds)
            async with asyncio.timeout_at(end) as upload.deadline:
                message = await receive()
        except TimeoutError:
            if not upload.is_evicted:
                raise HTTPException(408, "The body did not come in time; send it faster, or fewer images.") from None
        finally:
            upload.deadline = None
        if upload.is_evicted:  # also where bytes came at the same moment
            raise busy()
        upload.last, upload.is_complete = asyncio.get_running_loop().time(), not message.get("more_body", False)
        upload.size += len(message.get("body", b""))
        if upload.size > limits.max_bytes:
            raise HTTPException(413, f"A request may have {limits.max_bytes} bytes, got more; send fewer images.")
        room = limits.all_bytes if upload.size <= _SMALL_BODY else limits.all_bytes * 3 // 4
        while sum(each.size for each in self._uploads) > room:
            if not self._evict():
                raise busy()
        return message

    def _evict(self) -> bool:
        """Ends an upload that has stalled, or the slowest one; whether there is one."""
        now = asyncio.get_running_loop().time()
        waiting = [each for each in self._uploads if each.deadline and now - each.started > _PATIENCE]
        if not waiting:
            return False
        upload = min(waiting, key=lambda each: (now - each.last < _PATIENCE, each.size / (now - each.started)))
        upload.is_evicted = True
        if upload.deadline is not None:
            upload.deadline.reschedule(now)
        self._uploads.discard(upload)
        return True


class _Lane:
    """Threads, and the pixels of the requests that wait for them or are in them."""

    def __init__(self, threads: int, room: int) -> None:
        self.pool, self.room, self.cost = ThreadPoolExecutor(threads), room, 0


class Work:
    """Runs requests in threads, short ones apart from long ones, for as long as their clients wait."""

    def __init__(self, limits: Limits) -> None:
        # However many requests wait, no more large images are in memory at a time than there are threads.
        processors = len(os.sched_getaffinity(0))
        self._short = _Lane(processors, limits.all_pixels // 2)
        self._long = _Lane(max(processors - 1, 1), limits.all_pixels)

    async def run(self, request: Request, pixels: list[int], work: Callable[[Callable[[], None]], Result]) -> Result:
        """What `work(go_on)` returns; `go_on()` raises once nobody waits for it.

        Raises:
            ClientDisconnect: the client is gone.
            HTTPException: too much waits.
        """
        cost = sum(max(each, _LEAST_COST) for each in pixels)
        lane = self._short if cost <= _SHORT_COST else self._long
        if lane.cost and lane.cost + cost > lane.room:
            raise busy()
        is_over = threading.Event()

        def go_on() -> None:
            if is_over.is_set():
                raise ClientDisconnect

        lane.cost += cost
        done = asyncio.get_running_loop().run_in_executor(lane.pool, work, go_on)
        gone = asyncio.ensure_future(_disconnect(request))
        either: set[asyncio.Future] = {done, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                raise ClientDisconnect
            return done.result()
        finally:
            is_over.set()
            lane.cost -= cost
            for future in (done, gone):
                future.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
