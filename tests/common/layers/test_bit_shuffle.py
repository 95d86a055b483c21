"""ShuffleBits bit by bit, in every way that a graph is run."""

import keras
import numpy as np
import pytest

from common.layers import ShuffleBits
from common.layers.words import words_dtype
from tests.common.shuffle_oracle import IDENTITY, REVERSAL, SIGN_AND_LOWEST, patterns, random_keys, shuffled
from tests.helpers import float64_allowed, run_python, words_of

WORDS = patterns()
FEATURES = WORDS.view(np.float32)
ROWS, ELEMENTS = WORDS.shape
WAYS = {"tensorflow": ("eager", "graph", "xla"), "jax": ("eager", "xla")}.get(keras.backend.backend(), ("eager",))


def run(layer, inputs, way):
    if way == "xla" and keras.backend.backend() == "jax":
        import jax

        layer = jax.jit(layer)
    elif way != "eager":
        import tensorflow as tf

        layer = tf.function(layer, jit_compile=way == "xla")
        inputs = [tf.constant(x) for x in inputs] if isinstance(inputs, list) else tf.constant(inputs)
    return words_of(layer(inputs))


def check(layer, inputs, expected, way="eager"):
    """Bits and type; floats are compared as words, for NaN is not equal to itself."""
    output = run(layer, inputs, way)
    assert output.dtype == ("float32" if layer.inverse else "uint32")
    np.testing.assert_array_equal(output.view(np.uint32), expected)


