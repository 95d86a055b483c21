"""The bit model: probabilities by hand, integers that no machine can round otherwise, and how well it is fitted."""

import hashlib
import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from neural_compression.bitstream import bit_model, regression
from neural_compression.bitstream.bit_model import PROBABILITIES, BitModel, fit, signs
from neural_compression.bitstream.range_coder import concatenated, separated
from tests.neural_compression.bitstream import synthetic_codes
from tests.neural_compression.bitstream.synthetic_codes import random_map, random_model

# Bit 0: logit 1, and 1/2 for the left block's bit 0. Bit 1: -1, 2 for bit 0, -1 for the upper block's bit 1.
BY_HAND = BitModel(
    np.array([[0, 0], [128, 0]]), np.array([[32, 0], [0, 0]]), np.array([[0, 0], [0, -64]]), np.array([64, -64])
)


def test_probabilities_by_hand():
    """4096 / (1 + e^-x) for x of 1, 1.5, 3, -3, 2, and 0."""
    codes, networks = np.array([[[1, 1], [0, 0]], [[1, 0], [1, 1]]], np.uint8), np.array([[0, 0], [0, 1]], np.uint8)
    own, left, up = signs(codes, networks, 0, 2)
    assert own.tolist() == [[1, 1], [-1, -1], [1, -1]]
    assert left.tolist() == [[0, 0], [1, 1], [0, 0]] and up.tolist() == [[0, 0], [0, 0], [1, 1]]
    expected = [[2994, 2994], [3349, 194], [2994, 2048]]
    assert BY_HAND.probabilities(own, left, up).tolist() == expected
    costs = -2 * math.log2(2994 / 4096), -math.log2((4096 - 3349) / 4096 * (4096 - 194) / 4096), -math.log2(2994 / 8192)
    np.testing.assert_allclose(BY_HAND.costs(own, left, up), costs, rtol=1e-12)
    # The fourth block is of network 1 and knows none of its neighbors.
    np.testing.assert_allclose(BY_HAND.costs(*signs(codes, networks, 1, 2)), costs[:1], rtol=1e-12)


def test_costs_with_neighbors():
    model, networks = random_model(9, 2), np.zeros((4, 6), np.uint8)
    own, left, up = signs(synthetic_codes.random_codes([model], networks, 4), networks, 0, 9)
    none = np.zeros_like(own)
    expected = [[model.costs(own, a, b) for b in (none, up)] for a in (none, left)]
    np.testing.assert_array_equal(model.costs_with_neighbors(own, left, up), expected)


def test_products_are_exact_whatever_the_signs():
    """±1 and 0 in any mixture, rows of zeros, and more bits than count."""
    model, random = random_model(9, 3, neighbor_bits=4), np.random.default_rng(1)
    own, left, up = random.integers(-1, 2, (3, 50, 9)).astype(np.int8)
    left[::3] = 0
    expected = model.bias + left[:, :4].astype(int) @ model.left.T + up[:, :4].astype(int) @ model.up.T
    np.testing.assert_array_equal(model.context_units(left, up), expected)
    np.testing.assert_array_equal(model.own_units(own), own.astype(int) @ model.weights.T)


def test_table_is_the_logistic_function():
    exact = [4096 / (1 + math.exp(-units / 64)) for units in range(-511, 512)]
    assert PROBABILITIES.tolist() == [min(4095, max(1, round(p))) for p in exact]
    assert (PROBABILITIES + PROBABILITIES[::-1] == 4096).all() and PROBABILITIES[0] == 1 and PROBABILITIES[-1] == 4095


def test_table_depends_on_no_machine():
    """Pinned; and far enough from every half that an exponential wrong by 1e-9 would have given the same."""
    assert hashlib.sha256(PROBABILITIES.astype("<i2").tobytes()).hexdigest() == (
        "aa1f8636ac3535907b581b05e0054c2099821d102f80d89f17af54146d0ef411"
    )
    exact = np.array([4096 / (1 + math.exp(-units / 64)) for units in range(-511, 512)])
    assert np.abs(exact % 1 - 0.5).min() > 4096 * 1e-9


