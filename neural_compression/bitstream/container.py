"""The file `.nbc`: the publication's three parts of an image, escape blocks, and what shows that a file is damaged.

All numbers are little-endian. Of 22 bytes around the parts of an image of usual size:

    3  magic "NBC"
    1  version of the format
    8  fingerprint of the model that decodes it
    1  bit 0: codes have the learned context, not the publication's differences; bit 1: gray; bit 2: there are escape
       blocks; others are 0
    4  height and width, 16 bits each
    1+ size of the indicator vector, 7 bits a byte, lowest first; bit 7: more follow
   (1) with escape blocks alone: the number of their step
  (1+) likewise: the size of their stream, written as the one before
       indicator vector, then escape blocks, then image code, up to the checksum
    4  CRC-32 of all before
"""

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MAGIC, VERSION, MODES = b"NBC", 2, ("publication", "context")
BLOCK = 32  # pixels, height and width of a block
MOST_BITS = 4096  # of a code; sums of products of the bit model then stay far below 2^31
MOST_PIXELS = 2**28  # of whole blocks; a decoder takes some ten bytes of memory for each
_HEAD, _CHECKSUM = struct.Struct("<3sB8sBHH"), struct.Struct("<I")
_LARGEST_SIDE = 65535
_SIZE_BYTES = 3, 4  # most of the size of the indicator vector, and of the escape blocks
_CONTEXT, _GRAY, _ESCAPE = 1, 2, 4


