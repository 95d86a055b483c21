"""The programs of server and client, models of others behind the server, and what goes wrong on the way."""

import http.server
import re
import signal
import socket
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from shufflebits.cipher.nonces import NonceSequence
from shufflebits.service.client import Client
from shufflebits.service.client import main as client_program
from shufflebits.service.encrypted_model import EncryptedEmbedder, load_saved_model
from shufflebits.service.server import main as server_program
from tests.common.shuffle_oracle import REVERSAL
from tests.helpers import run_snippet, start_python
from tests.shufflebits.service.tiny_server import DIMENSIONS, IMAGES, PNG, build_embedder


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "saved_model"
    build_embedder().export(folder, verbose=False)
    return folder


@pytest.mark.tensorflow
def test_programs_from_start_to_end(saved_model, tmp_path, monkeypatch, capsys):
    """Two servers; the client's file of features; a port that is in use; both signals that end a server."""
    servers = [start_python("-m", "shufflebits.service.server", str(saved_model), "--port", "0") for _ in range(2)]
    try:
        url, port = [re.search(r"http://127.0.0.1:(\d+)", server.stdout.readline()) for server in servers][0].group(
            0, 1
        )
        monkeypatch.setattr(sys, "argv", ["server", str(saved_model), "--port", port])
        with pytest.raises(ValueError) as error:
            server_program()
        assert str(error.value) == (
            f"The server cannot listen on 127.0.0.1, port {port} (Address already in use); pass another --port."
        )
        paths = [str(tmp_path / f"{number}.png") for number in range(3)]
        for path in paths:
            Path(path).write_bytes(PNG)
        monkeypatch.setattr(sys, "argv", ["client", url, *paths, "--out", str(tmp_path / "features.npz")])
        client_program()
        assert capsys.readouterr().out == f"3 × {DIMENSIONS} features: {tmp_path / 'features.npz'}\n"
        monkeypatch.chdir(tmp_path)
        for name in ("one.jpg", "two.png"):
            Path(name).write_bytes(PNG)
        names = {"nonces": NonceSequence.create("key.json"), "key": np.asarray(REVERSAL)}
        features, by_chacha20, words = run_snippet("shufflebits", 1, {"http://127.0.0.1:8000": url}, **names)["shown"]
    finally:
        for server, number in zip(servers, (signal.SIGINT, signal.SIGTERM)):
            server.send_signal(number)
        ends = [(*server.communicate(timeout=60), server.returncode) for server in servers]
    with np.load(tmp_path / "features.npz") as file:
        assert file["paths"].tolist() == paths and file["features"].dtype == np.float32
        expected = build_embedder().predict_on_batch(IMAGES[:1])
        np.testing.assert_allclose(file["features"], expected[[0] * 3], rtol=1e-5)
    np.testing.assert_allclose(features, expected[[0] * 2], rtol=1e-5)
    np.testing.assert_allclose(by_chacha20, expected, rtol=1e-5)
    assert words.dtype == np.uint32 and (words.view("float32") != by_chacha20).any()
    assert [status for *_, status in ends] == [0, 0]
    assert ['"POST /embed HTTP/1.1" 200' in out for out, *_ in ends] == [True, False]
    for _, error, _ in ends:
        assert "Finished server process" in error and "Traceback" not in error


