import pickle
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist, cosine
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from l2_autoencoder.clustering import kmeans_starts, unit_length
from l2_autoencoder.config import PRESETS
from l2_autoencoder.estimator import AutoencoderClustering, AutoencoderOutlierDetector
from l2_autoencoder.estimator.base import AutoencoderEstimator, _built
from tests.helpers import process_state

IMAGES = (load_digits().images / 16).astype("float32")[:300]
FAST = {"n_clusters": 5, "epochs": 3, "n_init": 3, "random_state": 0}
TINY = {"n_clusters": 2, "architecture": "dense", "embedding_size": 2, "epochs": 1, "n_init": 2, "random_state": 0}

# Checks that an estimator of images with a float32 network fails, and why.
EXPECTED_FAILURES = {
    "check_methods_sample_order_invariance": "float32 sums over another order of a batch differ by 1e-7",
    "check_methods_subset_invariance": "float32 sums over another size of a batch differ by 1e-7",
}
# With what a user gets who passes nothing.
ALL_CHECKS = parametrize_with_checks(
    [AutoencoderClustering(), AutoencoderOutlierDetector()], expected_failed_checks=lambda estimator: EXPECTED_FAILURES
)
# The checks' data are neither pixels nor of two axes.
NO_PIXELS = pytest.mark.filterwarnings("ignore:Pixels are expected", "ignore:Images of")


class Projection:
    """In the place of an autoencoder: random directions, which take no time to build."""

    def __init__(self, image_shape, embedding_size, **options):
        self.weights, self.training_model = [np.random.normal(size=(np.prod(image_shape), embedding_size))], self

    def get_weights(self):
        return self.weights

    def set_weights(self, weights):
        self.weights = weights

    def apply(self, images):
        embeddings = images.reshape(len(images), -1).astype("float64") @ self.weights[0]
        return unit_length(embeddings).astype("float32"), images


@pytest.fixture
def untrained(monkeypatch):
    """Random directions in the place of a network, and fewer starts of k-means."""

    def starts(embeddings, clusters, *, restarts, seed):
        return kmeans_starts(embeddings, clusters, restarts=min(restarts, 3), seed=seed)

    monkeypatch.setattr("l2_autoencoder.estimator.base.build_autoencoder", Projection)
    monkeypatch.setattr("l2_autoencoder.estimator.base.kmeans_starts", starts)
    monkeypatch.setattr(AutoencoderEstimator, "_train", lambda self, images, seed: np.zeros(1))


@pytest.fixture
def small(monkeypatch):
    """Layers of 2000 take most of the time to initialize, and the graph of a training seconds to trace."""

    def eager(model, learning_rate):
        model.compile(keras.optimizers.Adam(learning_rate), "mse", run_eagerly=True)

    monkeypatch.setattr("l2_autoencoder.model.UNITS", (8, 8, 16))
    monkeypatch.setattr("l2_autoencoder.estimator.base.compile_autoencoder", eager)


@NO_PIXELS
@ALL_CHECKS
def test_scikit_learn_conventions_without_training(estimator, check, untrained):
    check(estimator)


@NO_PIXELS
@pytest.mark.slow
@ALL_CHECKS
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def fitted():
    return AutoencoderClustering(**FAST).fit(IMAGES)


def test_predictions_on_training_images_are_the_labels(fitted):
    np.testing.assert_array_equal(fitted.predict(IMAGES), fitted.labels_)
    assert fitted.transform(IMAGES).shape == (300, 10) and len(fitted.loss_) == 3


def test_clone_in_a_pipeline_on_flattened_images_is_the_same(fitted):
    """Another training with the same seed."""
    flat = IMAGES.reshape(300, -1)
    pipeline = make_pipeline(clone(fitted).set_params(image_shape=(8, 8, 1)))
    np.testing.assert_array_equal(pipeline.fit_predict(flat), fitted.labels_)
    np.testing.assert_array_equal(pipeline[-1].labels_, fitted.labels_)
    np.testing.assert_array_equal(pipeline.transform(flat), fitted.transform(IMAGES[..., None]))


