"""Lossless coding: every grid comes back, at the cost that the model expects, in bytes that stay the same."""

import math
import time

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_compression.bitstream.bit_model import BitModel
from neural_compression.bitstream.entropy import (
    decode_codes,
    decode_difference,
    decode_networks,
    encode_codes,
    encode_difference,
    encode_networks,
)
from neural_compression.bitstream.range_coder import concatenated, separated
from tests.neural_compression.bitstream.synthetic_codes import (
    bits,
    plain_probability,
    random_codes,
    random_map,
    random_model,
    sampled_codes,
)

LENGTHS = [1, 5, 12]
MODELS = [random_model(length, length) for length in LENGTHS]
FIRST = [
    random_model(length, length, neighbor_bits=(length + 1) // 2) for length in LENGTHS
]  # know half of a neighbor's bits
SHAPES = st.sampled_from([(1, 1), (1, 9), (9, 1), (7, 5)])
OURS = constriction.stream.model.Bernoulli(perfect=False)


def adaptive_cost(changes):
    """Bits of the publication's way with counts renewed after each symbol, from the definition."""
    total, ones = 0.0, 0
    for n, change in enumerate(changes):
        p = (ones + 0.5) / (n + 1)
        total -= math.log2(p if change else 1 - p)
        ones += int(change)
    return total


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([MODELS, FIRST]), SHAPES, st.integers(1, 3), st.integers(0, 999), st.booleans())
def test_codes_come_back(models, shape, number, seed, likely):
    models, networks = models[:number], random_map(shape, number, seed)
    codes = (sampled_codes if likely else random_codes)(models, networks, seed)
    data = encode_codes(models, networks, codes)
    assert len(data) <= -(-len(concatenated(codes, networks, LENGTHS)) // 8)
    decoded = decode_codes(models, networks, data)
    assert decoded.dtype == np.uint8 and decoded.shape == codes.shape
    np.testing.assert_array_equal(decoded, codes)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 999))
def test_differences_come_back(count, ones, seed):
    given_bits = (np.random.default_rng(seed).random(count) < ones).astype(np.uint8)
    data = encode_difference(given_bits)
    assert len(data) <= (count + 7) // 8
    np.testing.assert_array_equal(decode_difference(data, count), given_bits)


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(1, 4), st.integers(0, 999))
def test_maps_come_back(shape, number, seed):
    networks = random_map(shape, number, seed)
    np.testing.assert_array_equal(decode_networks(encode_networks(networks, number), shape, number), networks)


def plain_order(networks, models):
    """(r, c, k) in the order of the stream, by the definition."""
    rows, columns = networks.shape
    for diagonal in range(rows + columns - 1):
        for network in range(3):
            blocks = [
                (r, diagonal - r)
                for r in range(rows)
                if 0 <= diagonal - r < columns and networks[r, diagonal - r] == network
            ]
            for k in range(models[network].neighbor_bits):
                yield from ((r, c, k) for r, c in blocks)
    for network in range(3):
        for k in range(models[network].neighbor_bits, LENGTHS[network]):
            yield from ((r, c, k) for r, c in np.argwhere(networks == network))


@pytest.mark.parametrize("models", [MODELS, FIRST])
def test_stream_equals_the_definition(models):
    """Order and probabilities from loops over whole numbers; float32 and float64 make the same stream."""
    networks = random_map((7, 5), 3, 2)
    codes = sampled_codes(models, networks, 3)
    order = list(plain_order(networks, models))
    p = np.array([plain_probability(models, networks, codes, *place) for place in order]) / 4096
    symbols = np.array([codes[place] for place in order], np.int32)
    for dtype in (np.float32, np.float64):
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols, OURS, p.astype(dtype))
        words = b"".join(int(word).to_bytes(4, "little") for word in encoder.get_compressed())
        assert encode_codes(models, networks, codes) == words


def test_length_of_a_stream_is_its_cost():
    """Within 1 % of what the model expects, the padding to words included; far below the bits themselves."""
    models = [random_model(24, 5, scale=60), random_model(40, 6, scale=60)]
    networks = random_map((16, 24), 2, 1)
    codes = sampled_codes(models, networks, 2)
    ideal = bits(models, codes, networks)
    assert ideal < 0.5 * len(concatenated(codes, networks, [24, 40])) and ideal > 3000
    assert ideal - 1 < 8 * len(encode_codes(models, networks, codes)) < 1.01 * ideal + 32


def test_differences_cost_what_adaptive_counts_cost():
    """Updates after 64 symbols instead of one take no more than 1 % and a word."""
    changes = np.random.default_rng(0).random(20_000) < 0.1
    data = encode_difference(np.bitwise_xor.accumulate(changes.astype(np.uint8)))
    assert 8 * len(data) == pytest.approx(adaptive_cost(changes), rel=0.01, abs=32)


def test_differences_by_hand():
    """Ones that stay: 1 change, then none. Bits that alternate: all change. Either way almost nothing."""
    same, other = np.ones(4000, np.uint8), np.arange(4000, dtype=np.uint8) % 2
    assert len(encode_difference(same)) <= 8 and len(encode_difference(other)) <= 8


def test_noise_is_stored():
    noise = np.random.default_rng(0).integers(0, 2, 1001).astype(np.uint8)
    assert encode_difference(noise) == np.packbits(noise).tobytes()
    certain = BitModel(*(np.zeros((8, 8), int) for _ in range(3)), np.full(8, 511))
    codes, networks = np.zeros((3, 3, 8), np.uint8), np.zeros((3, 3), np.uint8)
    codes[0, 0] = 1
    data = encode_codes([certain], networks, codes)  # 64 zeros of 12 bits each
    assert data == b"\xff" + bytes(8)
    np.testing.assert_array_equal(decode_codes([certain], networks, data), codes)


