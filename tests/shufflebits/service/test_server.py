"""The server and its client over real sockets: exact features, other programs that open them, no key in a log."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import keras
import numpy as np
import pytest
import requests
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from common.datasets.images import read_image
from common.service import connection
from common.service.admission import Limits
from shufflebits.cipher.sealed import open_features
from shufflebits.service.client import Client
from shufflebits.service.encrypted_model import EncryptedEmbedder
from shufflebits.service.protocol import is_loopback
from shufflebits.service.server import Arguments, serving
from tests.common.shuffle_oracle import random_keys, shuffled
from tests.shufflebits.cipher.test_sealed import plain_hchacha20
from tests.shufflebits.service.tiny_server import (  # fmt: skip
    DIMENSIONS,
    IMAGE,
    IMAGES,
    KEY,
    PNG,
    SECRET,
    SIZE,
    build_embedder,
    encoded,
    post,
    refusal,
)


@pytest.fixture(scope="module")
def embedder():
    return build_embedder()


@pytest.fixture(scope="module")
def encrypted(embedder):
    return EncryptedEmbedder(embedder)


@pytest.fixture(scope="module")
def shuffling(embedder):
    return EncryptedEmbedder(embedder, "shufflebits")


@pytest.fixture(scope="module")
def expected(embedder):
    """Features of each image, all by itself."""
    return np.concatenate([embedder.predict_on_batch(image[None]) for image in IMAGES])


@pytest.fixture(scope="module")
def url(encrypted):
    with serving(encrypted) as url:
        yield url


@pytest.fixture(scope="module")
def small(encrypted):
    """A server of narrow limits."""
    with serving(encrypted, Limits(max_images=40, max_bytes=100_000, max_pixels=10_000)) as url:
        yield url


def test_features_come_back(url, expected, tmp_path):
    """By all three kinds of images, over several pieces and padded ones."""
    client = Client(url)
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    for images in ([path, str(path)], [PNG, PNG], [IMAGES[0], IMAGES[0]]):
        np.testing.assert_allclose(client.embed(images), expected[[0, 0]], rtol=1e-5)
    for count in (1, 3, 64, 65, 150):
        features = client.embed(IMAGES[:count])
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, expected[:count], rtol=1e-5)
    assert client.embed([]).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("size", [(60, 80), (7, 30)])
def test_other_sizes_and_jpeg_are_read_as_in_training(url, embedder, size, tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(encoded(cv2.resize(IMAGES[0], size[::-1]), ".jpg"))
    expected = embedder.predict_on_batch(read_image(path, SIZE)[None])
    np.testing.assert_allclose(Client(url).embed([path]), expected, rtol=1e-5)


def test_answer_is_opened_by_cryptography_alone(url, expected):
    """With a subkey by the draft's definition; by another key, or as another shape, it does not open."""
    response = post(url, IMAGE, KEY)
    content = response.content
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Cache-Control"] == "no-store" and len(content) == 24 + 4 * DIMENSIONS + 16
    cipher = ChaCha20Poly1305(plain_hchacha20(SECRET, content[:16]))
    opened = cipher.decrypt(bytes(4) + content[16:24], content[24:], b"float32 features 1x24")
    np.testing.assert_allclose(np.frombuffer(opened, "<f4"), expected[0], rtol=1e-5)
    for key, shape in ((bytes(32), (1, 24)), (SECRET, (2, 12))):
        with pytest.raises(ValueError, match="no whole sealed message"):
            open_features(content, key, shape)
    again = post(url, IMAGE, KEY).content  # the same image and key: another nonce, and another key stream
    assert again[:24] != content[:24] and np.mean(np.frombuffer(again, "u1") == np.frombuffer(content, "u1")) < 0.1


def test_words_of_shufflebits_by_the_definition(shuffling, expected):
    key = random_keys(None, seed=3)
    with serving(shuffling) as url:
        content = post(url, IMAGE, ("key", bytes(key.tolist()).hex())).content
        features = Client(url, "shufflebits").embed(IMAGES[:70])
        bad = [refusal(post(url, IMAGE, ("key", bytes(bad).hex()))) for bad in ([31] * 32, range(1, 33))]
        with pytest.raises(ValueError, match="encrypts by shufflebits, not xchacha20-poly1305; pass the --cipher of"):
            Client(url).embed([PNG])
    np.testing.assert_allclose(features, expected[:70], rtol=1e-5)
    words = shuffled(np.frombuffer(content, "<u4"), np.argsort(key))
    np.testing.assert_allclose(words.view(np.float32), expected[0], rtol=1e-5)
    assert bad == [
        (422, "A key must hold each position once, got one twice; pass permutations of range(32)."),
        (422, "A key must hold positions from 0 to 31, got one outside; pass permutations of range(32)."),
    ]


