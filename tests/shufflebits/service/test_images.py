"""Bad requests: each is answered with a sentence, and none takes the server down."""

import zlib

import numpy as np
import pytest
import requests

from common.service.admission import Limits
from shufflebits.service.encrypted_model import EncryptedEmbedder
from shufflebits.service.server import serving
from tests.shufflebits.service.tiny_server import (  # fmt: skip
    IMAGE,
    JPEG,
    KEY,
    PNG,
    SECRET,
    build_embedder,
    encoded,
    post,
    refusal,
)

FORM = "The body must be a form, multipart/form-data: files in the field images, 64 hex digits in the field key."
DIGITS = "The field key must have 64 hex digits, got something else."
DAMAGED = "Image {}, counted from 0, is no JPEG or PNG file, or not a whole one."
BYTES = "A request may have 100000 bytes, got more; send fewer images."


@pytest.fixture(scope="module")
def small():
    """A server of narrow limits."""
    limits = Limits(max_images=40, max_bytes=100_000, max_pixels=60_000)
    with serving(EncryptedEmbedder(build_embedder()), limits) as url:
        yield url


@pytest.mark.parametrize(
    "parts, status, sentence",
    [
        ([KEY], 422, FORM),
        ([("images", "text"), KEY], 400, FORM),
        ([IMAGE], 422, FORM),
        ([IMAGE, KEY, KEY], 400, FORM),
        ([IMAGE, ("key", SECRET)], 422, FORM),
        ([IMAGE, KEY, ("other", b"1")], 422, FORM),
        ([IMAGE, ("key", SECRET.hex() + "0")], 400, FORM),
        ([IMAGE, ("key", SECRET.hex()[:-1])], 422, DIGITS),
        ([IMAGE, ("key", SECRET.hex()[:-2] + " 0")], 422, DIGITS),
        ([IMAGE, ("key", "xy" * 32)], 422, DIGITS),
        ([IMAGE, ("images", b"GIF89a"), KEY], 422, DAMAGED.format(1)),
        ([("images", b""), KEY], 422, DAMAGED.format(0)),
        ([("images", PNG[:-20]), KEY], 422, DAMAGED.format(0)),
        ([IMAGE] * 41 + [KEY], 413, "A request may have 40 images, got more; send several."),
        ([("images", bytes(100_000)), KEY], 413, BYTES),
        ([("images", bytes(390_000)), KEY], 413, BYTES),
        ([], 415, FORM),
    ],
)
def test_bad_forms(small, parts, status, sentence):
    assert refusal(post(small, *parts)) == (status, sentence)


PART = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n1'
FILE = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    "content, kind, status",
    [
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\r\nnonsense\r\n--x--\r\n", "multipart/form-data; boundary=x", 400),
        (b"x", "multipart/form-data", 400),
        (PART + b"\r\n--x--", "multipart/form-data; boundary=x; charset=undefined", 400),
        (PART, "multipart/form-data; boundary=x", 422),
        (b"{}", "application/json", 415),
        (b"key=1", "application/x-www-form-urlencoded", 415),
        (iter([FILE + b"x" * 60_000, b"x" * 60_000]), "multipart/form-data; boundary=x", 413),  # no length given
    ],
)  # fmt: skip
def test_bad_bodies(small, content, kind, status):
    response = post(small, data=content, headers={"Content-Type": kind})
    assert refusal(response)[0] == status


def test_damaged_forms_are_never_the_servers_fault(small):
    """300 forms with some bytes changed, inserted or cut out: an answer or a refusal, and the server goes on."""
    whole = requests.Request("POST", small, files=[("images", ("a", JPEG)), ("key", (None, SECRET.hex()))]).prepare()
    rng, statuses = np.random.default_rng(5), []
    for _ in range(300):
        body = bytearray(whole.body)
        for _ in range(rng.integers(1, 4)):
            start = rng.integers(len(body))
            body[start : start + rng.integers(0, 9)] = rng.bytes(rng.integers(0, 9))
        headers = {"Content-Type": whole.headers["Content-Type"]}
        statuses.append(post(small, data=bytes(body), headers=headers).status_code)
    assert set(statuses) <= {200, 400, 413, 422} and {200, 422} <= set(statuses)
    assert post(small, IMAGE, KEY).status_code == 200


def test_huge_images_are_refused_before_they_are_decoded(small):
    """One pixel over the limit, and 4·10⁹ of them, in a few bytes of header; and many images together."""
    sentence = "The images of a request may have 60000 pixels together, got more; send fewer."
    for width, height in ((60_001, 1), (2**31 - 1, 2)):
        header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
        file = PNG[:8] + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big") + PNG[33:]
        assert refusal(post(small, ("images", file), KEY)) == (413, sentence)
    image = ("images", encoded(np.zeros((100, 200, 3), "uint8")))
    assert post(small, *[image] * 3, KEY).status_code == 200
    assert refusal(post(small, *[image] * 3, IMAGE, KEY)) == (413, sentence)
