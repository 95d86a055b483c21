"""The file: its bytes by hand, and whatever else comes in, a ValueError of one sentence comes out."""

import struct
import time
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_compression.bitstream import entropy
from neural_compression.bitstream.container import Container, fingerprint, pack, unpack
from neural_compression.bitstream.range_coder import concatenated, separated
from tests.neural_compression.bitstream.synthetic_codes import random_map, random_model, sampled_codes

MARK = b"\1\2\3\4\5\6\7\x08"
LENGTHS = [8, 20]
MODELS = [random_model(length, length) for length in LENGTHS]


def example(mode, shape=(5, 7), seed=0):
    networks = random_map(shape, 2, seed)
    codes = sampled_codes(MODELS, networks, seed)
    if mode == "context":
        code = entropy.encode_codes(MODELS, networks, codes)
    else:
        code = entropy.encode_difference(concatenated(codes, networks, LENGTHS))
    height, width = 32 * shape[0] - 3, 32 * shape[1] - 31
    return Container(MARK, mode, height, width, False, entropy.encode_networks(networks, 2), code), codes


def opened(data):
    """From bytes to codes, as a decoder does it."""
    container = unpack(data, MARK)
    networks = entropy.decode_networks(container.indicators, container.grid, 2)
    if container.mode == "context":
        return entropy.decode_codes(MODELS, networks, container.image_code)
    count = int(np.asarray(LENGTHS)[networks].sum())
    return separated(entropy.decode_difference(container.image_code, count), networks, LENGTHS)


def sealed(content):
    """With a checksum that fits, as a forger would."""
    return bytes(content) + struct.pack("<I", zlib.crc32(content))


@pytest.mark.parametrize("mode", ["publication", "context"])
def test_files_come_back(mode):
    container, codes = example(mode)
    data = pack(container)
    assert unpack(data) == unpack(data, MARK) == unpack(bytearray(data)) == container
    assert container.grid == (5, 7)
    np.testing.assert_array_equal(opened(data), codes)
    assert len(data) - len(container.image_code) - len(container.indicators) == 22


@settings(deadline=None)
@given(st.integers(1, 65535), st.integers(1, 4096), st.booleans(), st.booleans(), st.binary(max_size=400), st.binary())
def test_all_values_come_back(height, width, context, gray, indicators, code):
    container = Container(MARK, "context" if context else "publication", height, width, gray, indicators, code)
    data = pack(container)
    assert unpack(data) == container
    assert len(data) - len(indicators) - len(code) == (22 if len(indicators) < 128 else 23)


def test_bytes_by_hand():
    container = Container(MARK, "context", 512, 768, True, b"ab", b"cdef")
    content = b"NBC" + b"\2" + MARK + b"\3" + b"\0\2" + b"\0\3" + b"\2" + b"ab" + b"cdef"
    assert pack(container) == content + zlib.crc32(content).to_bytes(4, "little")
    escaped = replace(container, escape=b"xyz", step=9)
    content = content[:12] + b"\7" + content[13:18] + b"\x09\3" + b"ab" + b"xyz" + b"cdef"
    assert pack(escaped) == content + zlib.crc32(content).to_bytes(4, "little")
    assert unpack(pack(escaped)) == escaped and unpack(pack(replace(container, escape=b""))).escape == b""
    long = pack(Container(MARK, "publication", 1, 1, False, bytes(300), b""))
    assert long[12:13] == b"\0" and long[17:19] == bytes([300 % 128 + 128, 300 // 128])
    assert unpack(long).indicators == bytes(300)


def test_fingerprints_by_hand():
    """Of names, types, shapes and contents, whatever the order of names and of bytes in memory."""
    arrays = {"b": np.arange(6, dtype=np.int16).reshape(2, 3), "a": np.float32([1, 2])}
    mark = fingerprint(arrays)
    assert mark.hex() == "9e3c0c50f310ed0a" and len(mark) == 8
    assert fingerprint(dict(reversed(arrays.items()))) == mark
    assert fingerprint({**arrays, "b": arrays["b"].astype(">i2")}) == mark
    for other in (arrays["b"].T, arrays["b"].astype(np.int32), arrays["b"] + 1, arrays["b"].reshape(3, 2)):
        assert fingerprint({**arrays, "b": other}) != mark
    assert fingerprint({**arrays, "c": np.zeros(0)}) != mark


CONTENT = pack(example("context")[0])[:-4]


def changed(place, value):
    content = bytearray(CONTENT)
    content[place : place + len(value)] = value
    return sealed(content)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "The file is empty; write it again"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), r"no .nbc file, it starts with b'\\x89PN'; pass one that pack wrote"),
        (b"X", "no .nbc file"),
        (b"NB", "ends within its header, after 2 bytes; fetch it whole"),
        (CONTENT[:18], "ends within its header, after 18 bytes"),
        (CONTENT[:30], "damaged or cut short, its checksum does not fit; fetch it again"),
        (CONTENT + bytes(4), "damaged or cut short"),
        (sealed(CONTENT) + b"\0", "damaged or cut short"),
        (
            b"NBC\1",
            "version 2 are read, got version 1; decode it with the package of that version, or encode the image",
        ),
        (changed(3, b"\0"), "version 2 are read, got version 0"),
        (changed(4, b"\0"), "needs model 0002030405060708, got model 0102030405060708; load the one that wrote it"),
        (changed(12, b"\x08"), "Flags must be below 8, got 8; update"),
        (changed(13, b"\0\0"), "from 1 to 65535, got 0 and 193; pass an image of that size"),
        (changed(15, b"\0\0"), "from 1 to 65535, got 157 and 0"),
        (changed(17, b"\x7f\0"), r"vector takes 127 bytes, got \d+; fetch the file whole"),
        (changed(17, b"\x80\x00"), "written in no known way"),
        (changed(17, b"\xff\xff\xff"), "written in no known way"),
        (sealed(CONTENT[:17] + b"\xff"), "written in no known way"),
        (changed(12, b"\5"), r"The escape blocks take \d+ bytes, got \d+; fetch the file whole"),
        (sealed(CONTENT[:12] + b"\5" + CONTENT[13:18]), "ends before its escape blocks; fetch it whole"),
        (sealed(CONTENT[:12] + b"\5" + CONTENT[13:17] + b"\0\7\xff"), "written in no known way"),
        (changed(13, b"\xff\xff\xff\xff"), "up to 268435456 pixels, got 4294967296 in whole blocks; allow more"),
        (changed(13, b"\x00\x80\x00\x80"), "up to 268435456 pixels, got 1073741824"),
    ],
)
def test_bad_files_are_named(data, message):
    with pytest.raises(ValueError, match=message) as error:
        unpack(data, MARK)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


