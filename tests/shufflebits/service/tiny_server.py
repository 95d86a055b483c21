"""A small embedder, images to send, and a plain way of sending them."""

import json

import cv2
import keras
import numpy as np
import requests

from tests.common.shuffle_oracle import REVERSAL

SIZE, DIMENSIONS = (16, 8), 24
IMAGES = np.random.default_rng(0).integers(0, 256, (150, *SIZE, 3), dtype="uint8")
POSITIONS = json.dumps(np.asarray(REVERSAL).tolist())


def build_embedder(size=SIZE):
    keras.utils.set_random_seed(0)
    image = keras.Input((*size, 3), dtype="uint8")
    x = keras.layers.Conv2D(DIMENSIONS, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def encoded(image, kind=".png"):
    return cv2.imencode(kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


PNG = encoded(IMAGES[0])
JPEG = encoded(cv2.resize(IMAGES[0], (80, 60)), ".jpg")
IMAGE, KEY, CHACHA = ("images", PNG), ("key", POSITIONS), ("cipher", "chacha20")
HEX64, HEX24 = "0f" * 32, "0f" * 12


def post(url, *parts, path="/embed", **options):
    """Sends a form of (field, text or content of a file)."""
    files = [(name, (None, value) if isinstance(value, str) else ("file", value)) for name, value in parts]
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url + path, files=files or None, timeout=30, **options)


def refusal(response):
    content = response.json()
    assert list(content) == ["detail"] and content["detail"].endswith(".")
    return response.status_code, content["detail"]
