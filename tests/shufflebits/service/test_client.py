"""What goes wrong between client and server, and images that are none."""

import http.server
import socket
import threading

import pytest

from shufflebits.service.client import Client
from tests.shufflebits.service.tiny_server import IMAGES, PNG


class Fake(http.server.BaseHTTPRequestHandler):
    """Answers with the next (status, headers, content)."""

    answers: list = []
    bodies: list = []

    def do_GET(self):
        Fake.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        status, headers, content = Fake.answers.pop(0)
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def fake_url():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


DESCRIPTION = (
    b'{"dimensions": 2, "max_images": 9, "max_bytes": 99999, "max_pixels": 999, "cipher": "xchacha20-poly1305"}'
)
INFORMATION, SEALED_SIZE = (200, {}, DESCRIPTION), 24 + 8 + 16


@pytest.mark.parametrize(
    "answers, message",
    [
        ([(200, {}, b"<html>")], "answers, but is no server of features; check the URL"),
        ([(200, {}, b"[]")], "answers, but is no server of features"),
        ([(200, {}, b'{"dimensions": "x"}')], "answers, but is no server of features"),
        ([INFORMATION, *[(503, {}, b"busy")] * 9], "refuses with status 503: it does not say why"),
        ([INFORMATION, (422, {}, b'{"detail": "One sentence."}')], "refuses with status 422: One sentence.$"),
        ([INFORMATION, (307, {"Location": "/embed"}, b"")], "refuses with status 307: it does not say why"),
        ([INFORMATION, (200, {}, bytes(SEALED_SIZE))], "^Of the answer of http://127.* or it was altered"),
        ([INFORMATION, (200, {}, bytes(7))], "^Of the answer of http://127.* no whole sealed message"),
        (
            [INFORMATION, (200, {"Content-Length": 9}, bytes(8))],
            r"cannot be reached, or broke off \(ChunkedEncodingError\); is the server running",
        ),
    ],
)
def test_bad_answers(fake_url, answers, message):
    Fake.answers = list(answers)
    with pytest.raises(ValueError, match=message):
        Client(fake_url, timeout=5).embed([PNG])
    assert Fake.answers == []


def test_words_of_another_size(fake_url):
    Fake.answers = [(200, {}, DESCRIPTION.replace(b"xchacha20-poly1305", b"shufflebits")), (200, {}, bytes(7))]
    with pytest.raises(ValueError, match="must answer 1 × 2 words, got 7 bytes"):
        Client(fake_url, "shufflebits").embed([PNG])


def test_requests_are_sent_again_to_busy_servers(fake_url, monkeypatch):
    """Eight times, with the same form, after as many seconds as the server says."""
    waits, bodies = [], []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    busy = [(503, {"Retry-After": str(n)}, b"") for n in range(1, 9)]
    Fake.answers, Fake.bodies = [INFORMATION, *busy, (422, {}, b'{"detail": "Done."}')], bodies
    with pytest.raises(ValueError, match="refuses with status 422: Done"):
        Client(fake_url, timeout=5).embed([PNG])
    assert waits == [1, 2, 3, 4, 5, 6, 7, 8] and len(set(bodies[1:])) == 1 and len(bodies) == 10


def test_silent_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
        with pytest.raises(ValueError, match=r"broke off \(ReadTimeout\); is the server running"):
            client.embed([PNG])


@pytest.mark.parametrize(
    "images, message",
    [
        ("a.png", "must be a list of paths, bytes or arrays, got a single one"),
        (PNG, "got a single one; put it into a list"),
        (["/nowhere/a.png"], r"The image /nowhere/a.png cannot be read \(No such file or directory\)"),
        (IMAGES[0], r"An image array must be \(H, W, 3\) uint8, RGB, got \(8, 3\) uint8"),
        (IMAGES[:1].astype("float32"), r"got \(16, 8, 3\) float32"),
        (IMAGES[:1, :0], r"got \(0, 8, 3\) uint8"),
    ],
)
def test_bad_images(fake_url, images, message):
    Fake.answers = [INFORMATION]
    with pytest.raises(ValueError, match=message):
        Client(fake_url).embed(images)


def test_bad_urls():
    with pytest.raises(ValueError, match=r"^nowhere cannot be reached, or broke off \(MissingSchema\)"):
        Client("nowhere").embed([PNG])
