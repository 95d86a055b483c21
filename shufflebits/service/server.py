"""A server that returns the features of images, and only encrypted ones (section 2.4.3.4).

python -m PROJECT.service.server [RUN] [--host 127.0.0.1] [--port 8000] [--tls-cert FILE --tls-key FILE]

    GET  /       JSON: height and width that images are resized to, dimensions of the features, cipher, limits
    POST /embed  a form, multipart/form-data:
                     images   one or more JPEG or PNG files
                     key      64 hex digits, 32 random bytes, fresh for each request
                 -> the features (N, D), sealed by XChaCha20-Poly1305; see `cipher.sealed.open_features`

With `--cipher shufflebits` it is the publication's server: the key is a byte for each of 32 positions, and the answer
the words, little-endian uint32, which a few vectors suffice to break; see `common.layers.ShuffleBits`.

An error is JSON {"detail": one sentence}. A status of 503 comes with Retry-After: the server is busy, or ends.

Whoever sees a request has its images and its key, so beyond this machine the server takes TLS only, unless it has
`--insecure-http`. Features are encrypted for those who come by the answer, or what is stored of it. Who may ask is the
deployer's to decide: no cipher keeps a user from attacking the model with images of his own and their features.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.bit_permutation import checked_key
from common.experiments.command import importing
from common.experiments.config import run_command
from common.service.admission import Admission, Limits, Work
from common.service.connection import Server, listen, serving_app, settings, url_of
from common.service.images import check_sizes, decode, refused

from .images import read_form
from .protocol import SEALED, SHUFFLEBITS, CipherName, is_loopback

if TYPE_CHECKING:
    from .encrypted_model import EncryptedEmbedder

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1", "[::1]")
_OTHER_HOST = "The Host header names none of the server's hosts; start the server with --hosts NAME."


def create_app(
    embedder: "EncryptedEmbedder",
    limits: Limits = Limits(),  # noqa: B008  it cannot be changed
    hosts: Sequence[str] = _THIS_MACHINE,
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        embedder: the model with its cipher.
        limits: of requests.
        hosts: names and addresses that clients know the server by.
    """
    server = _Server(embedder, limits)
    app = Starlette(
        routes=[Route("/", server.describe), Route("/embed", server.embed, methods=["POST"])],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
            Middleware(Admission, limits=limits),
        ],
        exception_handlers={HTTPException: _refusal, ClientDisconnect: _gone, Exception: _failure},
    )
    app.router.redirect_slashes = False
    return _Outermost(app, ("/", "/embed"))


