"""A small embedder, images to send, and a plain way of sending them."""

import struct
import zlib

import cv2
import keras
import numpy as np
import requests

SIZE, DIMENSIONS = (16, 8), 24
IMAGES = np.random.default_rng(0).integers(0, 256, (150, *SIZE, 3), dtype="uint8")


def build_embedder(size=SIZE):
    keras.utils.set_random_seed(0)
    image = keras.Input((*size, 3), dtype="uint8")
    x = keras.layers.Conv2D(DIMENSIONS, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def encoded(image, kind=".png"):
    return cv2.imencode(kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def black(width, height):
    """A PNG file of one bit a pixel: 5792 × 5792 of them in 4 kB."""
    rows = (b"\0" + bytes((width + 7) // 8)) * height
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    parts = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PNG = encoded(IMAGES[0])
JPEG = encoded(cv2.resize(IMAGES[0], (80, 60)), ".jpg")
SECRET = bytes(range(0xC0, 0xE0))
IMAGE, KEY = ("images", PNG), ("key", SECRET.hex())


def form(url, *parts):
    """A request with a form of (field, text or content of a file)."""
    files = [(name, (None, value) if isinstance(value, str) else ("file", value)) for name, value in parts]
    return requests.Request("POST", f"{url}/embed", files=files or None).prepare()


def post(url, *parts, path="/embed", **options):
    """Sends such a form."""
    files = [(name, (None, value) if isinstance(value, str) else ("file", value)) for name, value in parts]
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url + path, files=files or None, timeout=30, **options)


def refusal(response):
    content = response.json()
    assert list(content) == ["detail"] and content["detail"].endswith(".") and content["detail"].count(". ") == 0
    return response.status_code, content["detail"]
