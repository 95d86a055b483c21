"""The server and its client over real sockets: exact features, a hundred clients, one-time keys, no key in a log."""

import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import keras
import numpy as np
import pytest
import requests

from common.datasets.images import read_image
from shufflebits.cipher.keys import Key
from shufflebits.cipher.nonces import NonceSequence
from shufflebits.cipher.shuffle import decrypt
from shufflebits.service import server as module
from shufflebits.service.client import Client
from shufflebits.service.encrypted_model import EncryptedEmbedder
from shufflebits.service.server import Limits, serving
from tests.common.shuffle_oracle import random_keys, shuffled
from tests.shufflebits.service.tiny_server import (  # fmt: skip
    CHACHA,
    DIMENSIONS,
    HEX24,
    HEX64,
    IMAGE,
    IMAGES,
    KEY,
    PNG,
    POSITIONS,
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
def expected(embedder):
    """Features of each image, all by itself."""
    return np.concatenate([embedder.predict_on_batch(image[None]) for image in IMAGES])


@pytest.fixture(scope="module")
def url(embedder):
    with serving(embedder) as url:
        yield url


@pytest.fixture(scope="module")
def small(embedder):
    """A server of narrow limits."""
    with serving(embedder, Limits(max_images=40, max_bytes=100_000, max_keys=2)) as url:
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


def test_words_by_the_definition(url):
    key, client = random_keys(None, seed=3), Client(url)
    words, features = client.words(IMAGES[:70], key), client.embed(IMAGES[:70], key)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words, shuffled(features.view(np.uint32), key))
    response = post(url, ("images", PNG), ("key", json.dumps(key.tolist())))
    (one,) = client.embed([PNG], key)  # other backends round the features of a batch of 70 in another way
    assert response.content == shuffled(one.view(np.uint32), key).astype("<u4").tobytes()
    assert (response.headers["X-Rows"], response.headers["X-Dimensions"]) == ("1", str(DIMENSIONS))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Cache-Control"] == "no-store"


def test_chacha20_counts_requests(small, expected, tmp_path):
    """150 images are four requests of up to 40; cryptography's cipher undoes the graph's."""
    with NonceSequence.create(tmp_path / "nonces.json") as nonces:
        np.testing.assert_allclose(Client(small).embed_with_chacha20(IMAGES, nonces), expected, rtol=1e-5)
        assert nonces.next_nonce().tolist() == [4, 0, 0]


def test_chacha20_goes_on_over_pieces(url, expected, tmp_path):
    with NonceSequence.create(tmp_path / "nonces.json") as nonces:
        np.testing.assert_allclose(Client(url).embed_with_chacha20(IMAGES, nonces), expected, rtol=1e-5)
        assert nonces.next_nonce().tolist() == [1, 0, 0]


def test_client_stays_within_the_limits(small, expected):
    """No more than three images of 30,000 bytes fit into 100,000."""
    client = Client(small)
    large = [PNG + bytes(30_000 - len(PNG))] * 5
    sizes = [len(files) for files in client._parts(large)]
    assert sizes == [3, 2] and [len(files) for files in client._parts([PNG] * 41)] == [40, 1]
    np.testing.assert_allclose(client.embed(large), expected[[0] * 5], rtol=1e-5)


def test_each_request_has_a_fresh_key(small, monkeypatch):
    """81 images are three requests; a key of one's own goes into all of them."""
    fields, send = [], Client._post
    monkeypatch.setattr(Client, "_post", lambda self, files, form: fields.append(form) or send(self, files, form))
    client, key = Client(small), random_keys(None)
    features = client.embed(IMAGES[:81])
    np.testing.assert_allclose(client.embed(IMAGES[:81], key), features, rtol=1e-5)
    keys = [json.loads(form["key"]) for form in fields]
    assert all(sorted(each) == [*range(32)] for each in keys) and keys[3:] == [key.tolist()] * 3
    assert len(set(map(tuple, keys))) == 4 and {len(form) for form in fields} == {1}


def test_hundred_clients_at_once(url, expected):
    """Each has its own image and its own key, and gets its own features."""
    start = threading.Barrier(100)

    def ask(number):
        key, client = Key.generate(), Client(url)
        start.wait(30)
        return client.embed(IMAGES[number : number + 1], key)

    with ThreadPoolExecutor(100) as pool:
        features = np.concatenate(list(pool.map(ask, range(100))))
    np.testing.assert_allclose(features, expected[:100], rtol=1e-5)


def test_graph_is_compiled_for_few_sizes(embedder, monkeypatch):
    """Batches are filled up to the next power of two, 64 at most."""
    encrypted, sizes, predict = EncryptedEmbedder(embedder), [], keras.Model.predict_on_batch
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda self, x: sizes.append(len(x[0])) or predict(self, x))
    for count, filled in ((1, [1]), (2, [2]), (3, [4]), (33, [64]), (64, [64]), (65, [64, 1])):
        sizes.clear()
        encrypted.shufflebits(IMAGES[:count], random_keys(None))
        assert sizes == filled
    for count in range(1, 70, 3):
        encrypted.shufflebits(IMAGES[:count], random_keys(None, seed=count))
        encrypted.chacha20(IMAGES[:count], np.full(8, count, np.uint32), np.full(3, count, np.uint32))
    for model in (encrypted._shufflebits, encrypted._chacha20) if keras.backend.backend() == "tensorflow" else ():
        assert model.predict_function.experimental_get_tracing_count() <= 7