@dataclass(frozen=True)
class Container:
    """What a file holds.

    Attributes:
        fingerprint: 8 bytes of the model, see `fingerprint`.
        mode: "publication" or "context", how the image code is to be decoded, see `entropy`.
        height: of the image in pixels, 1 to 65535.
        width: likewise.
        gray: the image has one channel.
        indicators: the coded map of networks.
        image_code: the coded bits of all blocks.
        escape: the coded escape blocks; None: the map knows none.
        step: the number of their step, 0 to 255.

    Raises:
        ValueError: a value is none of these.
    """

    fingerprint: bytes
    mode: str
    height: int
    width: int
    gray: bool
    indicators: bytes
    image_code: bytes
    escape: bytes | None = None
    step: int = 0

    def __post_init__(self) -> None:
        _check_fingerprint(self.fingerprint)
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {self.mode!r}; choose one.")
        if not (1 <= self.height <= _LARGEST_SIDE and 1 <= self.width <= _LARGEST_SIDE):
            raise ValueError(
                f"Height and width must be from 1 to {_LARGEST_SIDE}, got {self.height} and {self.width}; "
                "pass an image of that size."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """(R, C) blocks; the last row and column may be partly outside."""
        return -(-self.height // BLOCK), -(-self.width // BLOCK)


def fingerprint(arrays: Mapping[str, np.ndarray]) -> bytes:
    """8 bytes that tell models apart: of SHA-256 over names, types, shapes and contents, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{name}|{little.dtype.str}|{array.shape}|".encode() + little.tobytes())
    return digest.digest()[:8]


def pack(container: Container) -> bytes:
    """The bytes of a file that holds this.

    Raises:
        ValueError: the image, its indicator vector or its escape blocks are too large.
    """
    _check_pixels(container, MOST_PIXELS, "cut it")
    size, escape = len(container.indicators), container.escape
    if size >= 1 << 7 * _SIZE_BYTES[0]:
        raise ValueError(f"An indicator vector must have less than 2 MiB, got {size} bytes; code it with `entropy`.")
    flags = _CONTEXT * (container.mode == "context") + _GRAY * bool(container.gray)
    sides, sizes = (container.height, container.width), _packed_size(size)
    if escape is not None:
        if len(escape) >= 1 << 7 * _SIZE_BYTES[1]:
            raise ValueError(f"Escape blocks must have less than 256 MiB, got {len(escape)} bytes; cut the image.")
        flags, sizes = flags + _ESCAPE, sizes + bytes([container.step]) + _packed_size(len(escape))
    head = _HEAD.pack(MAGIC, VERSION, container.fingerprint, flags, *sides) + sizes
    content = head + container.indicators + (escape or b"") + container.image_code
    return content + _CHECKSUM.pack(zlib.crc32(content))


def unpack(data: bytes, expected: bytes | None = None, max_pixels: int = MOST_PIXELS) -> Container:
    """Undoes `pack`, and refuses whatever else comes; allocates no more than the data take.

    Args:
        data: a whole file.
        expected: fingerprint of the model at hand; None: any model.
        max_pixels: of whole blocks. A file of a few bytes can claim 4 gigapixels, which nobody should allocate.

    Raises:
        ValueError: empty, foreign or cut short, of another version or model, damaged, or of an impossible size.
    """
    content = _intact(data)
    *_, fingerprint, flags, height, width = _HEAD.unpack_from(content)
    if expected is not None and fingerprint != _check_fingerprint(expected):
        raise ValueError(
            f"The file needs model {fingerprint.hex()}, got model {expected.hex()}; load the one that wrote it."
        )
    if flags > _CONTEXT + _GRAY + _ESCAPE:
        raise ValueError(f"Flags must be below {_CONTEXT + _GRAY + _ESCAPE + 1}, got {flags}; update this package.")
    size, start = _unpacked_size(content, _HEAD.size, _SIZE_BYTES[0])
    step, end = 0, size
    if flags & _ESCAPE and start < len(content):
        step, (size_of_escape, start) = content[start], _unpacked_size(content, start + 1, _SIZE_BYTES[1])
        end += size_of_escape
    elif flags & _ESCAPE:
        raise ValueError("The file ends before its escape blocks; fetch it whole.")
    if end > len(content) - start:
        what = "escape blocks take" if size <= len(content) - start else "indicator vector takes"
        raise ValueError(f"The {what} {end} bytes, got {len(content) - start}; fetch the file whole.")
    parts = bytes(content[start : start + size]), bytes(content[start + end :])
    escape = bytes(content[start + size : start + end]) if flags & _ESCAPE else None
    gray = bool(flags & _GRAY)
    container = Container(fingerprint, MODES[flags & _CONTEXT], height, width, gray, *parts, escape, step)
    _check_pixels(container, max_pixels, "allow more with max_pixels")
    return container


def _intact(data: bytes) -> memoryview:
    """All of a file before its checksum, which fits; of this format and version."""
    if not data:
        raise ValueError("The file is empty; write it again.")
    if bytes(data[: len(MAGIC)]) != MAGIC[: len(data)]:
        raise ValueError(
            f"This is no .nbc file, it starts with {bytes(data[: len(MAGIC)])!r}; pass one that pack wrote."
        )
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise ValueError(
            f"Files of version {VERSION} are read, got version {data[len(MAGIC)]}; decode it with the package of that "
            "version, or encode the image again."
        )
    if len(data) < _HEAD.size + 1 + _CHECKSUM.size:
        raise ValueError(f"The file ends within its header, after {len(data)} bytes; fetch it whole.")
    content = memoryview(data)[: -_CHECKSUM.size]
    if _CHECKSUM.unpack_from(data, len(content))[0] != zlib.crc32(content):
        raise ValueError("The file is damaged or cut short, its checksum does not fit; fetch it again.")
    return content


def _packed_size(size: int) -> bytes:
    packed = bytearray()
    while size >= 128:
        packed.append(size & 127 | 128)
        size >>= 7
    return bytes([*packed, size])


def _unpacked_size(content: memoryview, start: int, most: int) -> tuple[int, int]:
    """The size, and where it ends; each size is written in one way."""
    size = 0
    for i, byte in enumerate(content[start : start + most]):
        size |= (byte & 127) << 7 * i
        if byte < 128:
            if i and not byte:
                break
            return size, start + i + 1
    raise ValueError("The size of a part is written in no known way; fetch the file again.")


def _check_fingerprint(value: bytes) -> bytes:
    if not isinstance(value, bytes) or len(value) != 8:
        raise ValueError(f"A fingerprint must be 8 bytes, got {value!r}; take that of `fingerprint`.")
    return value


def _check_pixels(container: Container, max_pixels: int, remedy: str) -> None:
    rows, columns = container.grid
    pixels = rows * columns * BLOCK**2
    if pixels > max_pixels:
        raise ValueError(f"The image must have up to {max_pixels} pixels, got {pixels} in whole blocks; {remedy}.")