@pytest.mark.parametrize(
    "key, expected",
    [
        (IDENTITY, [0x3F800000, 0x80000000, 0x7F800000, 0x7F800001]),
        # 0011 1111 1000 … -> … 0001 1111 1100; 1000 … -> 1; 0111 1111 1 … -> … 1 1111 1110; and with 1 at the end.
        (REVERSAL, [0x000001FC, 0x00000001, 0x000001FE, 0x800001FE]),
        # -0.0 becomes the smallest denormal; the signalling NaN's last bit becomes its sign, which leaves -∞.
        (SIGN_AND_LOWEST, [0x3F800000, 0x00000001, 0x7F800000, 0xFF800000]),
        # A rotation to the left, as in the dissertation's Fig. 2.5.
        (np.roll(IDENTITY, -1), [0x7F000000, 0x00000001, 0xFF000000, 0xFF000002]),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_values_by_hand(key, expected, way):
    """1, -0, ∞ and a signalling NaN."""
    words = np.array([[0x3F800000, 0x80000000, 0x7F800000, 0x7F800001]], np.uint32)
    check(ShuffleBits(key), words.view(np.float32), [expected], way)
    check(ShuffleBits(key, inverse=True), np.array([expected], np.uint32), words, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [None, ELEMENTS], ids=["one_key", "key_per_element"])
def test_every_exponent_with_constant_keys(count, way):
    key = random_keys(count)
    encrypted = shuffled(WORDS, key)
    check(ShuffleBits(key), FEATURES, encrypted, way)
    check(ShuffleBits(key, inverse=True), encrypted, WORDS, way)


@pytest.mark.parametrize("way", WAYS)
def test_every_exponent_with_a_key_per_row(way):
    keys = random_keys(ROWS).astype("int32")
    encrypted = shuffled(WORDS, keys[:, None])
    check(ShuffleBits(), [FEATURES, keys], encrypted, way)
    check(ShuffleBits(inverse=True), [encrypted, keys], WORDS, way)


@pytest.mark.parametrize("shape", [(32,), (1, 32)])
def test_one_key_as_input_is_the_constant_key(shape):
    key = random_keys(None).astype("int32")
    check(ShuffleBits(), [FEATURES, key.reshape(shape)], run(ShuffleBits(key), FEATURES, "eager"))


def test_inputs_of_other_ranks():
    keys = random_keys(ROWS).astype("int32")
    check(ShuffleBits(), [FEATURES.reshape(ROWS, 2, -1), keys], shuffled(WORDS, keys[:, None]).reshape(ROWS, 2, -1))
    check(ShuffleBits(keys[0]), FEATURES[:, 0], shuffled(WORDS[:, 0], keys[0]))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("position", [0, 32, -1])
def test_input_key_that_is_no_permutation_lets_nothing_out(position, way):
    """Only the rows of bad keys are empty."""
    keys = random_keys(ROWS).astype("int32")
    expected = shuffled(WORDS, keys[:, None])
    for row in (1, 5):
        keys[row, np.argmax(keys[row] == 7)] = position
        expected[row] = 0
    check(ShuffleBits(), [FEATURES, keys], expected, way)


def test_model_in_half_precision_keeps_the_bits():
    key = random_keys(None)
    image = keras.Input((ELEMENTS,))
    model = keras.Model(image, ShuffleBits(key, dtype="mixed_float16")(image))
    assert keras.backend.standardize_dtype(model.output.dtype) == words_dtype()
    np.testing.assert_array_equal(model.predict(FEATURES, verbose=0), shuffled(WORDS, key))


def test_saves_and_loads_with_its_key(tmp_path):
    keys = random_keys(ELEMENTS)
    image = keras.Input((ELEMENTS,))
    model = keras.Model(image, ShuffleBits(keys, inverse=False)(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(FEATURES), shuffled(WORDS, keys))
    assert loaded.layers[1].get_config()["key"] == keys.tolist() and not loaded.layers[1].inverse


LOADED = """
import numpy as np, tensorflow as tf
data = np.load("data.npz")
features = tf.constant(data["words"].view(np.float32))
for name in ("constant", "element"):
    model = tf.saved_model.load(name)
    np.testing.assert_array_equal(model.serve(features).numpy(), data[name])
model = tf.saved_model.load("request")
np.testing.assert_array_equal(model.serve([features, tf.constant(data["keys"])]).numpy(), data["request"])
model = tf.saved_model.load("inverse")
np.testing.assert_array_equal(model.serve(tf.constant(data["constant"])).numpy().view(np.uint32), data["words"])
print("equal")
"""


@pytest.mark.tensorflow
def test_exported_model_alone(tmp_path):
    """In a process that has TensorFlow and none of this repository."""
    keys, rows = random_keys(ELEMENTS), random_keys(ROWS).astype("int32")
    image, words, key = (
        keras.Input((ELEMENTS,)),
        keras.Input((ELEMENTS,), dtype="uint32"),
        keras.Input((32,), dtype="int32"),
    )
    models = {
        "constant": keras.Model(image, ShuffleBits(keys[0])(image)),
        "element": keras.Model(image, ShuffleBits(keys)(image)),
        "request": keras.Model([image, key], ShuffleBits()([image, key])),
        "inverse": keras.Model(words, ShuffleBits(keys[0], inverse=True)(words)),
    }
    for name, model in models.items():
        model.export(tmp_path / name, verbose=False)
    expected = {
        "constant": shuffled(WORDS, keys[0]),
        "element": shuffled(WORDS, keys),
        "request": shuffled(WORDS, rows[:, None]),
    }
    np.savez(tmp_path / "data.npz", words=WORDS, keys=rows, **expected)
    assert "equal" in run_python("-c", LOADED, cwd=tmp_path, PYTHONPATH="")[0]


@pytest.mark.parametrize(
    "options, inputs, message",
    [
        ({"key": REVERSAL}, np.ones((1, 2)), "encrypts float32, got float64; cast to float32 yourself"),
        ({"key": REVERSAL}, np.ones((1, 2), "float16"), "encrypts float32, got float16; cast to float32 yourself"),
        ({"key": REVERSAL, "inverse": True}, FEATURES, "decrypts uint32, got float32"),
        ({"key": REVERSAL}, [FEATURES, REVERSAL], "with a key takes the features alone, got 2 inputs"),
        ({"key": random_keys(3)}, FEATURES, rf"vectors of 3 elements, got features of shape \({ROWS}, {ELEMENTS}\)"),
        ({}, FEATURES, r"without a key takes \[features, key\]"),
        ({}, FEATURES[:2], r"without a key takes \[features, key\]; pass both"),
        ({}, [FEATURES, REVERSAL, REVERSAL], r"without a key takes \[features, key\]; pass both"),
        ({}, [FEATURES, np.arange(31)], r"shape \(32,\) or \(B, 32\), got \(31,\)"),
        ({}, [FEATURES, random_keys(3)], f"as many as rows, got 3 for {ROWS}"),
        ({}, [FEATURES, np.arange(32.0)], "must be int32, got float"),
    ],
)
def test_bad_inputs_are_reported(options, inputs, message):
    with float64_allowed(), pytest.raises(ValueError, match=message):
        ShuffleBits(**options)(inputs)


@pytest.mark.parametrize("key, message", [([0] * 32, "one twice"), ([*range(31), 32], "outside"), ([0], r"got \(1,\)")])
def test_bad_keys_are_reported(key, message):
    with pytest.raises(ValueError, match=message):
        ShuffleBits(key)


def test_model_of_the_wrong_type_is_reported_while_it_is_built():
    with pytest.raises(ValueError, match="got float16; cast to float32 yourself"):
        ShuffleBits(REVERSAL)(keras.Input((4,), dtype="float16"))


@pytest.mark.parametrize(("rows", "keys"), [(32, 3), (3, 32), (2, 3)])
def test_keys_are_as_many_as_the_rows(rows, keys):
    """Also where one of the two numbers is that of the bits."""
    features, several = np.zeros((rows, 4), "float32"), np.tile(np.arange(32, dtype="int32"), (keys, 1))
    with pytest.raises(ValueError, match=f"There must be one key or as many as rows, got {keys} for {rows}"):
        ShuffleBits()([features, several])


def test_unknown_numbers_of_keys_or_rows_are_left_to_the_batch():
    for rows, keys in ((4, None), (None, 4), (None, None)):
        features, key = keras.Input(batch_shape=(rows, 6)), keras.Input(batch_shape=(keys, 32), dtype="int32")
        assert ShuffleBits()([features, key]).shape == (rows, 6)