class _Long(bytes):
    def __len__(self):
        return 2**28


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"fingerprint": b"short"}, "must be 8 bytes, got b'short'; take that of `fingerprint`"),
        ({"fingerprint": "12345678"}, "must be 8 bytes, got '12345678'"),
        ({"mode": "jpeg"}, r"mode must be one of \('publication', 'context'\), got 'jpeg'; choose one"),
        ({"height": 65536}, "from 1 to 65535, got 65536 and 7"),
        ({"width": 0}, "got 5 and 0"),
        ({"escape": _Long()}, "Escape blocks must have less than 256 MiB, got 268435456 bytes; cut the image"),
        ({"indicators": bytes(2**21)}, "less than 2 MiB, got 2097152 bytes"),
        ({"height": 65535, "width": 65535}, "up to 268435456 pixels, got 4294967296 in whole blocks; cut it.$"),
    ],
)
def test_bad_values_are_named(changed, message):
    values = {"fingerprint": MARK, "mode": "context", "height": 5, "width": 7, "gray": False}
    with pytest.raises(ValueError, match=message):
        pack(Container(**{**values, "indicators": b"", "image_code": b"", **changed}))


def test_smaller_images_on_demand():
    with pytest.raises(ValueError, match="must have up to 1000 pixels, got 1024 in whole blocks; allow more with"):
        unpack(pack(Container(MARK, "context", 1, 1, False, b"", b"")), max_pixels=1000)


@pytest.mark.parametrize("mode", ["publication", "context"])
def test_every_flipped_bit_and_every_truncation_is_named(mode):
    """The coder itself does not see all of them."""
    data = pack(example(mode)[0])
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            unpack(bytes(broken))
    for length in range(len(data)):
        with pytest.raises(ValueError):
            unpack(data[:length])


@pytest.mark.parametrize("flags", [0, 1])
def test_bombs_are_refused_before_memory_is_taken(flags):
    """30 bytes that claim 268 megapixels, with a checksum that fits: the image would take 5 million bits."""
    bomb = sealed(b"NBC\2" + MARK + bytes([flags]) + struct.pack("<HH", 16384, 16384) + b"\0" + bytes(8))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="8 bytes cannot hold 2097152 decisions; pass the stream whole"):
            opened(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def mutated(data, generator):
    broken = bytearray(data)
    for _ in range(generator.integers(1, 4)):
        kind, place = generator.integers(5), int(generator.integers(len(broken) + 1))
        some = generator.integers(0, 256, generator.integers(1, 9)).astype(np.uint8).tobytes()
        if kind == 0:
            broken[place : place + len(some)] = some
        elif kind == 1:
            broken[place:place] = some
        elif kind == 2:
            del broken[place : place + len(some)]
        elif kind == 3:
            del broken[place:]
        elif place < len(broken):
            broken[place] ^= 1 << generator.integers(8)
    return bytes(broken)


@pytest.mark.parametrize("forged, number", [(False, 10_000), (True, 4_000)], ids=["damaged", "checksum_fits"])
def test_thousands_of_mutations(forged, number):
    """Only ValueErrors, at any stage, in bounded time and memory; those whose checksum fits may decode to something."""
    generator = np.random.default_rng(5)
    shapes = ((2, 3), (1, 1))  # few blocks, as each file whose checksum fits is decoded
    files = [pack(example(mode, shape, seed=3)[0]) for shape in shapes for mode in ("publication", "context")]
    refused, slowest = 0, 0.0
    opened(files[1])
    tracemalloc.start()
    try:
        for n in range(number):
            data = files[n % 4]
            broken = sealed(mutated(data[:-4], generator)) if forged else mutated(data, generator)
            start = time.process_time()
            try:
                codes = opened(broken)
                assert forged or broken == data
                assert codes.max() <= 1
            except ValueError as error:
                refused += 1
                assert str(error).endswith(".") and "\n" not in str(error)
            slowest = max(slowest, time.process_time() - start)
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()
    assert refused > number * (0.5 if forged else 0.99) and slowest < 5