def test_probabilities_equal_the_definition():
    models, networks = [random_model(5, 1), random_model(9, 2, scale=300)], random_map((4, 6), 2, 3)
    codes = synthetic_codes.random_codes(models, networks, 4)
    for network, model in enumerate(models):
        ones = model.probabilities(*signs(codes, networks, network, model.length))
        places = np.argwhere(networks == network)
        plain = [
            [synthetic_codes.plain_probability(models, networks, codes, r, c, k) for k in range(model.length)]
            for r, c in places
        ]
        assert ones.tolist() == plain
    assert {1, 4095} <= set(ones.ravel())


def test_largest_weights_do_not_overflow():
    full = np.full((600, 600), 32767)
    model = BitModel(np.tril(full, -1), full, full, full[0])
    ones = np.ones((1, 600), np.int8)
    assert (
        model.context_units(ones, ones)[0, 0] == 1201 * 32767 and model.probabilities(ones, ones, ones)[0, -1] == 4095
    )


def test_saved_models_load(tmp_path):
    model = random_model(7, 5)
    np.savez(tmp_path / "model.npz", **model.save())
    loaded = BitModel.load(np.load(tmp_path / "model.npz"))
    assert loaded.length == 7
    for name, array in model.save().items():
        assert getattr(loaded, name).dtype == np.int16
        np.testing.assert_array_equal(getattr(loaded, name), array)


def arrays(**changed):
    return {**random_model(3, 0).save(), **changed}


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"bias": np.zeros(3)}, r"bias must be integers of shape \(3,\), got float64 of \(3,\); take"),
        ({"left": np.full((3, 3), np.nan)}, r"left must be integers of shape \(3, 3\), got float64"),
        ({"up": np.zeros((3, 4), int)}, r"up must be integers of shape \(3, 3\), got int64 of \(3, 4\)"),
        ({"left": np.zeros((3, 4), int)}, r"left must be integers of shape \(3, 3\), got int64 of \(3, 4\)"),
        ({"left": np.zeros((3, 2), int)}, r"up must be integers of shape \(3, 2\), got int16 of \(3, 3\)"),
        ({"weights": np.eye(3, dtype=int)}, "must be zero on and above the diagonal"),
        ({"up": np.full((3, 3), 40_000)}, "up must fit 16 bits, got values up to 40000; fit"),
        ({"bias": np.zeros((3, 1), int)}, r"bias must be \(K,\), K from 1 to 4096, got shape \(3, 1\); fit"),
        ({"bias": np.zeros(5000, int)}, r"got shape \(5000,\)"),
    ],
)
def test_bad_arrays_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        BitModel.load(arrays(**changed))


def test_missing_arrays_are_named():
    with pytest.raises(ValueError, match="got none of name 'left'; save it again"):
        BitModel.load({"weights": np.zeros((1, 1), int)})


def test_concatenation_is_raster_order():
    networks, codes = np.array([[1, 0], [0, 1]], np.uint8), np.zeros((2, 2, 3), np.uint8)
    codes[0, 0], codes[0, 1, 0], codes[1, 0, 0], codes[1, 1] = [1, 0, 1], 1, 0, [0, 1, 1]
    flat = concatenated(codes, networks, [1, 3])
    assert flat.tolist() == [1, 0, 1, 1, 0, 0, 1, 1]
    np.testing.assert_array_equal(separated(flat, networks, [1, 3]), codes)


@pytest.mark.parametrize(
    "codes, message",
    [
        (np.zeros((1, 2, 2)), r"must be uint8 of shape \(1, 2\) and 2 bits or more, got float64 of \(1, 2, 2\); pad"),
        (np.zeros((1, 2, 1), np.uint8), "and 2 bits or more"),
        (np.zeros((2, 1, 2), np.uint8), "and 2 bits or more"),
        (np.full((1, 2, 2), 2, np.uint8), "must be 0 or 1, and 0 beyond"),
        (np.ones((1, 2, 2), np.uint8), "must be 0 or 1, and 0 beyond"),
    ],
)
def test_bad_codes_are_named(codes, message):
    with pytest.raises(ValueError, match=message):
        concatenated(codes, np.array([[0, 1]], np.uint8), [1, 2])


def test_wrong_number_of_bits_is_named():
    with pytest.raises(ValueError, match=r"take 3 bits, got shape \(2,\); pass those of the same image"):
        separated(np.zeros(2, np.uint8), np.array([[0, 1]], np.uint8), [1, 2])