def test_normality_separates_noise_from_digits(fitted):
    noise = np.random.default_rng(0).permuted(IMAGES.reshape(300, -1), axis=1).reshape(IMAGES.shape)
    assert fitted.score_samples(IMAGES).mean() > fitted.score_samples(noise).mean()
    assert fitted.score_samples(IMAGES).max() <= 1 + 1e-6


def test_predictions_and_scores_by_other_programs(fitted):
    """The closest center in the plane of each pair, and Eq. 5.6, one image and one center after the other."""
    moved = pickle.loads(pickle.dumps(fitted))
    moved.cluster_centers_ = np.random.default_rng(1).normal(size=(5, 10))
    embeddings = moved.transform(IMAGES)
    np.testing.assert_array_equal(moved.predict(IMAGES), cdist(embeddings, moved.cluster_centers_).argmin(axis=1))
    cosines = [max(1 - cosine(row, center) for center in moved.cluster_centers_) for row in embeddings]
    np.testing.assert_allclose(moved.score_samples(IMAGES), cosines, atol=1e-6)


@pytest.mark.parametrize("normalization", ["none", "l2"])
def test_best_weights_and_all_parameters_are_used(monkeypatch, normalization, small):
    """The training ends with other weights than those of its best epoch."""
    given, best = {}, []

    def training_that_ends_badly(model, batches, *, steps_per_epoch, epochs, callbacks, **options):
        given.update(steps=steps_per_epoch, epochs=epochs, rate=float(model.optimizer.learning_rate))
        for callback in callbacks:
            callback.set_model(model)
        best.extend(weight + 0.01 for weight in model.get_weights())
        for epoch, (weights, loss) in enumerate(((best, 0.5), ([0 * weight for weight in best], 0.7))):
            model.set_weights(weights)
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"loss": loss})

    def starts(embeddings, clusters, *, restarts, seed):
        given.update(embeddings=embeddings, clusters=clusters, restarts=restarts, seed_of_starts=seed)
        return kmeans_starts(embeddings, clusters, restarts=restarts, seed=seed)

    monkeypatch.setattr(keras.Model, "fit", training_that_ends_badly)
    monkeypatch.setattr("l2_autoencoder.estimator.base.kmeans_starts", starts)
    options = {"n_clusters": 4, "n_init": 2, "normalization": normalization, "architecture": "dense"}
    options |= {"embedding_size": 3, "leaky_relu_slope": 0.4, "contamination": 0.25, "random_state": 0}
    estimator = AutoencoderClustering(**options, epochs=9, batch_size=10, learning_rate=0.5).fit(IMAGES[:40])
    assert (given["steps"], given["epochs"], given["rate"]) == (4, 9, 0.5)
    assert (given["clusters"], given["restarts"]) == (4, 2)
    seed = np.random.RandomState(0).randint(2**31 - 1)  # Keras takes seeds below 2³², scikit-learn their multiples
    assert given["seed_of_starts"] == seed % 2**20
    assert estimator.loss_.tolist() == [0.5, 0.7]
    raw = {"image_shape": (8, 8, 1), "architecture": "dense", "embedding_size": 3, "normalization": "none"}
    network = _built({**raw, "activation": "leaky_relu", "leaky_relu_slope": 0.4}, seed=0)
    network.training_model.set_weights(best)
    embeddings = network.apply(IMAGES[:40, ..., None])[0]
    if normalization == "l2":
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(estimator.transform(IMAGES[:40]), embeddings, rtol=1e-5)
    np.testing.assert_allclose(given["embeddings"], embeddings, rtol=1e-5)
    assert estimator.score_samples(IMAGES[:40]).max() <= 1 + 1e-6  # a cosine also without the constraint
    assert estimator.predict_anomaly(IMAGES[:40]).sum() == 10  # a quarter


def test_defaults_are_those_of_the_publications_presets():
    preset = PRESETS["mnist_conv_l2"][1]
    same = ("architecture", "embedding_size", "leaky_relu_slope", "epochs", "batch_size", "learning_rate")
    expected = {name: getattr(preset, name) for name in same} | {"n_init": preset.kmeans_restarts}
    expected |= {
        "normalization": "l2",
        "n_clusters": 10,
        "contamination": 0.1,
    }  # digits; share
    expected |= {"image_shape": None, "random_state": None, "verbose": 0}
    assert AutoencoderClustering().get_params() == AutoencoderOutlierDetector().get_params() == expected


