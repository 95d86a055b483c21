"""uvicorn with what it lacks: deadlines for TLS handshakes and headers, a bound on connections, and errors in JSON."""

import asyncio
import contextlib
import functools
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.service.admission import Limits

_MOST = 512  # connections at a time; an operating system gives a process some 1,000 files
_ENDING = 5  # seconds that requests have to end when the server does
_NO_HTTP = "This is no HTTP request that the server understands."


class Connection(H11Protocol):
    """Ends where headers, the next request, or the reading of an answer take too long.

    Where there are too many connections, the one that has waited longest for headers makes room.
    """

    idle_seconds = Limits.idle_seconds
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_headers()
        if len(self.connections) > _MOST:
            connections: set[Any] = set(self.connections)  # all are of this class
            opened = [each for each in connections if not each.transport.is_closing()]
            if len(opened) > _MOST:
                waiting = [each for each in opened if each._is_waiting()]
                min(waiting, key=lambda each: each._timer.when()).transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def _await_headers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.idle_seconds, self._end)

    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _end(self) -> None:
        if self._is_waiting():
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        body = json.dumps({"detail": _NO_HTTP}).encode()
        with contextlib.suppress(h11.LocalProtocolError):  # in the middle of an answer
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()


class Server(uvicorn.Server):
    """Closes connections whose TLS handshake takes too long too, for which asyncio takes a minute."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.is_ssl:
            loop: Any = asyncio.get_running_loop()  # uvicorn hands no such option on
            seconds = self.config.http.idle_seconds  # type: ignore[union-attr]
            loop.create_server = functools.partial(loop.create_server, ssl_handshake_timeout=seconds)
        await super().startup(sockets)


def settings(app: Any, limits: Limits, **more: Any) -> uvicorn.Config:
    """Of a `Server` for an ASGI application."""
    connection = type("Connection", (Connection,), {"idle_seconds": limits.idle_seconds})
    return uvicorn.Config(
        app,
        http=connection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=2**14,
        timeout_graceful_shutdown=_ENDING,
        **more,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to.

    Raises:
        ValueError: the address is no address of this machine, or in use.
    """
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


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Where a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.contextmanager
def serving_app(app: Any, limits: Limits) -> Iterator[str]:
    """An ASGI application in a thread of this process, on a free port of the loopback interface; yields its URL."""
    listener = listen("127.0.0.1", 0)
    server = Server(settings(app, limits, log_config=None))  # logging is the process's
    thread = threading.Thread(target=server.run, args=([listener],), name="server", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("The server did not start; the log says why.")
            time.sleep(0.01)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
