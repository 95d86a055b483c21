"""One way of encrypting a batch of features: prints GB/s of features as JSON.

python -m tests.benchmarks.contenders.shufflebits NAME ROWS
"""

import struct
import sys
from collections.abc import Callable

import numpy as np

from tests.benchmarks.contenders import measures

WIDTH, KEY = 2048, np.random.default_rng(0).permutation(32)
REPEATS, LIMIT = 30, 20  # runs, and seconds after which no further run begins

Run = Callable[[], object]
Start = Callable[[np.ndarray, np.ndarray], Run]  # features and room for words -> what is measured


def memcpy(features: np.ndarray, words: np.ndarray) -> Run:
    return lambda: np.copyto(words, features.view(np.uint32))


def array(threads: int | None, by_element: bool = False) -> Start:
    """The array path."""

    def start(features, words):
        from shufflebits.cipher.keys import Key
        from shufflebits.cipher.shuffle import encrypt

        key = Key.derive(bytes(32), WIDTH) if by_element else Key(KEY)
        return lambda: encrypt(features, key, threads, out=words)

    return start


def array_with_fresh_memory(features: np.ndarray, words: np.ndarray) -> Run:
    from shufflebits.cipher.keys import Key
    from shufflebits.cipher.shuffle import encrypt

    key = Key(KEY)
    return lambda: encrypt(features, key, 1)


def sealed(features: np.ndarray, words: np.ndarray) -> Run:
    from shufflebits.cipher.sealed import seal

    return lambda: seal(features, bytes(32))


def layer(xla: bool, threads: int | None = 1, kind: str = "constant") -> Start:
    """The layers, and an addition in the same framework, which only reads and writes."""

    def start(features, words):
        import tensorflow as tf

        from common.layers import ChaCha20, ShuffleBits

        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        others = {
            "request": [np.tile(KEY, (len(features), 1)).astype("int32")],
            "chacha20": [np.zeros(size, "uint32") for size in ((8,), (3,), ())],
        }.get(kind, [])
        encrypt = {
            "constant": ShuffleBits(KEY),
            "request": ShuffleBits(),
            "chacha20": ChaCha20(),
            "addition": lambda x: x + 1,
        }[kind]
        function = tf.function(lambda *x: encrypt(x[0] if len(x) == 1 else list(x)), jit_compile=xla)
        inputs = [tf.constant(x) for x in (features, *others)]
        return lambda: function(*inputs)

    return start


def library(name: str) -> Start:
    """A stream cipher of `cryptography`, into memory that is there."""

    def start(features, words):
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        if name == "ChaCha20":
            cipher = Cipher(algorithms.ChaCha20(bytes(32), bytes(16)), mode=None)
        else:
            cipher = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16)))
        encryptor, room = cipher.encryptor(), np.empty(words.nbytes + 16, np.uint8)
        return lambda: encryptor.update_into(features.reshape(-1).view(np.uint8), room)

    return start


def number_by_number(features: np.ndarray, words: np.ndarray) -> Run:
    """Strings of bits, as the publication's definition reads."""
    key, numbers = KEY.tolist(), features.ravel().tolist()

    def run():
        encrypted = []
        for number in numbers:
            a = f"{struct.unpack('>I', struct.pack('>f', number))[0]:032b}"
            b = [""] * 32
            for i, position in enumerate(key):
                b[position] = a[i]
            encrypted.append(struct.unpack(">f", int("".join(b), 2).to_bytes(4, "big"))[0])
        return encrypted

    return run


CONTENDERS: dict[str, Start] = {
    "memcpy": memcpy,
    "array path, 1 thread": array(1),
    "array path, all threads": array(None),
    "array path, 1 thread, fresh memory": array_with_fresh_memory,
    "array path, key per element, 1 thread": array(1, by_element=True),
    "array path, key per element, all threads": array(None, by_element=True),
    "layer, XLA, 1 thread": layer(True),
    "layer, XLA, all threads": layer(True, None),
    "layer, XLA, key per request, 1 thread": layer(True, kind="request"),
    "layer, graph, 1 thread": layer(False),
    "layer, graph, all threads": layer(False, None),
    "`x + 1`, XLA, 1 thread": layer(True, kind="addition"),
    "number by number": number_by_number,
    "AES-128-CTR": library("AES-128-CTR"),
    "ChaCha20": library("ChaCha20"),
    "ChaCha20 layer, XLA, 1 thread": layer(True, kind="chacha20"),
    "`seal`, XChaCha20-Poly1305": sealed,
}
# One row is enough for what takes seconds for a batch.
SLOW = {"number by number"}

if __name__ == "__main__":
    name = sys.argv[1]
    rows = 1 if name in SLOW else int(sys.argv[2])
    features = np.random.default_rng(1).standard_normal((rows, WIDTH), "float32")
    words = np.zeros(features.shape, np.uint32)
    seconds = measures.seconds_of(CONTENDERS[name](features, words), REPEATS, LIMIT)
    measures.report(gigabytes_per_second=features.nbytes / min(seconds) / 1e9)