def test_bad_addresses(monkeypatch):
    """A port that is none, and one that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port, reason in (
            (70000, "bind... port must be 0-65535."),
            (taken.getsockname()[1], "Address already in use"),
        ):
            monkeypatch.setattr(sys, "argv", ["server", "--port", str(port)])
            sentence = rf"cannot listen on 127.0.0.1, port {port} \({reason}.?\); pass another --port"
            with pytest.raises(ValueError, match=sentence):
                server_program()


@pytest.mark.tensorflow
def test_saved_model_of_several_endpoints(tmp_path):
    """As flipreid.export writes them, and as another framework may: float32, of any size, a named output."""
    archive, model = keras.export.ExportArchive(), build_embedder()
    archive.track(model)
    signature = [keras.InputSpec(shape=(None, 16, 8, 3), dtype="uint8")]
    archive.add_endpoint("single", lambda x: model(x), signature)
    archive.add_endpoint("double", lambda x: 2 * model(x), signature)
    free = [keras.InputSpec(shape=(None, None, None, 3), dtype="float32")]
    archive.add_endpoint("free", lambda x: {"features": keras.ops.max(x, (1, 2)), "more": x}, free)
    archive.add_endpoint("named", lambda x: {"features": keras.ops.max(x, (1, 2))}, free)
    archive.add_endpoint("pair", lambda x, y: model(x), signature * 2)
    archive.write_out(tmp_path / "model", verbose=False)
    single, key = model.predict_on_batch(IMAGES[:3]), np.arange(32)
    for name, expected in (("single", single), ("double", 2 * single)):
        words = EncryptedEmbedder(load_saved_model(tmp_path / "model", name)).shufflebits(IMAGES[:3], key)
        np.testing.assert_allclose(words.view(np.float32), expected, rtol=1e-5)
    words = EncryptedEmbedder(load_saved_model(tmp_path / "model", "named", (16, 8))).shufflebits(IMAGES[:3], key)
    np.testing.assert_array_equal(words.view(np.float32), IMAGES[:3].max((1, 2)))
    with pytest.raises(ValueError, match="takes images of any size; pass --image-size HEIGHT WIDTH"):
        load_saved_model(tmp_path / "model", "named")
    with pytest.raises(
        ValueError, match="'pair' of .* must take one batch of images, got .* choose another --endpoint"
    ):
        load_saved_model(tmp_path / "model", "pair")
    with pytest.raises(ValueError, match=r"return one vector \(B, D\), got .*None, 16, 8, 3"):
        EncryptedEmbedder(load_saved_model(tmp_path / "model", "free", (16, 8)))
    with pytest.raises(
        ValueError, match="model cannot be served: The endpoint 'other' is neither .*'single', 'double'"
    ):
        load_saved_model(tmp_path / "model", "other")


class Fake(http.server.BaseHTTPRequestHandler):
    """Answers with the next (status, headers, content)."""

    answers: list = []

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
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


INFORMATION = 200, {}, b'{"dimensions": 2, "max_images": 9, "max_bytes": 99999}'
SHAPE = {"X-Rows": 1, "X-Dimensions": 2}


@pytest.mark.parametrize(
    "answers, message",
    [
        ([(200, {}, b"<html>")], "answers, but is no server of features; check the URL"),
        ([(200, {}, b"[]")], "answers, but is no server of features"),
        ([(200, {}, b'{"dimensions": "x"}')], "answers, but is no server of features"),
        ([INFORMATION, (503, {}, b"busy")], "refuses with status 503: it does not say why"),
        ([INFORMATION, (422, {}, b'{"detail": "One sentence."}')], "refuses with status 422: One sentence.$"),
        ([INFORMATION, (200, SHAPE, bytes(7))], "must answer 1 × 2 words, got 1 × 2 in 7 bytes"),
        (
            [INFORMATION, (200, {"X-Rows": 2, "X-Dimensions": 2}, bytes(16))],
            "must answer 1 × 2 words, got 2 × 2 in 16 b",
        ),
        ([INFORMATION, (200, {}, bytes(8))], "must answer 1 × 2 words, got None × None in 8 bytes"),
        (
            [INFORMATION, (200, {**SHAPE, "Content-Length": 9}, bytes(8))],
            r"cannot be reached, or broke off \(ChunkedEncodingError\); is the server running",
        ),
    ],
)
def test_bad_answers(fake_url, answers, message):
    Fake.answers = list(answers)
    with pytest.raises(ValueError, match=message):
        Client(fake_url, timeout=5).embed([PNG])


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
