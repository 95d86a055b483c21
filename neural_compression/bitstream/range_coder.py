"""The bits of all blocks in a row, and the range coder: the one place that touches `constriction`.

Probabilities come as integers in units of 1 / 4096. Such fractions are exact in float32, so the coder sees the same
numbers on every machine, and never a NaN, at which it would abort the process.
"""

from collections.abc import Sequence

import constriction
import numpy as np

from .bit_model import PRECISION

# The default is perfect=True, which gives another stream and takes four times as long.
_BERNOULLI = constriction.stream.model.Bernoulli(perfect=False)
_LEAST = float(np.log2(PRECISION / (PRECISION - 1)))  # bits that the likeliest decision takes
_AT_ONCE = 2**20  # decisions, which take eight times the memory as the coder wants them
_SLACK = 64  # bits by which a stream may differ from the sum of its costs
_DAMAGED = "The coded bits are damaged, or of other models; fetch the file again, or load the models that encoded it."


def concatenated(codes: np.ndarray, networks: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """(R, C, Kmax) uint8 codes -> (n,) uint8: the bits of all blocks in raster order, each as many as its network has.

    Raises:
        ValueError: shapes or values do not fit.
    """
    longest = max(lengths[n] for n in np.unique(networks))
    if codes.dtype != np.uint8 or codes.shape[:-1] != networks.shape or codes.shape[-1] < longest:
        raise ValueError(
            f"Codes must be uint8 of shape {networks.shape} and {longest} bits or more, got "
            f"{codes.dtype} of {codes.shape}; pad shorter codes with zeros."
        )
    own = np.arange(codes.shape[-1]) < np.asarray(lengths)[networks][..., None]
    if codes.max() > 1 or np.any(codes[~own]):
        raise ValueError(
            "Codes must be 0 or 1, and 0 beyond the length of a block's network, got others; threshold them."
        )
    return codes[own]


def separated(bits: np.ndarray, networks: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Undoes `concatenated`: (R, C, Kmax) uint8, where Kmax is the largest of all lengths.

    Raises:
        ValueError: another number of bits.
    """
    own = np.arange(max(lengths)) < np.asarray(lengths)[networks][..., None]
    if bits.shape != (own.sum(),):
        raise ValueError(f"These networks take {own.sum()} bits, got shape {bits.shape}; pass those of the same image.")
    codes = np.zeros(own.shape, np.uint8)
    codes[own] = bits
    return codes


def fractions(probabilities: np.ndarray) -> np.ndarray:
    """Integers from 1 to 4095 -> float32 probabilities, exact.

    Raises:
        ValueError: others. A NaN would abort the process, past every `except Exception`.
    """
    if probabilities.dtype.kind not in "iu" or np.any((probabilities < 1) | (probabilities >= PRECISION)):
        raise ValueError(
            f"Probabilities must be integers from 1 to {PRECISION - 1}, got {probabilities.dtype} from "
            f"{probabilities.min()} to {probabilities.max()}; take them from a bit model."
        )
    return probabilities.astype(np.float32) / np.float32(PRECISION)


def encode(symbols: np.ndarray, probabilities: np.ndarray) -> bytes:
    """A stream of decisions, in little-endian words of 32 bits.

    Args:
        symbols: (n,) of 0 and 1, or bool.
        probabilities: (n,) integers from 1 to 4095, of a 1.
    """
    encoder = constriction.stream.queue.RangeEncoder()
    for start in range(0, len(symbols), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        encoder.encode(symbols[part].astype(np.int32), _BERNOULLI, fractions(probabilities[part]))
    return encoder.get_compressed().astype("<u4").tobytes()


def shorter(stream: bytes, bits: np.ndarray) -> bytes:
    """The stream, or the (n,) uint8 bits themselves where these take no more bytes; the length says which it is."""
    return stream if len(stream) < (len(bits) + 7) // 8 else np.packbits(bits).tobytes()


def stored(data: bytes, count: int) -> np.ndarray | None:
    """(count,) uint8 bits that `shorter` left as they are, or None for a stream.

    Raises:
        ValueError: more bytes than `count` bits take, or ones in the padding.
    """
    size = (count + 7) // 8
    if len(data) > size:
        raise ValueError(f"{count} bits take {size} bytes at most, got {len(data)}; pass the code of this image alone.")
    if len(data) < size:
        return None
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    if bits[count:].any():
        raise ValueError(_DAMAGED)
    return bits[:count]


class Decoder:
    """Reads what `encode` wrote.

    Args:
        data: the stream.
        count: how many decisions it must hold at least.

    Raises:
        ValueError: no whole words, or too few for that many decisions. So nobody need allocate what a forged size asks.
    """

    def __init__(self, data: bytes, count: int) -> None:
        if len(data) % 4:
            raise ValueError(f"A stream has a multiple of 4 bytes, got {len(data)}; pass it whole.")
        if count * _LEAST > 8 * len(data) + _SLACK:
            raise ValueError(f"{len(data)} bytes cannot hold {count} decisions; pass the stream whole.")
        words = np.frombuffer(data, "<u4").astype(np.uint32)  # in the machine's own order
        self._decoder, self._one = constriction.stream.queue.RangeDecoder(words), np.empty(1, np.float32)

    def decode(self, probabilities: np.ndarray) -> np.ndarray:
        """(n,) float32 from `fractions` -> (n,) int32 of 0 and 1.

        Raises:
            ValueError: the stream is damaged in a way that shows; most do not, see the checksum of `container`.
        """
        try:
            return self._decoder.decode(_BERNOULLI, probabilities)
        except AssertionError:
            raise ValueError(_DAMAGED) from None

    def decode_one(self, probability: int) -> int:
        """One decision, of which the probability of a 1 is an integer from 1 to 4095; errors as for `decode`."""
        self._one[0] = probability / PRECISION
        return int(self.decode(self._one)[0])

    def finish(self) -> None:
        """To be called after the last decision.

        Raises:
            ValueError: the stream goes on.
        """
        if not self._decoder.maybe_exhausted():
            raise ValueError("The stream goes on after its last decision; decode with the models that encoded it.")
