"""Gets encrypted features of images from a server, and decrypts them.

python -m PROJECT.service.client URL IMAGE... [--out features.npz]
"""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import requests
import tyro
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from tqdm import tqdm

from common.experiments.config import run_command
from common.files import replacing

from ..cipher.keys import Key
from ..cipher.nonces import NonceSequence
from ..cipher.shuffle import decrypt

_PART_BYTES = 512  # more than the form adds to a file
_FORM_BYTES = 4096  # more than the other fields take


class Client:
    """A connection to a server of `server`; each thread needs one of its own.

    Images are paths of JPEG or PNG files, the bytes of such files, or arrays (H, W, 3) uint8, RGB, which are sent as
    PNG. However many there are, a request has as many as the server takes at once.

    Args:
        url: such as http://127.0.0.1:8000.
        timeout: seconds to wait for the connection, and for each answer.
    """

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self._url, self._timeout, self._session = url.rstrip("/"), timeout, requests.Session()
        # A proxy that the environment names cannot reach a server on this machine.
        self._session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "::1", "localhost")

    @functools.cached_property
    def information(self) -> dict[str, Any]:
        """What the server says about itself: height, width, dimensions, max_images, max_bytes and so on."""
        response = self._request("GET", "/")
        try:
            answer = response.json()
            return {**answer, **{name: int(answer[name]) for name in ("dimensions", "max_images", "max_bytes")}}
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self._url} answers, but is no server of features; check the URL.") from None

    def embed(self, images: Sequence[Any], key: Any = None) -> np.ndarray:
        """The features (N, D) float32 of N images, by way of ShuffleBits.

        Args:
            images: paths, bytes or arrays.
            key: (32,) positions or a `Key`; None: a fresh one for each request.

        Raises:
            ValueError: an image or the key is none, or the server cannot be reached or refuses; the sentence says what.
        """

        def request(files: list[bytes]) -> np.ndarray:
            chosen = Key.generate() if key is None else key
            return decrypt(self._shuffled(files, chosen), chosen)

        return self._in_parts(images, request, np.float32)

    def words(self, images: Sequence[Any], key: Any) -> np.ndarray:
        """The words (N, D) uint32 as they come, all under one key: what someone has who sees answers, and no key."""
        return self._in_parts(images, lambda files: self._shuffled(files, key), np.uint32)

    def embed_with_chacha20(self, images: Sequence[Any], nonces: NonceSequence) -> np.ndarray:
        """Like `embed`, by way of ChaCha20 with the key of `nonces` and its next number for each request."""
        key = nonces.key.astype("<u4").tobytes()

        def request(files: list[bytes]) -> np.ndarray:
            nonce = nonces.next_nonce().astype("<u4").tobytes()
            words = self._post(files, {"cipher": "chacha20", "key": key.hex(), "nonce": nonce.hex()})
            decryptor = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None).decryptor()  # from counter 0 on
            features = np.frombuffer(decryptor.update(words.astype("<u4", copy=False).tobytes()), "<f4")
            return features.reshape(words.shape)

        return self._in_parts(images, request, np.float32)

    def _shuffled(self, files: list[bytes], key: Any) -> np.ndarray:
        return self._post(files, {"key": json.dumps(np.asarray(key).tolist())})

    def _in_parts(self, images: Sequence[Any], request: Callable[[list[bytes]], np.ndarray], dtype: type) -> np.ndarray:
        if isinstance(images, (str, bytes, Path)):
            raise ValueError("images must be a list of paths, bytes or arrays, got a single one; put it into a list.")
        rows = np.empty((len(images), self.information["dimensions"]), dtype)
        done = 0
        few = len(images) <= 4 * self.information["max_images"]
        with tqdm(total=len(images), desc="features", unit="image", leave=False, disable=few) as bar:
            for files in self._parts(images):
                rows[done : done + len(files)] = request(files)
                done += len(files)
                bar.update(len(files))
        return rows

    def _parts(self, images: Sequence[Any]) -> Iterator[list[bytes]]:
        """Files of as many images as a request may have."""
        most, most_bytes = self.information["max_images"], self.information["max_bytes"]
        files, size = [], _FORM_BYTES
        for image in images:
            file = _file(image)
            if files and (len(files) == most or size + len(file) + _PART_BYTES > most_bytes):
                yield files
                files, size = [], _FORM_BYTES
            files.append(file)
            size += len(file) + _PART_BYTES
        if files:
            yield files

    def _post(self, files: list[bytes], fields: dict[str, str]) -> np.ndarray:
        """The words (N, D) uint32 of one request."""
        # The files' names are nobody's business.
        parts = [("images", ("image", file, "application/octet-stream")) for file in files]
        response = self._request("POST", "/embed", data=fields, files=parts)
        shape = len(files), self.information["dimensions"]
        stated = tuple(response.headers.get(name) for name in ("X-Rows", "X-Dimensions"))
        if stated != tuple(map(str, shape)) or len(response.content) != 4 * shape[0] * shape[1]:
            raise ValueError(
                f"{self._url} must answer {shape[0]} × {shape[1]} words, got {stated[0]} × {stated[1]} in "
                f"{len(response.content)} bytes; is it a server of features?"
            )
        return np.frombuffer(response.content, "<u4").astype(np.uint32, copy=False).reshape(shape)

    def _request(self, method: str, path: str, **content: Any) -> requests.Response:
        try:
            response = self._session.request(method, self._url + path, timeout=self._timeout, **content)
        except requests.RequestException as error:
            raise ValueError(
                f"{self._url} cannot be reached, or broke off ({type(error).__name__}); is the server running?"
            ) from error
        if response.status_code == 200:
            return response
        try:
            detail = str(response.json()["detail"])
        except (KeyError, TypeError, ValueError):
            detail = "it does not say why."
        raise ValueError(f"{self._url} refuses with status {response.status_code}: {detail}")


def _file(image: Any) -> bytes:
    """The bytes of an image file."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise ValueError(f"The image {image} cannot be read ({error.strerror}).") from None
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"An image array must be (H, W, 3) uint8, RGB, got {image.shape} {image.dtype}.")
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


@dataclass(frozen=True)
class Arguments:
    """Writes the features of images to an npz file with the arrays paths and features."""

    url: tyro.conf.Positional[str]  # of the server
    images: tyro.conf.Positional[tuple[Path, ...]]  # JPEG or PNG files
    out: Path = Path("features.npz")  # file to write


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    features = Client(arguments.url).embed(arguments.images)
    with replacing(arguments.out) as temporary, open(temporary, "wb") as file:
        np.savez(file, paths=[str(path) for path in arguments.images], features=features)
    print(f"{len(features)} × {features.shape[1]} features: {arguments.out}")


if __name__ == "__main__":
    run_command(main)