def test_client_stays_within_the_limits(small, expected):
    """No more than three images of 30,000 bytes fit into 100,000, and two of 4,500 pixels into 10,000."""
    client = Client(small)
    large = [PNG + bytes(30_000 - len(PNG))] * 5
    wide = [encoded(np.zeros((50, 90, 3), "uint8"))] * 5
    sizes = [[len(files) for files in client._parts(images)] for images in (large, wide, [PNG] * 41, [b"?"] * 2)]
    assert sizes == [[3, 2], [2, 2, 1], [40, 1], [2]]
    np.testing.assert_allclose(client.embed(large), expected[[0] * 5], rtol=1e-5)


@pytest.mark.parametrize("cipher", ["xchacha20-poly1305", "shufflebits"])
def test_each_request_has_a_fresh_key(cipher, encrypted, shuffling, monkeypatch):
    """81 images are three requests."""
    keys, send = [], Client._post
    monkeypatch.setattr(Client, "_post", lambda self, files, key: keys.append(key) or send(self, files, key))
    with serving(shuffling if cipher == "shufflebits" else encrypted, Limits(max_images=40)) as url:
        Client(url, cipher).embed(IMAGES[:81])
    assert len(set(keys)) == 3 and {len(key) for key in keys} == {32}
    assert all(sorted(key) == [*range(32)] for key in keys) == (cipher == "shufflebits")


def test_hundred_clients_at_once(url, expected):
    """Each has its own image and its own key, and gets its own features."""
    start = threading.Barrier(100)

    def ask(number):
        client = Client(url)
        start.wait(30)
        return client.embed(IMAGES[number : number + 1])

    with ThreadPoolExecutor(100) as pool:
        features = np.concatenate(list(pool.map(ask, range(100))))
    np.testing.assert_allclose(features, expected[:100], rtol=1e-5)