@pytest.mark.parametrize(
    ("options", "below_zero"),
    [({"architecture": "dense"}, -0.2), ({"architecture": "dense", "leaky_relu_slope": 0.3}, -0.3), ({}, 0)],
)
def test_activations_are_those_of_the_architectures(options, below_zero, small, monkeypatch):
    """LeakyReLU of the dense autoencoder, ReLU of the convolutional one."""
    monkeypatch.setattr(AutoencoderEstimator, "_train", lambda self, images, seed: np.zeros(1))
    estimator = AutoencoderClustering(n_clusters=2, n_init=1, **options).fit(IMAGES[:10])
    for name in ("encoder_1", "encoder_3", "decoder_3", "decoder_2"):
        layer = estimator._network.training_model.get_layer(name)
        np.testing.assert_allclose(layer.activation(np.float32([-1, 2])), [below_zero, 2])


def test_seed_is_that_of_the_random_state(untrained):
    """The same seed makes the same network and starts, another one another; a generator gives a new one each time."""

    def embedded(random_state):
        return AutoencoderClustering(**TINY | {"random_state": random_state}).fit(IMAGES[:20]).transform(IMAGES[:20])

    generator = np.random.RandomState(0)
    first, again, other, second = map(embedded, (0, generator, 1, generator))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01 and np.abs(first - second).max() > 0.01


def test_threshold_is_the_contamination_quantile(fitted):
    assert fitted.predict_anomaly(IMAGES).sum() == 30  # a tenth of 300
    assert fitted.predict_anomaly(IMAGES, threshold=-1).sum() == 0
    assert fitted.predict_anomaly(IMAGES, threshold=1.1).all()


def test_clusters_are_measured_as_k_means_does(fitted):
    squares = cdist(fitted.transform(IMAGES), fitted.cluster_centers_).min(axis=1) ** 2
    assert fitted.inertia_ == pytest.approx(squares.sum(), rel=1e-4)
    assert fitted.score(IMAGES[:30]) == pytest.approx(-squares[:30].sum(), rel=1e-3)
    assert fitted.n_iter_ >= 1 and fitted.pixel_range_ == (0, 1)


def test_outliers_are_the_least_normal_tenth(fitted):
    """The detector is the clustering with another answer: same seed, same scores, threshold and share."""
    detector = AutoencoderOutlierDetector(**FAST)
    answers = detector.fit_predict(IMAGES)
    np.testing.assert_array_equal(detector.score_samples(IMAGES), fitted.score_samples(IMAGES))
    assert detector.offset_ == fitted.threshold_
    np.testing.assert_array_equal(answers, np.where(fitted.predict_anomaly(IMAGES), -1, 1))
    np.testing.assert_allclose(detector.decision_function(IMAGES), fitted.score_samples(IMAGES) - fitted.threshold_)
    assert not hasattr(detector, "labels_") and not hasattr(detector, "transform")


def test_the_process_is_as_before(fitted, tmp_path, small):
    """Random numbers, kernels, precision, signals and warnings, after fit, a fit that fails, copies and files."""
    keras.utils.set_random_seed(5)
    keras.random.normal((1,))  # makes Keras' global generator
    before = process_state()
    AutoencoderClustering(**TINY).fit(IMAGES[:20])
    with pytest.raises(ValueError, match="distinct embeddings"):
        AutoencoderClustering(**TINY).fit(np.zeros((20, 8, 8)) + (np.arange(20) > 18)[:, None, None] * 1e-30)
    fitted.save(tmp_path / "digits.npz")
    AutoencoderClustering.load(tmp_path / "digits.npz")
    pickle.loads(pickle.dumps(fitted))
    assert process_state() == before