def test_map_of_one_network_takes_no_byte():
    assert encode_networks(np.zeros((90, 90), np.uint8), 3) == b""
    assert encode_networks(np.full((90, 90), 2, np.uint8), 3) == b"\2"


def test_map_of_regions_takes_little():
    """Two halves: 64 bits at most for 16 · 24 blocks; 2 bits each would be 768. Noise takes log2 3 each, and 5 %."""
    halves = np.repeat(np.array([[0] * 12 + [2] * 12], np.uint8), 16, 0)
    assert 8 * len(encode_networks(halves, 3)) <= 128
    noise = random_map((32, 48), 3, 0)
    assert 8 * len(encode_networks(noise, 3)) < 1.05 * math.log2(3) * noise.size


def biased(length):
    eye = np.eye(length, dtype=int)
    return BitModel(np.tril(np.full((length, length), 30), -1), 90 * eye, 70 * eye, np.full(length, -40))


GOLDEN_MAP = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]], np.uint8)
GOLDEN_CODES = np.zeros((3, 4, 12), np.uint8)
GOLDEN_CODES[0, 1, 5], GOLDEN_CODES[1, 3], GOLDEN_CODES[2, 2, 7] = 1, 1, 1


def test_bytes_stay_the_same():
    """A new version of the coder that changes these cannot read old files."""
    models = [biased(8), biased(12)]
    data = encode_codes(models, GOLDEN_MAP, GOLDEN_CODES)
    assert data.hex() == "6be2e4243ef5276a"
    np.testing.assert_array_equal(decode_codes(models, GOLDEN_MAP, data), GOLDEN_CODES)
    plain = concatenated(GOLDEN_CODES, GOLDEN_MAP, [8, 12])
    assert encode_difference(plain).hex() == "250bd3208e08eaef"
    np.testing.assert_array_equal(separated(plain, GOLDEN_MAP, [8, 12]), GOLDEN_CODES)
    assert encode_networks(GOLDEN_MAP, 2).hex() == "56c35159"


def test_damage_is_not_always_seen():
    """Damaged streams mostly do not end where they should; for the others a file needs its checksum."""
    networks = random_map((7, 5), 3, 2)
    codes = sampled_codes(MODELS, networks, 3)
    data, seen, silent = encode_codes(MODELS, networks, codes), 0, 0
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            silent += np.any(decode_codes(MODELS, networks, bytes(broken)) != codes)
        except ValueError:
            seen += 1
    assert seen > 4 * len(data) and silent > 1


ZEROS = np.zeros((2, 2), np.uint8)


@pytest.mark.parametrize(
    "action, message",
    [
        (lambda: encode_codes([], ZEROS, ZEROS[..., None]), "a bit model for each network, got none; load"),
        (lambda: encode_codes(MODELS, ZEROS[0], ZEROS), r"\(R, C\) uint8 with a block or more, got uint8 of \(2,\)"),
        (lambda: encode_codes(MODELS, ZEROS + 4, ZEROS), "must be below 4, got 4; use the models that belong"),
        (
            lambda: encode_codes(MODELS, ZEROS, ZEROS),
            r"uint8 of shape \(2, 2\) and 1 bits or more, got uint8 of \(2, 2\)",
        ),
        (lambda: decode_codes(MODELS, ZEROS.astype(int), b""), "got int64 of"),
        (lambda: decode_codes(MODELS, ZEROS + 2, bytes(7)), "48 bits take 6 bytes at most, got 7; pass the code of"),
        (lambda: decode_codes(MODELS, ZEROS + 2, bytes(3)), "a multiple of 4 bytes, got 3; pass it whole"),
        (lambda: decode_codes(MODELS, ZEROS, b"\x0f"), "bits are damaged, or of other models; fetch the file again"),
        (lambda: encode_difference(np.zeros(0, np.uint8)), r"uint8 of 0 and 1, got uint8 of shape \(0,\); concat"),
        (lambda: encode_difference(np.full(3, 2, np.uint8)), "of 0 and 1"),
        (lambda: encode_difference(np.zeros(3)), "got float64"),
        (lambda: decode_difference(bytes(8), 10**12), "8 bytes cannot hold 1000000000000 decisions; pass the stream"),
        (lambda: decode_networks(b"\3", (2, 2), 3), "must be below 3, got 3"),
        (lambda: decode_networks(bytes(4), (2**20, 2**20), 3), "4 bytes cannot hold 1099511627776 decisions"),
        (lambda: decode_networks(bytes(6), (2, 2), 3), "a multiple of 4 bytes, got 6"),
        (lambda: decode_networks(b"\x13\x57\x9b\xdf" * 40, (2, 2), 3), "goes on after its last decision; decode with"),
    ],
)
def test_bad_arguments_are_named(action, message):
    with pytest.raises(ValueError, match=message):
        action()


@pytest.mark.bench
@pytest.mark.parametrize("length", [64, 216, 368])
def test_speed(length):
    """An image of 768 × 512 pixels: 0.3 processor seconds to decode, 0.1 to encode."""
    model, networks = random_model(length, 0, scale=10), np.zeros((16, 24), np.uint8)
    codes = sampled_codes([model], networks, 0)
    data = encode_codes([model], networks, codes)

    def seconds(action):
        action()
        start = time.process_time()
        for _ in range(5):
            action()
        return (time.process_time() - start) / 5

    encoding = seconds(lambda: encode_codes([model], networks, codes))
    decoding = seconds(lambda: decode_codes([model], networks, data))
    print(f"{length} bits: encode {encoding:.4f} s, decode {decoding:.4f} s")
    assert encoding < 0.1 and decoding < 0.3
