"""What a request to the server holds, read strictly; no error quotes what came, which could be a key."""

import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from common.bit_permutation import checked_key

_TEXTS = ("cipher", "key", "key_id", "nonce")
_LONGEST_TEXT = 4096  # bytes
_MOST_PIXELS = 2**25  # a file of some kilobytes can decode to gigabytes


@dataclass(frozen=True)
class Query:
    """A request to embed images.

    Attributes:
        images: files.
        cipher: "shufflebits" or "chacha20".
        key: (32,) positions, or (8,) uint32 for ChaCha20; None where key_id names one.
        key_id: of a one-time key.
        nonce: (3,) uint32 for ChaCha20.
    """

    images: list[bytes] = field(repr=False)
    cipher: str
    key: np.ndarray | None = field(repr=False)
    key_id: str | None = field(repr=False)
    nonce: np.ndarray | None


def refused(sentence: str, status: int = 422) -> HTTPException:
    """What to raise so that the client gets the sentence."""
    return HTTPException(status, sentence)


async def read_form(request: Request, max_images: int, max_bytes: int) -> Query:
    """Reads and checks all but the images' content.

    Raises:
        HTTPException: the request lacks something, or has too much or something else.
    """
    # Even what is refused is read, since many clients listen only once they have sent all.
    chunks = await _body(request, max_bytes)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "multipart/form-data":
        raise refused("The body must be a form, multipart/form-data, with the images as files.", 415)

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    parser = _InMemory(
        request.headers, stream(), max_files=max_images, max_fields=len(_TEXTS), max_part_size=_LONGEST_TEXT
    )
    try:
        form = await parser.parse()
        if not parser.is_whole:
            raise MultiPartException("There is no last boundary.")
    except (MultiPartException, ValueError) as error:  # the latter of charsets that Python knows and cannot use
        if isinstance(error, MultiPartException) and error.message.startswith("Too many files"):
            raise refused(f"A request may have {max_images} images, got more; send several.", 413) from None
        raise refused("The body is no whole multipart/form-data, or has too many or too long fields.", 400) from None
    texts = _texts(form)
    return Query([await file.read() for file in form.getlist("images")], **_secrets(texts))


class _InMemory(MultiPartParser):
    """Never puts users' images on the disk; the limit of the body is one of memory too."""

    spool_max_size = sys.maxsize
    is_whole = False

    def on_end(self) -> None:
        """Called at the last boundary; without one, the last images may be missing."""
        self.is_whole = True


async def _body(request: Request, limit: int) -> list[bytes]:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > 4 * limit:
            break
    if size > limit:
        raise refused(f"A request may have {limit} bytes, got more; send fewer or smaller images.", 413)
    return chunks


def _texts(form: FormData) -> dict[str, str]:
    """The fields besides the images."""
    texts: dict[str, str] = {}
    for name, value in form.multi_items():
        if name == "images":
            if not isinstance(value, UploadFile):
                raise refused("The field images must hold files, got text.")
        elif name not in _TEXTS:
            raise refused(f"The fields of the form are images, {', '.join(_TEXTS)}, got another one.")
        elif not isinstance(value, str):
            raise refused(f"The field {name} must hold text, got a file.")
        elif name in texts:
            raise refused(f"The field {name} must be there once, got it twice.")
        else:
            texts[name] = value
    if "images" not in form:
        raise refused("The form has no image; send one or more files in the field images.")
    return texts


def _secrets(texts: dict[str, str]) -> dict[str, object]:
    """The rest of a `Query`."""
    cipher = texts.get("cipher", "shufflebits")
    if cipher == "shufflebits":
        if ("key" in texts) == ("key_id" in texts):
            raise refused("ShuffleBits takes either key or key_id, got both or neither.")
        if "nonce" in texts:
            raise refused("ShuffleBits takes no nonce; leave it out, or pass cipher chacha20.")
        key, nonce = _positions(texts["key"]) if "key" in texts else None, None
    elif cipher == "chacha20":
        if "key_id" in texts:
            raise refused("ChaCha20 takes a key of your own and no key_id; one-time keys are for ShuffleBits.")
        key, nonce = _words("key", texts.get("key"), 64), _words("nonce", texts.get("nonce"), 24)
    else:
        raise refused("The cipher must be shufflebits or chacha20, got another one.")
    return {"cipher": cipher, "key": key, "key_id": texts.get("key_id"), "nonce": nonce}


def _positions(text: str) -> np.ndarray:
    try:
        positions = json.loads(text)
    except (ValueError, RecursionError):
        raise refused("The key must be a JSON list of 32 positions, got no JSON.") from None
    # bool is a kind of int in Python.
    if not isinstance(positions, list) or any(type(position) is not int for position in positions):
        raise refused("The key must be a JSON list of 32 whole numbers, got something else.")
    if len(positions) != 32:
        raise refused(f"The key must be a JSON list of 32 positions, got {len(positions)}.")
    try:
        return checked_key(positions)
    except ValueError as error:
        raise refused(str(error)) from None


def _words(name: str, text: str | None, digits: int) -> np.ndarray:
    """Hex digits as little-endian uint32."""
    if text is None:
        raise refused(f"ChaCha20 takes a {name} of {digits} hex digits, got none.")
    if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text):
        raise refused(f"The {name} of ChaCha20 must have {digits} hex digits, got something else.")
    return np.frombuffer(bytes.fromhex(text), "<u4").astype(np.uint32)


def decode(files: list[bytes], image_size: tuple[int, int]) -> np.ndarray:
    """JPEG and PNG files as images (N, H, W, 3) uint8, RGB, resized bilinearly.

    Raises:
        HTTPException: one is something else, not whole, or too large.
    """
    images = np.empty((len(files), *image_size, 3), np.uint8)
    for number, (image, file) in enumerate(zip(images, files)):
        image[:] = cv2.resize(_decoded(file, number), image_size[::-1], interpolation=cv2.INTER_LINEAR)
    return images


def _decoded(file: bytes, number: int) -> np.ndarray:
    damaged = refused(f"Image {number}, counted from 0, is no JPEG or PNG file, or not a whole one.")
    try:
        with Image.open(BytesIO(file), formats=("JPEG", "PNG")) as header:  # reads the header alone
            (width, height), kind = header.size, header.format
    except Image.DecompressionBombError:
        width, height, kind = _MOST_PIXELS, 2, ""
    except Exception:  # Pillow does not say what it raises for damaged headers
        raise damaged from None
    if width * height > _MOST_PIXELS:
        raise refused(f"Image {number}, counted from 0, has more than {_MOST_PIXELS} pixels; send it smaller.", 413)
    # OpenCV fills what a truncated JPEG lacks with gray. A whole one ends with a marker, and so does its thumbnail,
    # which stands before the start of the image's own scan.
    if kind != "PNG" and file.rfind(b"\xff\xd9") < file.rfind(b"\xff\xda"):
        raise damaged
    try:
        image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        raise damaged from None
    if image is None:
        raise damaged
    return image
