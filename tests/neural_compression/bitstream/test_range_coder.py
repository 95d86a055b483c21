"""What the library of the range coder does, and why it is called as it is."""

import constriction
import numpy as np
import pytest

from neural_compression.bitstream import range_coder

OURS = constriction.stream.model.Bernoulli(perfect=False)
SYMBOLS = (np.random.default_rng(0).random(300) < 0.2).astype(np.int32)
UNITS = np.random.default_rng(1).integers(1, 4096, 300)


def library_stream(bernoulli):
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(SYMBOLS, bernoulli, (UNITS / 4096).astype(np.float32))
    return encoder.get_compressed()


def test_default_bernoulli_is_another_format():
    ours = np.frombuffer(range_coder.encode(SYMBOLS, UNITS), "<u4")
    assert ours.tolist() == library_stream(OURS).tolist()
    default = library_stream(constriction.stream.model.Bernoulli())
    assert default.tolist() == library_stream(constriction.stream.model.Bernoulli(perfect=True)).tolist()
    assert default.tolist() != ours.tolist()


def test_words_are_little_endian_and_native_to_the_library():
    words = library_stream(OURS)
    assert words.dtype == np.uint32
    data = range_coder.encode(SYMBOLS, UNITS)
    assert data == b"".join(int(word).to_bytes(4, "little") for word in words)
    with pytest.raises(TypeError):
        constriction.stream.queue.RangeDecoder(words.astype(">u4"))
    decoder = range_coder.Decoder(data, len(SYMBOLS))
    np.testing.assert_array_equal(decoder.decode(range_coder.fractions(UNITS)), SYMBOLS)
    decoder.finish()


@pytest.mark.parametrize(
    "bad, got",
    [
        ([0.5, np.nan], "float64 from nan to nan"),
        ([0.5], "float64 from 0.5 to 0.5"),
        ([0, 5], "int64 from 0 to 5"),
        ([5, 4096], "int64 from 5 to 4096"),
    ],
)
def test_no_nan_reaches_the_coder(bad, got):
    """There it would abort past every `except Exception`."""
    with pytest.raises(ValueError, match=f"must be integers from 1 to 4095, got {got}; take them from a bit model"):
        range_coder.encode(np.zeros(len(bad), np.int32), np.array(bad))


def test_a_stream_is_refused_for_more_decisions_than_it_can_hold():
    """The likeliest take log2(4096 / 4095) bits, and the coder may leave out 64: 181,680 of them come in no byte."""
    most = 64 / np.log2(4096 / 4095)
    range_coder.Decoder(b"", int(most))
    range_coder.Decoder(bytes(8), int(2 * most))
    for data, count in ((b"", int(most) + 1), (bytes(8), int(2 * most) + 1)):
        with pytest.raises(ValueError, match=f"{len(data)} bytes cannot hold {count} decisions; pass the stream whole"):
            range_coder.Decoder(data, count)


def test_bits_are_stored_where_a_stream_is_no_shorter():
    """The length tells which of both it is, so a stream of as many bytes would be taken for the bits."""
    bits = np.tile(np.uint8([1, 0, 0, 1, 1, 1, 0, 0]), 4)
    assert range_coder.shorter(bytes(4), bits) == b"\x9c" * 4 and range_coder.shorter(
        bytes(4), np.tile(bits, 2)
    ) == bytes(4)
    assert range_coder.stored(bytes(3), 32) is None
    np.testing.assert_array_equal(range_coder.stored(b"\x9c" * 4, 32), bits)


def test_all_fractions_are_exact():
    units = np.arange(1, 4096)
    assert range_coder.fractions(units).dtype == np.float32
    np.testing.assert_array_equal(range_coder.fractions(units).astype(np.float64) * 4096, units)


def test_damage_is_mostly_silent_in_the_library():
    """Of all flipped bits it reports some; for the others it decodes as many symbols as requested."""
    words, reported = library_stream(OURS), 0
    for bit in range(32 * len(words)):
        broken = words.copy()
        broken[bit // 32] ^= np.uint32(1 << bit % 32)
        decoder = constriction.stream.queue.RangeDecoder(broken)
        try:
            assert len(decoder.decode(OURS, range_coder.fractions(UNITS))) == len(UNITS)
        except AssertionError as error:
            assert "invalid for the employed entropy model" in str(error)
            reported += 1
    assert 0 < reported < 4 * len(words)
    assert len(constriction.stream.queue.RangeDecoder(words[:0]).decode(OURS, range_coder.fractions(UNITS))) == 300


def test_one_unit_of_one_probability_garbles():
    """Why no floats come in: one probability that is 1 / 4096 off, and bits are wrong from there to the end."""
    generator = np.random.default_rng(0)
    units = generator.integers(1024, 3072, 5000)
    symbols = generator.random(5000) < units / 4096
    data, off = range_coder.encode(symbols, units), units.copy()
    off[100] += 1
    decoded = range_coder.Decoder(data, 5000).decode(range_coder.fractions(off))
    np.testing.assert_array_equal(decoded[:100], symbols[:100])
    assert all(np.mean(part) > 0.3 for part in np.split(decoded[200:] != symbols[200:], 8))
