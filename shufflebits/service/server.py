"""A server that returns the features of images, and only encrypted ones (section 2.4.3.4).

python -m PROJECT.service.server [RUN] [--host 127.0.0.1] [--port 8000]

    GET  /       JSON: height and width that images are resized to, dimensions of the features, limits
    POST /keys   JSON: key_id and key, a key of ShuffleBits that one request within its lifetime can name
    POST /embed  a form, multipart/form-data:
                     images   one or more JPEG or PNG files
                     cipher   shufflebits, the default, or chacha20
                     key      shufflebits: JSON list of 32 positions; chacha20: 64 hex digits
                     key_id   shufflebits: in place of key
                     nonce    chacha20: 24 hex digits, never twice under one key; see `cipher.nonces`
                 -> the words (N, D), little-endian uint32, row after row; N and D in the headers X-Rows, X-Dimensions

The answer to a bad request says what is wrong in one sentence, JSON {"detail": ...}, with a status of 400 to 499.

Keys come in and words go out over plain HTTP: TLS in front of this server is the deployer's task, and without it
whoever listens has key and features. So are limits on who may ask, and how often. ShuffleBits hides features from those
who store words without their key, but it is no cipher: a few vectors under one key give it away, a fresh key each
leaves most of their content to see, and altered words go unnoticed; see `common.layers.ShuffleBits`. Neither cipher
keeps a user from attacking the model with images of his own and their features.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tyro
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from common.experiments.config import run_command
from common.experiments.run_folder import newest_run

from ..attacks.victim import restore_embedder
from ..cipher.keys import OneTimeKeys
from .encrypted_model import EncryptedEmbedder, load_saved_model
from .requests import Query, decode, read_form, refused

_PRIVATE = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Limits:
    """How much a server takes."""

    max_images: int = 256  # in a request
    max_bytes: int = 2**26  # of a request's body
    max_keys: int = 10_000  # one-time keys at a time
    key_lifetime: float = 60.0  # seconds in which a one-time key can be used

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above zero, got {value}.")


def create_app(
    embedder: keras.Model | EncryptedEmbedder,
    limits: Limits = Limits(),  # noqa: B008  it cannot be changed
    clock: Callable[[], float] = time.monotonic,
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        embedder: images (B, H, W, 3) uint8, RGB -> features (B, D) float32; or what one was made into before.
        limits: of requests and keys.
        clock: seconds, by which one-time keys expire.

    Raises:
        ValueError: the embedder takes or returns something else.
    """
    encrypted = embedder if isinstance(embedder, EncryptedEmbedder) else EncryptedEmbedder(embedder)
    server = _Server(encrypted, limits, clock)
    return Starlette(
        routes=[
            Route("/", server.describe),
            Route("/keys", server.issue_key, methods=["POST"]),
            Route("/embed", server.embed, methods=["POST"]),
        ],
        middleware=[Middleware(_WithoutQuery)],
        exception_handlers={HTTPException: _refusal, ClientDisconnect: _gone, Exception: _failure},
    )


class _Server:
    def __init__(self, embedder: EncryptedEmbedder, limits: Limits, clock: Callable[[], float]) -> None:
        self._embedder, self._limits = embedder, limits
        self._keys = OneTimeKeys(limits.key_lifetime, clock, limits.max_keys)
        # However many requests wait, no more large images are in memory at a time than there are processors.
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="embed")

    async def describe(self, request: Request) -> Response:
        height, width = self._embedder.image_size
        sizes = {"height": height, "width": width, "dimensions": self._embedder.dimensions}
        return JSONResponse({**sizes, **asdict(self._limits)})

    async def issue_key(self, request: Request) -> Response:
        try:
            identifier, key = self._keys.issue()
        except ValueError as error:
            raise refused(str(error), 429) from None
        return JSONResponse({"key_id": identifier, "key": np.asarray(key).tolist()}, headers=_PRIVATE)

    async def embed(self, request: Request) -> Response:
        query = await read_form(request, self._limits.max_images, self._limits.max_bytes)
        words = await asyncio.get_running_loop().run_in_executor(self._pool, self._words, query)
        rows, dimensions = words.shape
        return Response(
            words.astype("<u4", copy=False).tobytes(),
            media_type="application/octet-stream",
            headers={**_PRIVATE, "X-Rows": str(rows), "X-Dimensions": str(dimensions)},
        )

    def _words(self, query: Query) -> np.ndarray:
        """(N, D) uint32."""
        images = decode(query.images, self._embedder.image_size)
        if query.cipher == "chacha20":
            return self._embedder.chacha20(images, query.key, query.nonce)
        if query.key_id is None:
            return self._embedder.shufflebits(images, query.key)
        try:  # only now, so that a request with a damaged image does not use the key up
            key = self._keys.take(query.key_id)
        except ValueError as error:
            raise refused(str(error)) from None
        return self._embedder.shufflebits(images, np.asarray(key))


class _WithoutQuery:
    """Forgets the query string: a key that someone puts there by mistake must not appear in the access log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["query_string"] = b""
        await self._app(scope, receive, send)


async def _refusal(request: Request, error: HTTPException) -> Response:
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # to nobody


async def _failure(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "The server failed; its log says where."}, 500)


@contextmanager
def serving(
    embedder: keras.Model | EncryptedEmbedder,
    limits: Limits = Limits(),  # noqa: B008
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """A server in a thread of this process, on a free port of the loopback interface; yields its URL.

    Args are those of `create_app`.
    """
    app = create_app(embedder, limits, clock)
    listener = _listen("127.0.0.1", 0)
    server = uvicorn.Server(_settings(app, log_config=None))  # logging is the process's own
    thread = threading.Thread(target=server.run, args=([listener],), name="server", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("The server did not start; the log says why.")
            time.sleep(0.01)
        yield _url(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _settings(app: ASGIApp, **settings: Any) -> uvicorn.Config:
    return uvicorn.Config(app, ws="none", lifespan="off", timeout_graceful_shutdown=10, **settings)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once only where the protocol is named; otherwise each answer waits 40 ms for its head to arrive.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"The server cannot listen on {host}, port {port} ({reason}); pass another --port.") from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True)
class Arguments:
    """Serves encrypted features of images over HTTP."""

    run: tyro.conf.Positional[Path | None] = None  # run folder, or that of any SavedModel; default: the newest run
    runs_dir: Path = Path("runs")  # where to look for it
    endpoint: str = "serving_default"  # of a SavedModel: the signature to serve
    image_size: tuple[int, int] | None = None  # of a SavedModel: height and width; default: as the signature says
    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0: all, and then behind TLS only
    port: int = 8000  # 0: a free one
    limits: tyro.conf.OmitArgPrefixes[Limits] = Limits()


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    listener = _listen(arguments.host, arguments.port)  # before the model is loaded, which takes a while
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn catches them, shuts down, and raises them anew
        signal.signal(number, lambda *_: sys.exit(0))
    project = __package__.partition(".")[0]
    run = arguments.run or newest_run(arguments.runs_dir, project)
    if (run / "saved_model.pb").is_file():
        embedder = load_saved_model(run, arguments.endpoint, arguments.image_size)
    else:
        embedder = restore_embedder(run)
    app = create_app(embedder, arguments.limits)
    print(f"{project}: {run} answers on {_url(listener)}; Ctrl+C ends it.", flush=True)
    uvicorn.Server(_settings(app)).run([listener])


if __name__ == "__main__":
    run_command(main)