def test_global_settings_do_not_matter(small):
    """The same network comes out, whatever the process's precision and random numbers are."""
    random.seed(1), np.random.seed(1)
    first = AutoencoderClustering(**TINY).fit(IMAGES[:20])
    random.seed(2), np.random.seed(2)
    keras.config.set_dtype_policy("mixed_bfloat16"), keras.config.set_floatx("float64")
    keras.config.set_image_data_format("channels_first")
    try:
        before = process_state()
        second = AutoencoderClustering(**TINY).fit(IMAGES[:20])
        assert process_state() == before
    finally:
        keras.config.set_dtype_policy("float32"), keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
    np.testing.assert_array_equal(second.transform(IMAGES), first.transform(IMAGES))


def test_threads_fit_what_one_after_the_other_fit(small):
    def embedded(seed):
        return AutoencoderClustering(**TINY | {"random_state": seed}).fit(IMAGES[:20]).transform(IMAGES)

    alone = [embedded(seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        for first, second in zip(alone, pool.map(embedded, range(2))):
            np.testing.assert_array_equal(first, second)


def test_a_failed_fit_leaves_the_last_one_whole(untrained, monkeypatch):
    frame = pd.DataFrame(IMAGES[:20].reshape(20, -1)).add_prefix("pixel")
    estimator = AutoencoderClustering(**TINY).fit(frame)
    before, embeddings = dict(vars(estimator)), estimator.transform(frame)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("l2_autoencoder.estimator.base.kmeans_starts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(IMAGES[:30, :4, :4])
    for images in (IMAGES[:1], np.ones((20, 4, 4)), np.full((20, 8, 8), np.nan)):
        with pytest.raises(ValueError):
            estimator.fit(images)
    assert vars(estimator).keys() == before.keys() and all(vars(estimator)[name] is before[name] for name in before)
    np.testing.assert_array_equal(estimator.transform(frame), embeddings)
    unfitted = AutoencoderClustering(**TINY)
    with pytest.raises(ValueError):
        unfitted.fit(IMAGES[:1])
    assert vars(unfitted).keys() == unfitted.get_params().keys()


def test_a_loss_that_is_not_finite_ends_the_training(small):
    estimator = AutoencoderClustering(**TINY | {"epochs": 3, "learning_rate": 1e30})
    with pytest.raises(ArithmeticError, match=r"The loss became (inf|nan) in epoch \d; choose a lower learning_rate"):
        estimator.fit(IMAGES[:20])


def test_epochs_are_printed_where_wanted(small, capsys):
    for verbose, lines in ((0, 0), (1, 2)):
        AutoencoderClustering(**TINY | {"epochs": 2, "verbose": verbose}).fit(IMAGES[:20])
        assert capsys.readouterr().out.count("Epoch ") == lines


@pytest.mark.parametrize("kind", [AutoencoderClustering, AutoencoderOutlierDetector])
@pytest.mark.parametrize("way", ["save", "pickle"])
def test_saved_and_loaded_is_the_same(tmp_path, way, kind, untrained):
    """With NumPy's numbers as parameters, a data frame's columns, and parameters set for the next fit."""
    frame = pd.DataFrame(IMAGES[:40].reshape(40, -1)).add_prefix("pixel")
    options = {"n_clusters": np.int64(3), "image_shape": np.array([8, 8, 1]), "learning_rate": np.float32(1e-3)}
    saved = kind(**TINY | options | {"random_state": np.int32(7), "verbose": np.False_}).fit(frame)
    saved.set_params(embedding_size=5, architecture="convolutional", n_clusters=np.uint8(9))
    if way == "save":
        saved.save(str(tmp_path / "digits"))
        loaded = kind.load(str(tmp_path / "digits"))
    else:
        loaded = pickle.loads(pickle.dumps(saved))
    np.testing.assert_array_equal(loaded.predict(frame), saved.predict(frame))
    np.testing.assert_array_equal(loaded.score_samples(frame), saved.score_samples(frame))
    fitted_names = {name for name in vars(saved) if name.endswith("_")}
    assert {name for name in vars(loaded) if name.endswith("_")} == fitted_names
    for name in fitted_names:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))
    expected = {name: tuple(v) if name == "image_shape" else v for name, v in saved.get_params().items()}
    assert expected == {name: tuple(v) if name == "image_shape" else v for name, v in loaded.get_params().items()}
    if kind is AutoencoderClustering:
        assert loaded.get_feature_names_out().tolist() == ["autoencoderclustering0", "autoencoderclustering1"]


def test_a_generator_is_not_stored(untrained, tmp_path):
    AutoencoderClustering(**TINY | {"random_state": np.random.RandomState(3)}).fit(IMAGES[:20]).save(tmp_path / "a")
    assert AutoencoderClustering.load(tmp_path / "a").random_state is None


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES[:3], {}, "5 clusters need at least as many samples, got n_samples=3"),
        (np.full((20, 8, 8), np.nan), {}, "contains NaN"),
        (np.ones((20, 8, 8)), {"n_clusters": 2}, "All 20 images are the same; there is nothing to cluster"),
        (np.repeat(IMAGES[:4], 10, axis=0), {}, "5 clusters need as many distinct embeddings, got 4"),
        (IMAGES.reshape(300, -1), {"image_shape": (9, 8, 1)}, r"image_shape \(9, 8, 1\) does not fit rows of 64"),
        (
            IMAGES,
            {"image_shape": (8, 4, 2)},
            r"Expected images of shape \(8, 4, 2\) as image_shape says, got \(8, 8, 1\)",
        ),
        (IMAGES.reshape(300, -1), {"image_shape": (8, 8)}, r"image_shape must be \(height, width, channels\), three"),
        (IMAGES.reshape(300, -1), {"image_shape": (8, 8, 1.0)}, "three integers from 1 on"),
        ([IMAGES[0], IMAGES[1, :4]], {}, r"Expected images of one shape, got \[\(4, 8\), \(8, 8\)\]"),
        (IMAGES[:0], {}, r"0 sample\(s\) .* while a minimum of 1 is required"),
        ([], {}, r"(?s)Expected 2D array|0 sample\(s\)"),
        (IMAGES[:, :0], {}, r"0 feature\(s\) .* while a minimum of 1 is required"),
    ],
)
def test_bad_input_is_refused(images, options, message, untrained):
    with pytest.raises(ValueError, match=message):
        AutoencoderClustering(**{**FAST, **options}).fit(images)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("contamination", value) for value in (0, 0.7, np.nan)),
        *(("n_clusters", value) for value in (0, 2.5, "2")),
        *(("learning_rate", value) for value in (0, np.inf, np.nan)),
        *(("normalization", "l1"), ("architecture", "resnet"), ("embedding_size", 0), ("epochs", 0)),
        *(("batch_size", 0), ("n_init", 0), ("leaky_relu_slope", -0.1), ("random_state", "a"), ("verbose", -1)),
    ],
)
def test_bad_parameters_are_refused_before_training(name, value, monkeypatch):
    monkeypatch.setattr(AutoencoderEstimator, "_fit", lambda *_: pytest.fail("trained"))
    for kind in (AutoencoderClustering, AutoencoderOutlierDetector):
        with pytest.raises(ValueError, match=f"The '{name}' parameter of {kind.__name__} must be"):
            kind(**{name: value}).fit(IMAGES)