class _Server:
    def __init__(self, embedder: "EncryptedEmbedder", limits: Limits) -> None:
        self._embedder, self._limits, self._work = embedder, limits, Work(limits)

    async def describe(self, request: Request) -> Response:
        (height, width), limits = self._embedder.image_size, self._limits
        sizes = {"height": height, "width": width, "dimensions": self._embedder.dimensions}
        taken = {name: getattr(limits, name) for name in ("max_images", "max_bytes", "max_pixels")}
        return JSONResponse({**sizes, "cipher": self._embedder.cipher, **taken})

    async def embed(self, request: Request) -> Response:
        files, key = await read_form(request, self._limits.max_images)
        if self._embedder.cipher == SHUFFLEBITS:
            try:
                checked_key(list(key))
            except ValueError as error:
                raise refused(str(error)) from None
        pixels = await asyncio.to_thread(check_sizes, files, self._limits.max_pixels)

        def work(go_on: Callable[[], None]) -> bytes:
            return self._embedder.encrypt(decode(files, self._embedder.image_size, go_on), key, go_on)

        content = await self._work.run(request, pixels, work)
        return Response(content, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


class _Outermost:
    """Every error is JSON, the log has no path that is none of ours, and what the server's end cancels ends in peace.

    A key that someone puts into a URL by mistake must not appear in the log.
    """

    def __init__(self, app: ASGIApp, paths: Sequence[str]) -> None:
        self._app, self._paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope["query_string"] = b""
        if scope["path"] not in self._paths:
            scope["path"], scope["raw_path"] = "/other", b"/other"
        starts: list[Message] = []

        async def send_json(message: Message) -> None:
            if not starts:
                starts.append(message)
            if starts[0]["status"] != 400 or not _is_text(starts[0]):
                await send(message)
            elif message is starts[0]:  # of TrustedHostMiddleware
                await JSONResponse({"detail": _OTHER_HOST}, 400)(scope, receive, send)

        try:
            await self._app(scope, receive, send_json)
        except asyncio.CancelledError:
            if not starts:
                await JSONResponse({"detail": "The server ends."}, 503, {"Retry-After": "10"})(scope, receive, send)


def _is_text(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/plain")


async def _refusal(request: Request, error: HTTPException) -> Response:
    sentences = {404: "There are / and /embed only.", 405: "GET / and POST /embed are all there is."}
    return JSONResponse({"detail": sentences.get(error.status_code, error.detail)}, error.status_code, error.headers)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # to nobody


async def _failure(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "The server failed; its log says where."}, 500)


def serving(
    embedder: "EncryptedEmbedder",
    limits: Limits = Limits(),  # noqa: B008
) -> AbstractContextManager[str]:
    """A server in a thread of this process, on a free port of the loopback interface; yields its URL.

    Args are those of `create_app`.
    """
    return serving_app(create_app(embedder, limits), limits)


@dataclass(frozen=True)
class Arguments:
    """Serves encrypted features of images over HTTP."""

    run: tyro.conf.Positional[Path | None] = None  # run folder, or that of any SavedModel; default: the newest run
    runs_dir: Path = Path("runs")  # where to look for it
    endpoint: str = "serving_default"  # of a SavedModel: the signature to serve
    image_size: tuple[int, int] | None = None  # of a SavedModel: height and width; default: as the signature says
    cipher: CipherName = SEALED  # shufflebits: the publication's, which a few vectors break
    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0: all
    port: int = 8000  # 0: a free one
    hosts: tuple[str, ...] = ()  # names by which clients know the server, next to those of this machine and the address
    tls_cert: Path | None = None  # PEM file with the certificate and those that it depends on
    tls_key: Path | None = None  # PEM file with its key
    insecure_http: bool = False  # without TLS beyond this machine, where TLS ends in front of the server
    limits: tyro.conf.OmitArgPrefixes[Limits] = Limits()

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TLS takes a certificate and its key; pass both --tls-cert and --tls-key.")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise ValueError(f"There is no file {path}; pass the certificate and its key in PEM files.")
        if not (is_loopback(self.host) or self.tls_cert or self.insecure_http):
            raise ValueError(
                f"On {self.host} others could read images and keys; pass --tls-cert and --tls-key, or --insecure-http "
                "where TLS ends in front of this server."
            )


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    listener = listen(arguments.host, arguments.port)  # before the model is loaded, which takes a while
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn catches them, shuts down, and raises them anew
        signal.signal(number, lambda *_: sys.exit(0))
    with importing():
        from common.experiments.run_folder import newest_run

        from ..attacks.victim import restore_embedder
        from .encrypted_model import EncryptedEmbedder, load_saved_model

    project = __package__.partition(".")[0]
    run = arguments.run or newest_run(arguments.runs_dir, project)
    if (run / "saved_model.pb").is_file():
        embedder = load_saved_model(run, arguments.endpoint, arguments.image_size)
    else:
        embedder = restore_embedder(run)
    hosts = (*_THIS_MACHINE, arguments.host, *arguments.hosts)
    app = create_app(EncryptedEmbedder(embedder, arguments.cipher), arguments.limits, hosts)
    tls = {"ssl_certfile": arguments.tls_cert, "ssl_keyfile": arguments.tls_key}
    config = settings(app, arguments.limits, **tls)
    url = url_of(listener, "https" if arguments.tls_cert else "http")
    print(f"{project}: {run} answers on {url}; Ctrl+C ends it.", flush=True)
    Server(config).run([listener])


if __name__ == "__main__":
    run_command(main)