@pytest.fixture(scope="module")
def sampled():
    """24 grids of two networks, sampled from models that the fit does not know."""
    models = [random_model(6, 7), random_model(10, 8)]
    networks = [random_map((12, 16), 2, seed) for seed in range(24)]
    return models, networks, [synthetic_codes.sampled_codes(models, grid, seed) for seed, grid in enumerate(networks)]


def test_fit_comes_close_to_the_source(sampled):
    """On grids it has not seen, it takes at most 2.5 % more than the model that the codes were sampled from.

    (3K + 1) / (2 N ln 2) bits per bit, 1.8 %, are what K regressions on N = 1,900 blocks cannot know.
    """
    models, networks, codes = sampled
    options = {"epochs": 60, "patience": 60, "batch_size": 128}
    fitted = [fit(codes[:20], networks[:20], n, m.length, **options) for n, m in enumerate(models)]
    rest = list(zip(codes[20:], networks[20:]))
    ideal, actual = (sum(synthetic_codes.bits(m, c, n) for c, n in rest) for m in (models, fitted))
    count = sum(len(concatenated(c, n, [6, 10])) for c, n in rest)
    assert ideal / count < 0.7 and ideal < actual < ideal * 1.025


def test_fit_is_reproducible(sampled):
    _, networks, codes = sampled
    first, second = (fit(codes, networks, 0, 6, epochs=3).save() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@pytest.mark.parametrize("grids, checked", [(20, 2), (4, 1)])
def test_a_tenth_of_the_grids_is_held_out(monkeypatch, grids, checked):
    """One at least; weights are rounded to 64ths."""
    sizes = []

    def regression_of(fitted, held_out, length, generator):
        sizes.append((len(fitted), len(held_out)))
        return np.float32([[0, 0, 0, 0, 0, 0, 0.51 / 64], [1, 0, 0, 0, 0, 0, 0.49 / 64]]), 0.0, 1

    monkeypatch.setattr(bit_model, "logistic_regression", regression_of)
    codes = list(np.random.default_rng(0).integers(0, 2, (grids, 1, 5, 2)).astype(np.uint8))
    model = fit(codes, [np.zeros((1, 5), np.uint8)] * grids, 0, 2)
    assert sizes == [(5 * (grids - checked), 5 * checked)]
    assert model.weights.tolist() == [[0, 0], [64, 0]] and model.bias.tolist() == [1, 0]


def test_fit_knows_the_first_bits_of_neighbors_only(sampled):
    _, networks, codes = sampled
    model = fit(codes, networks, 0, 6, epochs=3, neighbor_bits=2)
    assert model.left.shape == model.up.shape == (6, 2) and model.neighbor_bits == 2
    assert fit(codes, networks, 0, 6, epochs=1, neighbor_bits=128).neighbor_bits == 6


def test_regression_equals_scikit_learn(sampled):
    models, networks, codes = sampled
    grids = [np.concatenate(signs(c, n, 1, 10), 1) for c, n in zip(codes, networks)]
    features = np.pad(np.concatenate(grids), ((0, 0), (0, 1)), constant_values=1)
    weights, loss, _ = regression.logistic_regression(
        features, features, 10, np.random.default_rng(0), epochs=60, patience=60, batch_size=256, l2=0
    )
    expected = 0.0
    for k in range(1, 10):  # bit 0 alike, and scikit-learn wants a feature of its own
        X, y = np.delete(features, np.s_[k:10], 1), features[:, k] > 0
        oracle = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000).fit(X[:, :-1], y)
        own = y * 2 - 1
        expected += np.logaddexp(0, -own * oracle.decision_function(X[:, :-1])).mean()
        ours = np.logaddexp(0, -own * (features @ weights[k])).mean()
        assert ours < np.logaddexp(0, -own * oracle.decision_function(X[:, :-1])).mean() * 1.002
    first = np.logaddexp(0, -features[:, 0] * (features @ weights[0])).mean()
    assert loss == pytest.approx((expected + first) / 10 / math.log(2), rel=2e-3)


def test_fit_wants_two_grids(sampled):
    _, networks, codes = sampled
    with pytest.raises(ValueError, match="Network 0 must be used in two grids or more, got 1; one is held out: add"):
        fit(codes[:1], networks[:1], 0, 6)