def test_lists_are_arrays(untrained):
    expected = AutoencoderClustering(**TINY).fit(IMAGES[:20]).transform(IMAGES[:5])
    flat = {"image_shape": [8, 8, 1]}
    for images, options in (
        (list(IMAGES[:20]), {}),
        (IMAGES[:20].tolist(), {}),
        (tuple(IMAGES[:20, ..., None]), {}),
        (IMAGES[:20].reshape(20, -1).tolist(), flat),
    ):
        again = AutoencoderClustering(**TINY | options).fit(images)
        np.testing.assert_array_equal(again.transform(images[:5]), expected)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (load_digits().images[:20], {}, "Pixels are expected from 0 to 1, got 0 to 16; divide them by 16"),
        ((IMAGES[:20] * 255).astype("uint8"), {}, "got 0 to 255; divide them by 255"),
        (IMAGES[:20] * 2 - 1, {}, "got -1 to 1; scale them"),
        (
            IMAGES[:20].reshape(20, -1),
            {},
            r"64×1 pixels .* image_shape=\(.*\) such as \(8, 8, 1\), or choose",
        ),
        (IMAGES[:20].reshape(20, 1, 64), {}, "Images of 1×64 pixels are convolved along one axis"),
        (IMAGES[:20].reshape(20, -1)[:, :60], {}, r"pass image_shape=\(height, width, channels\), or choose"),
    ],
)
def test_images_that_are_none_are_warned_of(images, options, message, untrained):
    options = TINY | {"architecture": "convolutional"} | options
    with pytest.warns(UserWarning, match=message) as caught:
        estimator = AutoencoderClustering(**options).fit(images)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(images)
        AutoencoderClustering(**TINY).fit(IMAGES[:20].reshape(20, -1))  # dense
        AutoencoderClustering(**options).fit(IMAGES[:20]).predict(IMAGES[:20] * 0.5)
    with pytest.warns(UserWarning, match="got 0 to 16; divide"):
        AutoencoderClustering(**options).fit(IMAGES[:20]).predict(IMAGES[:20] * 16)


