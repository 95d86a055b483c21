"""The model of bits against loops over its definition and counted frequencies, and the loss by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from neural_compression.networks.rate_distortion import RateDistortion, expected_bits
from neural_compression.networks.thresholds import thresholds_of

RANDOM = np.random.default_rng(0)
COEFFICIENTS = RANDOM.laplace(size=(4000, 4)) * [4, 3, 2, 1]
CUT = thresholds_of(COEFFICIENTS, 18)
CODES = (COEFFICIENTS[:, CUT.which] * np.sign(CUT.values) > np.abs(CUT.values)).astype("float32")


@pytest.fixture
def layer():
    layer = expected_bits(CUT)
    layer.build((None, 18))
    return layer


def test_bits_are_those_of_the_definition(layer):
    for weight in layer.weights:
        weight.assign(RANDOM.normal(0, 0.05, weight.shape))
    bias, by_inner, by_opposite, by_activity, share = (ops.convert_to_numpy(w) for w in layer.weights)
    inner, opposite, expected = CUT.inner(), CUT.opposite(), []
    for code in CODES[:20]:
        bits = 0.0
        for k in range(18):
            logit = bias[k]
            logit += by_inner[k] * code[inner[k]] if inner[k] >= 0 else 0
            logit += by_opposite[k] * code[opposite[k]] if opposite[k] >= 0 else 0
            for j in range(18):
                if CUT.which[j] < CUT.which[k]:
                    logit += share[k] * by_activity[CUT.which[j], CUT.which[k]] * code[j]
            likelihood = 1 / (1 + np.exp(-20 * logit))
            bits -= np.log2(likelihood if code[k] else 1 - likelihood)
        expected.append(bits)
    np.testing.assert_allclose(layer(CODES[:20]), expected, rtol=1e-4)


def test_it_begins_with_the_frequencies(layer):
    """Of a coefficient alone, its cells: the bits are their entropy."""
    layer.start(CODES)
    entropy = 0.0
    for component in range(4):
        cells = np.unique(CODES[:, CUT.which == component], axis=0, return_counts=True)[1] / len(CODES)
        entropy -= (cells * np.log2(cells)).sum()
    assert float(ops.mean(layer(CODES))) == pytest.approx(entropy, rel=0.01)


def test_the_gradient_is_what_turning_the_last_bit_changes(layer):
    """No later bit depends on the last, so it changes the bits by -log2 of the odds."""
    layer.start(CODES)
    code, turned = CODES[:1].copy(), CODES[:1].copy()
    turned[0, -1] = 1 - turned[0, -1]
    middle = (code + turned) / 2
    ends = [float(layer(each)[0]) for each in (code, middle, turned)]
    assert ends[1] == pytest.approx((ends[0] + ends[2]) / 2, rel=1e-6) and ends[0] != ends[2]


def test_the_layer_comes_back_from_its_config(layer):
    other = type(layer).from_config(layer.get_config())
    other.build((None, 18))
    other.set_weights(layer.get_weights())
    np.testing.assert_array_equal(other(CODES[:3]), layer(CODES[:3]))


def test_the_loss_by_hand():
    """Two networks: ((2 + 4) / 2 + 0.1 · (10 + 30) / 2) / 5 = 1 and ((6 + 6) / 2 + 0.5 · (8 + 0) / 2) / 2 = 4."""
    numbers = keras.Input((4,))
    outputs = [numbers[:, i] for i in range(4)]
    model = RateDistortion(numbers, outputs).weigh(["8", "16"], [0.1, 0.5], [5.0, 2.0])
    values = np.array([[2, 10, 6, 8], [4, 30, 6, 0]], "float32")
    model.compile()
    logs = model.evaluate(values, verbose=0, return_dict=True)
    scale = 255**2 / 3072
    expected = {"loss": 2.5, "mse_8": 3 * scale, "mse_16": 6 * scale, "bits_8": 20, "bits_16": 4}
    assert logs == pytest.approx(expected)