def test_description(small, url):
    limits = {"max_images": 256, "max_bytes": 64 * 2**20, "max_keys": 10_000, "key_lifetime": 60.0}
    assert requests.get(url, timeout=30).json() == {"height": 16, "width": 8, "dimensions": 24, **limits}
    assert requests.get(small, timeout=30).json() == {
        "height": 16, "width": 8, "dimensions": 24,
        "max_images": 40, "max_bytes": 100_000, "max_keys": 2, "key_lifetime": 60.0,
    }  # fmt: skip


def test_one_time_keys(embedder, expected):
    """The server's clock is the test's."""
    now = [100.0]
    with serving(embedder, Limits(max_keys=3, key_lifetime=2.0), clock=lambda: now[0]) as url:
        answers = [post(url, path="/keys") for _ in range(3)]
        issued = [answer.json() for answer in answers]
        full = refusal(post(url, path="/keys"))
        name, key = ("key_id", issued[0]["key_id"]), issued[0]["key"]
        assert refusal(post(url, ("images", b"x"), name))[0] == 422  # and does not use it up
        answers.append(post(url, IMAGE, name))
        answers.append(post(url, IMAGE, CHACHA, ("key", HEX64), ("nonce", HEX24)))
        words = np.frombuffer(answers[3].content, "<u4")
        again = refusal(post(url, IMAGE, name))
        now[0] += 2
        late = refusal(post(url, IMAGE, ("key_id", issued[1]["key_id"])))
        assert post(url, path="/keys").status_code == 200
    # Keys and features stay in no cache on the way.
    assert [(answer.status_code, answer.headers.get("Cache-Control")) for answer in answers] == [(200, "no-store")] * 5
    assert len({entry["key_id"] for entry in issued}) == 3 and sorted(key) == [*range(32)]
    np.testing.assert_allclose(decrypt(words, key), expected[0], rtol=1e-5)
    assert full == (429, "There are 3 one-time keys already; wait 2 seconds until they expire.")
    assert again == (422, "The one-time key has been used; ask for a new one for each request.")
    assert late == (422, "The one-time key has expired or was never issued; ask for a new one.")


def test_no_key_is_logged(embedder, caplog):
    """Neither from a form, good or bad, nor from a URL where it does not belong."""
    caplog.set_level(logging.DEBUG)
    bad = ("key", json.dumps([31] * 32))
    with serving(embedder) as url:
        answers = [
            post(url, IMAGE, KEY),
            post(url, IMAGE, bad),
            post(url, IMAGE, CHACHA, ("key", HEX64), ("nonce", "1")),
        ]
        answers += [post(url, IMAGE, path=f"/embed?key={POSITIONS}"), post(url, path="/keys")]
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    ends = [line.split(" - ")[1] for line in lines]
    assert ends == [f'"POST /embed HTTP/1.1" {status}' for status in (200, 422, 422, 422)] + [
        '"POST /keys HTTP/1.1" 200'
    ]
    texts = [record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "asyncio", "root"))]
    texts += [answer.text for answer in answers[1:4]]
    issued = answers[4].json()
    secrets = "31, 30", "31, 31", HEX64[:6], "31,", "%2C", issued["key_id"], str(issued["key"][:4])[1:-1]
    assert [(secret, line) for secret in secrets for line in texts if secret in line] == []


def test_other_paths_and_methods(url):
    assert post(url, path="/other").json() == {"detail": "Not Found"}
    response = requests.get(f"{url}/embed", timeout=30)
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})
    assert response.headers["Allow"] == "POST"


def test_failure_tells_nothing(embedder, monkeypatch, caplog):
    """An error of ours is logged, and the client does not learn what it says."""
    monkeypatch.setattr(EncryptedEmbedder, "shufflebits", lambda *_: (_ for _ in ()).throw(ValueError("inside")))
    with serving(embedder) as url:
        assert refusal(post(url, IMAGE, KEY)) == (500, "The server failed; its log says where.")
    assert "ValueError: inside" in caplog.text


def test_server_stops(embedder):
    before = set(threading.enumerate())  # those of an earlier server may end meanwhile
    with serving(embedder) as url:
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
    assert Limits(max_images=1, key_lifetime=0.5).key_lifetime == 0.5


def test_as_many_images_are_read_at_once_as_there_are_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(3) if process == 0 else range(9))
    assert module._Server(None, Limits(), time.monotonic)._pool._max_workers == 3


@pytest.mark.parametrize("host, url", [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_addresses_by_hand(host, url):
    try:
        with module._listen(host, 0) as listener:
            assert module._url(listener) == f"{url}{listener.getsockname()[1]}"
    except ValueError:
        pytest.skip(f"this machine has no address {host}")
    assert module.Arguments().port == 8000