def test_graph_is_compiled_for_few_sizes(embedder, encrypted, monkeypatch):
    """Batches are filled up to the next power of two, 64 at most; the counter goes on behind whole pieces."""
    sizes, predict = [], keras.Model.predict_on_batch

    def spy(self, x):
        sizes.append((len(x[0]), int(x[3])))
        return predict(self, x)

    monkeypatch.setattr(keras.Model, "predict_on_batch", spy)
    for count, filled in ((1, [1]), (2, [2]), (3, [4]), (33, [64]), (64, [64]), (65, [64, 1])):
        sizes.clear()
        encrypted.encrypt(IMAGES[:count], SECRET)
        assert sizes == list(zip(filled, (1, 1 + 64 * DIMENSIONS // 16)))
    for count in range(1, 70, 3):
        encrypted.encrypt(IMAGES[:count], SECRET)
    if keras.backend.backend() == "tensorflow":
        assert encrypted._model.predict_function.experimental_get_tracing_count() <= 7


def test_description(small, url):
    sizes = {"height": 16, "width": 8, "dimensions": 24, "cipher": "xchacha20-poly1305"}
    limits = {"max_images": 256, "max_bytes": 16 * 2**20, "max_pixels": 2**25}
    assert requests.get(url, timeout=30).json() == {**sizes, **limits}
    limits = {"max_images": 40, "max_bytes": 100_000, "max_pixels": 10_000}
    assert requests.get(small, timeout=30).json() == {**sizes, **limits}


def test_no_key_is_logged(encrypted, caplog):
    """Neither from a form, good or bad, nor from a URL where it does not belong."""
    caplog.set_level(logging.DEBUG)
    secret = SECRET.hex()
    with serving(encrypted) as url:
        answers = [post(url, IMAGE, KEY), post(url, IMAGE, ("key", f"{secret[:-1]}x")), post(url, KEY)]
        answers += [post(url, path=f"{path}{secret}") for path in ("/embed?key=", "/embed/", "/embed//")]
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    ends = [line.split(" - ")[1] for line in lines]
    assert ends == [f'"POST /{path} HTTP/1.1" {status}' for path, status in zip(
        ("embed", "embed", "embed", "embed", "other", "other"), (200, 422, 422, 415, 404, 404)
    )]  # fmt: skip
    # The client's own library logs the addresses that it is given.
    texts = [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    texts += [answer.text for answer in answers[1:]]
    assert len(texts) > 10 and [text for text in texts if secret[:6] in text] == []


def test_other_paths_methods_hosts_and_protocols(url):
    """Each error is a sentence in JSON, and nothing of the request comes back in it, or in a redirect."""
    assert refusal(post(url, path="/other")) == (404, "There are / and /embed only.")
    response = requests.get(f"{url}/embed", timeout=30)
    assert refusal(response) == (405, "GET / and POST /embed are all there is.")
    assert response.headers["Allow"] == "POST"
    assert refusal(post(url, path="/embed/", allow_redirects=False))[0] == 404
    sentence = "The Host header names none of the server's hosts; start the server with --hosts NAME."
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert refusal(requests.get(url, headers={"Host": host}, timeout=30)) == (400, sentence)
    with connection.socket.create_connection(tuple(url.removeprefix("http://").split(":"))) as plain:
        plain.sendall(b"nonsense\r\n\r\n")
        answer = plain.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400") and b"content-type: application/json" in answer
    assert answer.endswith(b'\r\n\r\n{"detail": "This is no HTTP request that the server understands."}')


def test_failure_tells_nothing(encrypted, monkeypatch, caplog):
    """An error of ours is logged, and the client does not learn what it says."""
    monkeypatch.setattr(EncryptedEmbedder, "encrypt", lambda *_: (_ for _ in ()).throw(ValueError("inside")))
    with serving(encrypted) as url:
        assert refusal(post(url, IMAGE, KEY)) == (500, "The server failed; its log says where.")
    assert "ValueError: inside" in caplog.text


def test_server_stops(encrypted):
    before = set(threading.enumerate())  # those of an earlier server may end meanwhile
    with serving(encrypted) as url:
        assert Client(url).information["dimensions"] == DIMENSIONS
    with pytest.raises(ValueError, match=r"^http://127.0.0.1:\d+ cannot be reached, or broke off \(ConnectionError\)"):
        Client(url).embed([PNG])
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    "embedder, shapes",
    [
        (keras.Sequential([keras.layers.Dense(3)]), r"\[\]"),
        (keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), r"\[\(None, 4\), \(None, 3\)\]"),
        (keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()]), r"\[\(None, 4, 4, 1\), \(None, 16\)\]"),
        (keras.Sequential([keras.Input((None, 4, 3)), keras.layers.GlobalMaxPooling2D()]), r"\[\(None, None, 4, 3\)"),
    ],
)
def test_other_models_are_refused(embedder, shapes):
    with pytest.raises(ValueError, match=rf"must take one image \(B, H, W, 3\) and return one .* got {shapes}"):
        EncryptedEmbedder(embedder)


def test_limits_are_above_zero():
    with pytest.raises(ValueError, match="max_images must be above zero, got 0"):
        Limits(max_images=0)
    assert Limits(max_images=1, idle_seconds=0.5).idle_seconds == 0.5


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.1", False), ("localhost.example", False), ("", False), (None, False)],
)  # fmt: skip
def test_hosts_that_need_no_tls(host, expected):
    """Beyond them both sides refuse plain HTTP, and take TLS or a word of its own."""
    assert is_loopback(host) == expected
    if expected:
        assert Arguments(host=host).port == 8000
    elif host:
        with pytest.raises(ValueError, match=f"On {host} others could read images and keys; pass --tls-cert and --tls"):
            Arguments(host=host)
        Arguments(host=host, insecure_http=True)
        shown = f"http://[{host}]:8000" if ":" in host else f"http://{host}:8000"
        with pytest.raises(
            ValueError, match=r"shows images and keys to all on the way; take https://, or pass --insec"
        ):
            Client(shown)
        Client(shown, insecure_http=True)
        Client(shown.replace("http:", "https:"))


@pytest.mark.parametrize("host, url", [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_addresses_by_hand(host, url):
    try:
        with connection.listen(host, 0) as listener:
            assert connection.url_of(listener) == f"{url}{listener.getsockname()[1]}"
            assert connection.url_of(listener, "https").startswith("https://")
    except ValueError:
        pytest.skip(f"this machine has no address {host}")
