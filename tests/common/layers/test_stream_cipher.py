"""The stream cipher in the graph against RFC 8439 and `cryptography`, and the uses that it refuses."""

import zipfile

import keras
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from common.layers import ChaCha20
from tests.common.layers.test_bit_shuffle import WAYS, run
from tests.common.shuffle_oracle import patterns
from tests.helpers import float64_allowed, run_python, words_of

KEY, NONCE = bytes(range(32)), bytes.fromhex("000000090000004a00000000")
PLAIN = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
PLAIN += b"sunscreen would be it."


def stream(key, nonce, counter):
    """The layer's inputs after the features."""
    return [np.frombuffer(key, "<u4"), np.frombuffer(nonce, "<u4"), np.array(counter, np.uint32)]


def by_library(words, key, nonce, counter):
    encryptor = Cipher(algorithms.ChaCha20(key, counter.to_bytes(4, "little") + nonce), mode=None).encryptor()
    return np.frombuffer(encryptor.update(words.tobytes()), np.uint32).reshape(words.shape)


@pytest.mark.parametrize("way", WAYS)
def test_block_of_the_rfc(way):
    """Section 2.3.2: the key stream is what zeros become."""
    expected = """e4e7f110 15593bd1 1fdd0f50 c47120a3 c7f4d1c7 0368c033 9aaa2204 4e6cd4c3
                  466482d2 09aa9f07 05d7c214 a2028bd9 d19c12b5 b94e16de e883d0cb 4e3c50a2"""
    output = run(ChaCha20(), [np.zeros((1, 16), "float32"), *stream(KEY, NONCE, 1)], way)
    assert output.dtype == np.uint32
    assert [f"{word:08x}" for word in output[0]] == expected.split()


def test_message_of_the_rfc():
    """Section 2.4.2, 114 bytes."""
    expected = (
        "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b357"
        "1639d624e65152ab8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
        "5af90bbf74a35be6b40b8eedf2785e42874d"
    )
    features = np.frombuffer(PLAIN + bytes(2), np.float32)[None]
    nonce = bytes.fromhex("000000000000004a00000000")
    output = words_of(ChaCha20()([features, *stream(KEY, nonce, 1)]))
    assert output.tobytes()[:114].hex() == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(512, 12), (1, 16), (5, 17), (3, 5, 7), (1,)])
def test_bytes_of_the_library(shape, way):
    rng = np.random.default_rng(3)
    words = patterns().ravel()[: np.prod(shape)].reshape(shape)
    key, nonce, counter = rng.bytes(32), rng.bytes(12), 2**31 - 2  # goes over the signed words' end
    encrypted = by_library(words, key, nonce, counter)
    output = run(ChaCha20(), [words.view(np.float32), *stream(key, nonce, counter)], way)
    np.testing.assert_array_equal(output, encrypted)
    output = run(ChaCha20(inverse=True), [encrypted, *stream(key, nonce, counter)], way)
    np.testing.assert_array_equal(output.view(np.uint32), words)


LOADED = """
import numpy as np, tensorflow as tf
data = np.load("data.npz")
model = tf.saved_model.load("model")
output = model.serve([tf.constant(data[name]) for name in ("features", "key", "nonce", "counter")])
np.testing.assert_array_equal(output.numpy(), data["expected"])
print("equal")
"""


@pytest.mark.tensorflow
def test_exported_model_alone(tmp_path):
    """With a batch of any size, in a process that has TensorFlow and none of this repository.

    Without a signature Keras would take each input for a batch.
    """
    inputs = [keras.Input((12,))]
    inputs += [keras.Input(batch_shape=shape, dtype="uint32") for shape in ((8,), (3,), ())]
    model = keras.Model(inputs, ChaCha20()(inputs))
    signature = [keras.InputSpec(x.dtype, x.shape) for x in inputs]
    model.export(tmp_path / "model", verbose=False, input_signature=[signature])
    words = patterns()
    key, nonce, counter = stream(KEY, NONCE, 7)
    expected = by_library(words, KEY, NONCE, 7)
    data = {"features": words.view(np.float32), "key": key, "nonce": nonce, "counter": counter, "expected": expected}
    np.savez(tmp_path / "data.npz", **data)
    assert "equal" in run_python("-c", LOADED, cwd=tmp_path, PYTHONPATH="")[0]


