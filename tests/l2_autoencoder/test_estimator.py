import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist, cosine
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from l2_autoencoder.clustering import kmeans_starts
from l2_autoencoder.config import PRESETS
from l2_autoencoder.estimator import AutoencoderClustering

IMAGES = (load_digits().images / 16).astype("float32")[:300]
FAST = {"n_clusters": 5, "epochs": 3, "n_init": 3, "random_state": 0}

# Checks that an estimator of images with a float32 network fails, and why.
EXPECTED_FAILURES = {
    "check_methods_sample_order_invariance": "float32 sums over another order of a batch differ by 1e-7",
    "check_methods_subset_invariance": "float32 sums over another size of a batch differ by 1e-7",
}


ALL_CHECKS = parametrize_with_checks(
    [AutoencoderClustering(2, architecture="dense", embedding_size=2, epochs=1, n_init=2, random_state=0)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)


@pytest.fixture
def untrained(monkeypatch):
    """A network keeps its initial weights, as the graph of a training takes seconds to trace."""

    def initial_weights(model, images, folder, **options):
        return pd.DataFrame({"loss": [np.square(images).mean()]})

    monkeypatch.setattr("l2_autoencoder.estimator.fit_autoencoder", initial_weights)
    monkeypatch.setattr(keras.Model, "load_weights", lambda model, path: None)


@ALL_CHECKS
def test_scikit_learn_conventions_without_training(estimator, check, untrained, monkeypatch):
    monkeypatch.setattr("l2_autoencoder.model.UNITS", (8, 8, 16))  # layers of 2000 take most of the time to initialize
    check(estimator)


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
def test_best_weights_and_all_parameters_are_used(monkeypatch, normalization):
    """The training ends with other weights than the best ones, which it leaves in a file."""
    given, best = {}, []

    def training_that_ends_badly(model, images, folder, **options):
        given.update(options, images=images)
        folder.mkdir()
        best.extend(weight + 0.01 for weight in model.get_weights())
        model.set_weights(best)
        model.save_weights(folder / "best.weights.h5")
        model.set_weights([0 * weight for weight in best])
        return pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.7]})

    def starts(embeddings, clusters, *, restarts, seed):
        given.update(embeddings=embeddings, clusters=clusters, restarts=restarts, seed_of_starts=seed)
        return kmeans_starts(embeddings, clusters, restarts=restarts, seed=seed)

    monkeypatch.setattr("l2_autoencoder.model.UNITS", (8, 8, 16))
    monkeypatch.setattr("l2_autoencoder.estimator.fit_autoencoder", training_that_ends_badly)
    monkeypatch.setattr("l2_autoencoder.estimator.kmeans_starts", starts)
    parameters = {"epochs": 9, "batch_size": 11, "learning_rate": 0.5}
    options = {"n_clusters": 4, "n_init": 2, "normalization": normalization, "architecture": "dense"}
    options |= {"embedding_size": 3, "leaky_relu_slope": 0.4, "contamination": 0.25, "random_state": 0}
    estimator = AutoencoderClustering(**options, **parameters).fit(IMAGES[:40])
    assert {name: given[name] for name in parameters} == parameters and (given["clusters"], given["restarts"]) == (4, 2)
    seed = np.random.RandomState(0).randint(2**31 - 1)  # Keras takes seeds below 2³², scikit-learn their multiples
    assert (given["seed"], given["seed_of_starts"]) == (seed, seed % 2**20)
    np.testing.assert_array_equal(given["images"], IMAGES[:40, ..., None])
    assert estimator.loss_.tolist() == [0.5, 0.7]
    raw = AutoencoderClustering(architecture="dense", embedding_size=3, leaky_relu_slope=0.4, normalization="none")
    raw.image_shape_ = (8, 8, 1)
    network = raw._build(0)
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
    assert AutoencoderClustering().get_params() == expected | {"image_shape": None, "random_state": None}


@pytest.mark.parametrize(
    ("options", "below_zero"),
    [({"architecture": "dense"}, -0.2), ({"architecture": "dense", "leaky_relu_slope": 0.3}, -0.3), ({}, 0)],
)
def test_activations_are_those_of_the_architectures(options, below_zero, monkeypatch):
    """LeakyReLU of the dense autoencoder, ReLU of the convolutional one."""
    monkeypatch.setattr("l2_autoencoder.model.UNITS", (8, 8, 16))
    estimator = AutoencoderClustering(**options)
    estimator.image_shape_ = (8, 8, 1)
    model = estimator._build(0).training_model
    for name in ("encoder_1", "encoder_3", "decoder_3", "decoder_2"):
        np.testing.assert_allclose(model.get_layer(name).activation(np.float32([-1, 2])), [below_zero, 2])


