"""A connection to a server of features, which come encrypted and are decrypted here."""

import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import requests
from PIL import Image
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from ..cipher.keys import Key
from ..cipher.sealed import generate_key, open_features
from ..cipher.shuffle import decrypt
from .protocol import SEALED, SHUFFLEBITS, CipherName, is_loopback

_PART_BYTES = 512  # more than the form adds to a file
_FORM_BYTES = 4096  # more than the other fields take
_RETRIES = 8  # while the server is busy


class Client:
    """A connection to a server of `server`; each thread needs one of its own.

    Images are paths of JPEG or PNG files, the bytes of such files, or arrays (H, W, 3) uint8, RGB, which are sent as
    PNG. However many there are, a request has as many as the server takes at once, and is sent again while it is busy.

    Args:
        url: such as http://127.0.0.1:8000, or https:// beyond this machine.
        cipher: of the server; "shufflebits" is the publication's, which a few vectors break.
        timeout: seconds to wait for the connection, and for each answer.
        tls_ca: PEM file of the authority that signed the server's certificate; None: those of `certifi`.
        insecure_http: take http:// beyond this machine, where others can read images, keys and features.

    Raises:
        ValueError: the URL begins with http:// and is of another machine.
    """

    def __init__(
        self,
        url: str,
        cipher: CipherName = SEALED,
        *,
        timeout: float = 60.0,
        tls_ca: Path | None = None,
        insecure_http: bool = False,
    ) -> None:
        self._url, self._cipher, self._timeout, self._session = url.rstrip("/"), cipher, timeout, requests.Session()
        is_here = is_loopback(urlsplit(url).hostname)
        if urlsplit(url).scheme == "http" and not (is_here or insecure_http):
            raise ValueError(f"{url} shows images and keys to all on the way; take https://, or pass --insecure-http.")
        # A proxy that the environment names cannot reach a server on this machine.
        self._session.trust_env = not is_here
        if tls_ca is not None:
            self._session.verify = str(tls_ca)
        retry = Retry(
            None, connect=0, read=False, redirect=0, other=0, status=_RETRIES, status_forcelist=[503],
            allowed_methods=None, raise_on_status=False,
        )  # fmt: skip
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    @functools.cached_property
    def information(self) -> dict[str, Any]:
        """What the server says about itself: height, width, dimensions, cipher, max_images, max_bytes, max_pixels."""
        response = self._request("GET", "/")
        try:
            answer = response.json()
            numbers = ("dimensions", "max_images", "max_bytes", "max_pixels")
            answer = {**answer, **{name: int(answer[name]) for name in numbers}}
            cipher = answer["cipher"]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self._url} answers, but is no server of features; check the URL.") from None
        if cipher != self._cipher:
            raise ValueError(f"{self._url} encrypts by {cipher}, not {self._cipher}; pass the --cipher of the server.")
        return answer

    def embed(self, images: Sequence[Any]) -> np.ndarray:
        """The features (N, D) float32 of N images; each request has a fresh key.

        Args:
            images: paths, bytes or arrays.

        Raises:
            ValueError: an image is none, the answer was altered, or the server cannot be reached or refuses; the
                sentence says what.
        """
        if isinstance(images, (str, bytes, Path)):
            raise ValueError("images must be a list of paths, bytes or arrays, got a single one; put it into a list.")
        features = np.empty((len(images), self.information["dimensions"]), np.float32)
        done = 0
        few = len(images) <= 4 * self.information["max_images"]
        with tqdm(total=len(images), desc="features", unit="image", leave=False, disable=few) as bar:
            for files in self._parts(images):
                rows = features[done : done + len(files)]
                rows[:] = self._embedded(files, rows.shape)
                done += len(files)
                bar.update(len(files))
        return features

    def _embedded(self, files: list[bytes], shape: tuple[int, int]) -> np.ndarray:
        """One request."""
        if self._cipher == SHUFFLEBITS:
            key = Key.generate()
            content = self._post(files, bytes(np.asarray(key).tolist()))
            if len(content) != 4 * shape[0] * shape[1]:
                raise ValueError(f"{self._url} must answer {shape[0]} × {shape[1]} words, got {len(content)} bytes.")
            return decrypt(np.frombuffer(content, "<u4").astype(np.uint32, copy=False).reshape(shape), key)
        secret = generate_key()
        try:
            return open_features(self._post(files, secret), secret, shape)
        except ValueError as error:
            raise ValueError(f"Of the answer of {self._url}: {error}") from None

    def _parts(self, images: Sequence[Any]) -> Iterator[list[bytes]]:
        """Files of as many images as a request may have."""
        most = [self.information[name] for name in ("max_images", "max_bytes", "max_pixels")]
        files, sizes = [], np.array([0, _FORM_BYTES, 0])
        for image in images:
            file = _file(image)
            size = np.array([1, len(file) + _PART_BYTES, _pixels(file)])
            if files and (sizes + size > most).any():
                yield files
                files, sizes = [], np.array([0, _FORM_BYTES, 0])
            files.append(file)
            sizes += size
        if files:
            yield files

    def _post(self, files: list[bytes], key: bytes) -> bytes:
        # The files' names are nobody's business.
        parts = [("images", ("image", file, "application/octet-stream")) for file in files]
        return self._request("POST", "/embed", data={"key": key.hex()}, files=parts).content

    def _request(self, method: str, path: str, **content: Any) -> requests.Response:
        try:
            # A redirect would take the key to another server.
            response = self._session.request(
                method, self._url + path, timeout=self._timeout, allow_redirects=False, **content
            )
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


def _pixels(file: bytes) -> int:
    """Of an image file; none where it is not one, which the server will say."""
    try:
        with Image.open(io.BytesIO(file), formats=("JPEG", "PNG")) as header:
            return header.size[0] * header.size[1]
    except Exception:  # Pillow does not say what it raises for damaged headers
        return 0