def test_one_cluster_of_equal_images_is_their_mean(untrained):
    estimator = AutoencoderClustering(**TINY | {"n_clusters": 1}).fit(np.ones((20, 8, 8)))
    np.testing.assert_allclose(estimator.cluster_centers_, estimator.transform(np.ones((1, 8, 8))), atol=1e-6)


def test_images_of_another_size_are_refused(fitted):
    with pytest.raises(ValueError, match="X has 81 features, but AutoencoderClustering is expecting 64 features"):
        fitted.predict(np.zeros((3, 9, 9)))
    with pytest.raises(ValueError, match=r"Expected images of shape \(8, 8, 1\) as in fit, got \(4, 16, 1\)"):
        fitted.predict(np.zeros((3, 4, 16)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "autoencoder-clustering 1"}, "a.npz is of version 1, expected 2; fit the estimator again"),
        ({"format": "autoencoder-clustering 3"}, "is of version 3, expected 2"),
        ({"format": "another program"}, "is not a file that AutoencoderClustering.save wrote"),
        ({"format": None}, "is not a file that AutoencoderClustering.save wrote"),
        ({"head": "{"}, "or it is damaged"),
        ({"head": "[]"}, "or it is damaged"),
        ({"head": "{}"}, "or it is damaged"),
        ({"head": None}, "or it is damaged"),
        ({"labels_": None}, "or it is damaged"),
        ({"labels_": np.array(["a"])}, "or it is damaged"),
        ({"weight 000": np.zeros((2, 2))}, "or it is damaged"),
        ({"weight 999": np.zeros(2)}, "or it is damaged"),
        ({"other": np.zeros(2)}, r"or it is damaged \(unknown arrays \['other'\]\)"),
        ({"loss_": np.array([np.nan])}, "or it is damaged"),
        ({"cluster_centers_": np.zeros((5, 3))}, "or it is damaged"),
        ({"labels_": np.array([{}], object)}, "no npz file of plain arrays"),
    ],
)
def test_files_that_save_did_not_write_are_refused(fitted, tmp_path, change, message):
    fitted.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file) | change
    np.savez(tmp_path / "a.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message):
        AutoencoderClustering.load(tmp_path / "a.npz")


def test_damaged_files_are_named(fitted, tmp_path):
    path = tmp_path / "digits.npz"
    fitted.save(path)
    content = path.read_bytes()
    for damaged in (content[:1000], b"", b"\0" + content[1:], *(_flipped(content, share) for share in (0.1, 0.5, 0.9))):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="digits.npz is not a file that .*save wrote, or it is damaged"):
            AutoencoderClustering.load(path)
    with pytest.raises(ValueError, match="There is no file .*missing.npz; pass one that AutoencoderClustering.save"):
        AutoencoderClustering.load(tmp_path / "missing.npz")
    fitted.save(path)
    with pytest.raises(ValueError, match="has an AutoencoderClustering, expected AutoencoderOutlierDetector; load it"):
        AutoencoderOutlierDetector.load(path)


def _flipped(content, share):
    place = int(len(content) * share)
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["n_clusters", "n_init", "batch_size"])
def test_true_is_no_number(name):
    """Before anything is trained."""
    with pytest.raises(ValueError, match=f"^{name} must be a number, got True; pass 1 if that is meant"):
        AutoencoderClustering(**{name: True}, epochs=10**9).fit(np.zeros((20, 8, 8)))
