"""Bad requests: each is answered with a sentence, and none takes the server down."""

import asyncio
import json
import zlib

import cv2
import numpy as np
import pytest
import requests
from starlette.exceptions import HTTPException

from shufflebits.service import requests as module
from shufflebits.service.requests import Query, decode
from shufflebits.service.server import Limits, serving
from tests.shufflebits.service.tiny_server import (  # fmt: skip
    CHACHA,
    HEX24,
    HEX64,
    IMAGE,
    IMAGES,
    JPEG,
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
def small():
    """A server of narrow limits."""
    with serving(build_embedder(), Limits(max_images=40, max_bytes=100_000)) as url:
        yield url


@pytest.mark.parametrize(
    "parts, status, sentence",
    [
        ([KEY], 422, "The form has no image; send one or more files in the field images."),
        ([("images", "text"), KEY], 422, "The field images must hold files, got text."),
        (
            [IMAGE, ("images", b"GIF89a"), KEY],
            422,
            "Image 1, counted from 0, is no JPEG or PNG file, or not a whole one.",
        ),
        ([("images", b""), KEY], 422, "Image 0, counted from 0, is no JPEG or PNG file, or not a whole one."),
        ([("images", PNG[:-20]), KEY], 422, "Image 0, counted from 0, is no JPEG or PNG file, or not a whole one."),
        ([IMAGE], 422, "ShuffleBits takes either key or key_id, got both or neither."),
        ([IMAGE, KEY, ("key_id", "x")], 422, "ShuffleBits takes either key or key_id, got both or neither."),
        ([IMAGE, KEY, KEY], 422, "The field key must be there once, got it twice."),
        ([IMAGE, ("key", b"[]")], 422, "The field key must hold text, got a file."),
        (
            [IMAGE, KEY, ("kye", "1")],
            422,
            "The fields of the form are images, cipher, key, key_id, nonce, got another one.",
        ),
        ([IMAGE, ("key", "1 2")], 422, "The key must be a JSON list of 32 positions, got no JSON."),
        ([IMAGE, ("key", "[" * 4000)], 422, "The key must be a JSON list of 32 positions, got no JSON."),
        ([IMAGE, ("key", "{}")], 422, "The key must be a JSON list of 32 whole numbers, got something else."),
        ([IMAGE, ("key", "[true, 0]")], 422, "The key must be a JSON list of 32 whole numbers, got something else."),
        ([IMAGE, ("key", "[1.0, 0]")], 422, "The key must be a JSON list of 32 whole numbers, got something else."),
        ([IMAGE, ("key", "[1, 0]")], 422, "The key must be a JSON list of 32 positions, got 2."),
        (
            [IMAGE, ("key", json.dumps([*range(31), 30]))],
            422,
            "A key must hold each position once, got one twice; pass permutations of range(32).",
        ),
        (
            [IMAGE, ("key", json.dumps([*range(1, 33)]))],
            422,
            "A key must hold positions from 0 to 31, got one outside; pass permutations of range(32).",
        ),
        (
            [IMAGE, ("key", json.dumps([*range(31), 2**70]))],
            422,
            "A key must hold whole numbers, got object; pass integers.",
        ),
        ([IMAGE, KEY, ("nonce", HEX24)], 422, "ShuffleBits takes no nonce; leave it out, or pass cipher chacha20."),
        ([IMAGE, KEY, ("cipher", "rot13")], 422, "The cipher must be shufflebits or chacha20, got another one."),
        ([IMAGE, CHACHA, ("nonce", HEX24)], 422, "ChaCha20 takes a key of 64 hex digits, got none."),
        ([IMAGE, CHACHA, ("key", HEX64)], 422, "ChaCha20 takes a nonce of 24 hex digits, got none."),
        (
            [IMAGE, CHACHA, ("key", HEX64), ("nonce", HEX24[1:])],
            422,
            "The nonce of ChaCha20 must have 24 hex digits, got something else.",
        ),
        (
            [IMAGE, CHACHA, ("key", HEX64[:-2] + " 0"), ("nonce", HEX24)],
            422,
            "The key of ChaCha20 must have 64 hex digits, got something else.",
        ),
        (
            [IMAGE, CHACHA, ("key_id", "x"), ("nonce", HEX24)],
            422,
            "ChaCha20 takes a key of your own and no key_id; one-time keys are for ShuffleBits.",
        ),
        ([IMAGE, ("key_id", "x")], 422, "The one-time key has expired or was never issued; ask for a new one."),
        (
            [IMAGE, ("key", POSITIONS + " " * 5000)],
            400,
            "The body is no whole multipart/form-data, or has too many or too long fields.",
        ),
        ([IMAGE] * 41 + [KEY], 413, "A request may have 40 images, got more; send several."),
        (
            [("images", bytes(100_000)), KEY],
            413,
            "A request may have 100000 bytes, got more; send fewer or smaller images.",
        ),
        (
            [("images", bytes(390_000)), KEY],
            413,
            "A request may have 100000 bytes, got more; send fewer or smaller images.",
        ),
        ([], 415, "The body must be a form, multipart/form-data, with the images as files."),
    ],
)
def test_bad_forms(small, parts, status, sentence):
    assert refusal(post(small, *parts)) == (status, sentence)


PART = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n1'


@pytest.mark.parametrize(
    "content, kind, status",
    [
        (b"nonsense", "multipart/form-data; boundary=x", 400),
        (b"--x\r\n\r\nnonsense\r\n--x--\r\n", "multipart/form-data; boundary=x", 400),
        (b"x", "multipart/form-data", 400),
        (PART + b"\r\n--x--", "multipart/form-data; boundary=x; charset=undefined", 400),
        (PART, "multipart/form-data; boundary=x", 400),
        (b"{}", "application/json", 415),
        (b"key=1", "application/x-www-form-urlencoded", 415),
        (iter([b"x" * 60_000] * 2), "multipart/form-data; boundary=x", 413),  # in chunks, of unknown length
    ],
)  # fmt: skip
def test_bad_bodies(small, content, kind, status):
    response = post(small, data=content, headers={"Content-Type": kind})
    assert refusal(response)[0] == status


def test_damaged_forms_are_never_the_servers_fault(small):
    """300 forms with some bytes changed, inserted or cut out: an answer or a refusal, and the server goes on."""
    whole = requests.Request("POST", small, files=[("images", ("a", JPEG)), ("key", (None, POSITIONS))]).prepare()
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


def test_every_truncated_image_is_refused():
    """Also where a whole thumbnail stands in front, whose end is no end of the image."""
    large = encoded(cv2.resize(IMAGES[0], (200, 200)), ".jpg")
    thumbnail = b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2, "big") + JPEG
    for file in (PNG, large, large[:2] + thumbnail + large[2:]):
        assert decode([file], SIZE).shape == (1, *SIZE, 3)
        for length in range(0, len(file), 1 + len(file) // 150):
            with pytest.raises(Exception, match="Image 1, counted from 0, is no JPEG or PNG file") as error:
                decode([PNG, file[:length]], SIZE)
            assert error.value.status_code == 422


def test_huge_images_are_refused_before_they_are_decoded(small):
    """33,554,440 and 4·10⁹ black pixels in a few bytes of header."""
    for width, height in ((2**25 // 8 + 1, 8), (2**31 - 1, 2)):
        header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
        file = PNG[:8] + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big") + PNG[33:]
        sentence = "Image 0, counted from 0, has more than 33554432 pixels; send it smaller."
        assert refusal(post(small, ("images", file), KEY)) == (413, sentence)


def test_images_of_just_the_limit_are_taken(monkeypatch):
    for limit, is_taken in ((16 * 8, True), (16 * 8 - 1, False)):
        monkeypatch.setattr(module, "_MOST_PIXELS", limit)
        if is_taken:
            np.testing.assert_array_equal(decode([PNG], SIZE)[0], IMAGES[0])
        else:
            with pytest.raises(HTTPException, match="Image 0, counted from 0, has more than 127 pixels"):
                decode([PNG], SIZE)


def test_fields_of_just_the_limit_are_taken(small):
    assert post(small, IMAGE, ("key", POSITIONS.ljust(4096))).status_code == 200
    assert post(small, IMAGE, ("key", POSITIONS.ljust(4097))).status_code == 400


@pytest.mark.parametrize("sizes, limit, read", [([2, 1], 3, 2), ([2, 1], 2, 2), ([8, 1], 2, 2), ([9, 1], 2, 1)])
def test_body_is_read_up_to_four_times_the_limit(sizes, limit, read):
    """A client that sends more is answered before it has sent all."""
    taken = []

    class Request:
        async def stream(self):
            for size in sizes:
                taken.append(size)
                yield bytes(size)

    if sum(sizes) <= limit:
        assert [len(chunk) for chunk in asyncio.run(module._body(Request(), limit))] == sizes
    else:
        with pytest.raises(HTTPException, match="A request may have 2 bytes, got more"):
            asyncio.run(module._body(Request(), limit))
    assert len(taken) == read


def test_request_shows_no_secret():
    query = Query([b"image"], "shufflebits", np.arange(32), "identifier", None)
    assert repr(query) == "Query(cipher='shufflebits', nonce=None)"