def test_seed_is_that_of_the_random_state(monkeypatch, untrained):
    """The same seed makes the same network and starts, another one another; a generator gives a new one each time."""
    options = {"architecture": "dense", "embedding_size": 2, "n_clusters": 2, "n_init": 1}
    monkeypatch.setattr("l2_autoencoder.model.UNITS", (8, 8, 16))

    def embedded(random_state):
        return AutoencoderClustering(**options, random_state=random_state).fit(IMAGES[:20]).transform(IMAGES[:20])

    generator = np.random.RandomState(0)
    first, again, other, second = map(embedded, (0, generator, 1, generator))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01 and np.abs(first - second).max() > 0.01


def test_threshold_is_the_contamination_quantile(fitted):
    assert fitted.predict_anomaly(IMAGES).sum() == 30  # a tenth of 300
    assert fitted.predict_anomaly(IMAGES, threshold=-1).sum() == 0
    assert fitted.predict_anomaly(IMAGES, threshold=1.1).all()


@pytest.mark.parametrize("way", ["save", "pickle"])
def test_saved_and_loaded_is_the_same(fitted, tmp_path, way):
    if way == "save":
        fitted.save(tmp_path / "digits.npz")
        loaded = AutoencoderClustering.load(tmp_path / "digits.npz")
    else:
        loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(IMAGES), fitted.labels_)
    np.testing.assert_array_equal(loaded.score_samples(IMAGES), fitted.score_samples(IMAGES))
    assert loaded.threshold_ == fitted.threshold_
    assert loaded.get_params() == {**fitted.get_params(), "random_state": 0 if way == "pickle" else None}
    np.testing.assert_array_equal(loaded.loss_, fitted.loss_)
    np.testing.assert_array_equal(loaded.labels_, fitted.labels_)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES[:3], {}, "5 clusters need at least as many samples, got n_samples=3"),
        (np.full((20, 8, 8), np.nan), {}, "contains NaN"),
        (np.ones((20, 8, 8)), {"n_clusters": 2}, "All 20 images are the same; there is nothing to cluster"),
        (np.repeat(IMAGES[:4], 10, axis=0), {}, "5 clusters need as many distinct embeddings, got 4"),
        (IMAGES.reshape(300, -1), {"image_shape": (9, 8, 1)}, r"image_shape \(9, 8, 1\) does not fit rows of 64"),
        (IMAGES, {"contamination": 0}, r"contamination must be in \(0, 0.5\], got 0"),
        (IMAGES, {"contamination": 0.7}, r"contamination must be in \(0, 0.5\], got 0.7"),
        (IMAGES, {"normalization": "l1"}, r"Expected normalization \['none'"),
    ],
)
def test_bad_input_is_refused(images, options, message, untrained):
    if keras.backend.backend() == "torch" and "distinct" in message:
        pytest.skip("PyTorch rounds the embedding of an image by its place in a batch")
    with pytest.raises(ValueError, match=message):
        AutoencoderClustering(**{**FAST, **options}).fit(images)


def test_one_cluster_of_equal_images_is_their_mean(untrained, monkeypatch):
    monkeypatch.setattr("l2_autoencoder.model.UNITS", (8, 8, 16))
    estimator = AutoencoderClustering(**{**FAST, "n_clusters": 1, "architecture": "dense"}).fit(np.ones((20, 8, 8)))
    np.testing.assert_allclose(estimator.cluster_centers_, estimator.transform(np.ones((1, 8, 8))), atol=1e-6)


def test_images_of_another_size_are_refused(fitted):
    with pytest.raises(ValueError, match="X has 81 features, but AutoencoderClustering is expecting 64 features"):
        fitted.predict(np.zeros((3, 9, 9)))
    with pytest.raises(ValueError, match=r"Expected images of shape \(8, 8, 1\) as in fit, got \(4, 16, 1\)"):
        fitted.predict(np.zeros((3, 4, 16)))


def test_damaged_files_are_named(fitted, tmp_path):
    path = tmp_path / "digits.npz"
    fitted.save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="digits.npz is not a file that .*save wrote, or it is damaged"):
        AutoencoderClustering.load(path)
    with pytest.raises(ValueError, match="missing.npz is not a file"):
        AutoencoderClustering.load(tmp_path / "missing.npz")