WORD = "int64" if keras.backend.backend() == "torch" else "uint32"  # what Keras has for it


@pytest.mark.parametrize(
    "change, message",
    [
        ({0: np.ones((1, 2), "float64")}, "encrypts float32, got float64; cast to float32 yourself"),
        ({1: np.zeros(7, "uint32")}, r"key must be of shape \(8,\) and uint32, got \(7,\) and " + WORD),
        ({2: np.zeros(3, "int32")}, r"nonce must be of shape \(3,\) and uint32, got \(3,\) and int32"),
        ({3: np.zeros(1, "uint32")}, r"counter must be of shape \(\) and uint32, got \(1,\)"),
    ],
)
def test_bad_inputs_are_reported(change, message):
    inputs = dict(enumerate([np.ones((1, 2), "float32"), *stream(KEY, NONCE, 0)])) | change
    with float64_allowed(), pytest.raises(ValueError, match=message):
        ChaCha20()(list(inputs.values()))


def test_missing_inputs_are_reported():
    inputs = [np.ones((4, 2), "float32"), *stream(KEY, NONCE, 0)]
    for some in (inputs[0], inputs[:3], [*inputs, inputs[3]]):
        with pytest.raises(ValueError, match="takes .*; pass all four"):
            ChaCha20()(some)


def symbolic():
    """Inputs of a model."""
    return [keras.Input((4,)), *(keras.Input(batch_shape=shape, dtype=WORD) for shape in ((8,), (3,), ()))]


@pytest.mark.parametrize(("number", "name"), [(1, "key"), (2, "nonce"), (3, "counter")])
def test_constants_in_a_model_are_refused(number, name):
    """They would be in the saved model, and the same for every batch."""
    parts = symbolic()
    parts[number] = stream(KEY, NONCE, 0)[number - 1]
    with pytest.raises(ValueError, match=f"takes no constant {name} in a graph, .* make the {name} an input"):
        ChaCha20()(parts)


def test_saved_model_has_no_key(tmp_path):
    inputs = symbolic()
    model = keras.Model(inputs, ChaCha20()(inputs))
    model.predict_on_batch([np.ones((2, 4), "f4"), *(x.astype(WORD) for x in stream(KEY, NONCE, 0))])
    model.save(tmp_path / "model.keras")
    config = zipfile.ZipFile(tmp_path / "model.keras").read("config.json").decode()
    assert [word for word in stream(KEY, NONCE, 0)[0].tolist() if str(word) in config] == []
    assert keras.models.load_model(tmp_path / "model.keras").layers[-1].inverse is False


@pytest.mark.graphs
@pytest.mark.parametrize("way", WAYS[1:])
def test_constants_in_a_traced_function_are_refused(way):
    key, nonce, counter = stream(KEY, NONCE, 0)
    with pytest.raises(ValueError, match="takes no constant key in a graph"):
        run(lambda x: ChaCha20()([x, key, nonce, counter]), np.ones((1, 4), "f4"), way)


def test_nonce_serves_one_layer_of_a_graph():
    """Decrypting under it is another matter, and so is a layer whose nonce comes from the same operation."""
    features, key, nonce, counter = symbolic()
    words = ChaCha20()([features, key, nonce, counter])
    ChaCha20(inverse=True)([words, key, nonce, counter])
    with pytest.raises(ValueError, match="Another ChaCha20 layer encrypts under this nonce, with the same key stream"):
        ChaCha20()([features + 1, key, nonce, counter])
    first, second = keras.ops.split(keras.Input(batch_shape=(6,), dtype=WORD), 2)
    for each in (first, second):
        ChaCha20()([features, key, each, counter])
    with pytest.raises(ValueError, match="encrypts under this nonce"):
        ChaCha20()([features, key, first, counter])
