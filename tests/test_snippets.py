"""The Python of the READMEs does what it says; what needs a trained model is tested where one is trained."""

import doctest
import importlib
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

import common.layers
from common.datasets import person_reid
from neural_compression.codec import decode
from tests.helpers import run_snippet
from tests.shufflebits.service.tiny_server import DIMENSIONS, IMAGES, build_embedder

# Module -> what of it others use.
EXAMPLES = {
    "common.layers.adaptive_l2": ["AdaptiveL2", "ConstantL2", "regularize", "weights_by_category"],
    "common.layers.bit_shuffle": ["ShuffleBits"],
    "common.layers.normalization": ["L2Normalize"],
    "common.layers.pooling": ["GeMPooling2D"],
    "common.layers.stream_cipher": ["ChaCha20"],
    "common.losses": ["BatchHardTriplet", "LiftedStructured"],
    "l2_autoencoder.estimator.estimators": ["AutoencoderClustering", "AutoencoderOutlierDetector"],
    "vehicle_attributes.arcface": ["ArcFace", "CosineDense"],
}


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_of_docstrings_run_by_themselves(module, monkeypatch):
    def compile_eagerly(model, learning_rate):  # a graph takes seconds to trace
        model.compile(keras.optimizers.Adam(learning_rate), "mse", run_eagerly=True)

    monkeypatch.setattr("l2_autoencoder.estimator.base.compile_autoencoder", compile_eagerly)
    tests = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module), globs={})
    examples = {test.name.removeprefix(f"{module}.") for test in tests if test.examples}
    assert examples == set(EXAMPLES[module])
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


def test_all_public_layers_have_an_example():
    assert {name for names in EXAMPLES.values() for name in names} >= set(common.layers.__all__)


class Batches(keras.utils.PyDataset):
    """Two batches of four vectors."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.ones((4, 3), "float32"), np.zeros((4, 1), "float32")


def test_adaptive_l2_regularizes_any_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((3,))
    network = keras.Model(inputs, keras.layers.Dense(1, name="dense")(inputs))
    names = run_snippet("adaptive_l2", 0, keras=keras, network=network, loss="mse", data=Batches())
    # Kernel and bias have a factor each, which starts at A / 2.
    assert "factor_dense_kernel,loss" in Path("log.csv").read_text().splitlines()[0].replace("factor_dense_bias,", "")
    assert names["model"].count_params() == network.count_params() + 2


@pytest.mark.filterwarnings("ignore:.* the published set:UserWarning")
def test_ranking_is_scored_by_camera_and_attribute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = person_reid.read("synthetic", tmp_path, attributes=True, identities=48, cameras=3, images_per_camera=2)
    generator, arrays = np.random.default_rng(0), {}
    directions = generator.normal(size=(49, 8))
    for side, table in (("query", data.query), ("gallery", data.gallery)):
        noise = generator.normal(size=(len(table), 8))
        spread = np.where(table.identity < 1, 9, 0.1)
        arrays[f"{side}_features"] = directions[table.identity.clip(0)] + noise * spread[:, None]
        arrays |= {f"{side}_identities": table.identity, f"{side}_cameras": table.camera}
    np.savez("features.npz", **arrays)
    folder = Path(data.train.path[0]).parents[1]
    names = run_snippet("adaptive_l2", 1, folder=folder, distances=np.array([0.0, 1.0]), Path=Path)
    scores, pairs, backpacks, probabilities = names["shown"]
    assert scores == (names["scores"].mean_average_precision, names["scores"].cmc[1], 0) and scores[0] > 0.9
    assert len(pairs) == 6 and sorted(backpacks.index) == sorted(data.query.backpack.unique())
    assert probabilities[0] > 0.9 > 0.1 > probabilities[1]


def test_images_are_clustered_saved_and_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).random((40, 8, 8, 1), dtype="float32")
    fitted = "AutoencoderClustering(n_clusters=10, "
    names = run_snippet("l2_autoencoder", 0, {fitted: f"{fitted}epochs=2, "}, images=images, new_images=images[:5])
    (labels, embeddings), scores, _ = names["shown"]
    assert labels.shape == (40,) and scores.shape == (5,)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    again = names["AutoencoderClustering"].load("digits.npz")
    np.testing.assert_allclose(again.score_samples(images[:5]), scores, rtol=1e-5)


@pytest.mark.tensorflow
def test_pieces_work_as_their_page_says(tmp_path, monkeypatch):
    def compile_eagerly(model, learning_rate):
        model.compile(keras.optimizers.Adam(learning_rate), "mse", run_eagerly=True)

    monkeypatch.setattr("l2_autoencoder.estimator.base.compile_autoencoder", compile_eagerly)
    monkeypatch.chdir(tmp_path)
    names = run_snippet("docs/pieces.md", None)
    shown = [value for value in names["shown"] if value is not None]
    left_out, restored, losses, (labels, embeddings), outliers, average, first, added, recognized = shown
    assert [path.split("/")[-1] for path in left_out] == ["bias"]
    np.testing.assert_array_equal(restored, [[1.5, -2.0]])
    assert np.isfinite(losses).all() and labels.shape == (40,) and embeddings.shape == (40, 10)
    assert (
        set(outliers) == {-1, 1}
        and 0 < average < 1
        and 0 <= first <= 1
        and (added, recognized.tolist()) == (1, ["van"])
    )
    assert (tmp_path / "exported/saved_model.pb").is_file()


def test_a_photograph_is_coded_and_decoded():
    image = load_sample_image("china.jpg")[200:296, 300:428]
    names = run_snippet("neural_compression", 0, image=image)
    assert np.array_equal(names["shown"][0], names["encoded"].reconstruction) and names["encoded"].psnr >= 25
    assert np.array_equal(names["shown"][0], decode(names["model"], names["data"]))


def test_features_are_encrypted_inside_the_model():
    permutation = np.random.default_rng(0).permutation(32)
    model, images = build_embedder(), IMAGES[:2]
    names = run_snippet(
        "shufflebits", 0, model=model, images=images, dimensions=DIMENSIONS,
        permutation=permutation, permutations=np.stack([permutation, permutation[::-1]]),
    )  # fmt: skip
    np.testing.assert_allclose(names["features"], model.predict_on_batch(images), rtol=1e-5)
    assert len(names["sealed"]) == 24 + 4 * 2 * DIMENSIONS + 16
    # The last words are those of a key per row; the first row has the constant key.
    restored = keras.ops.convert_to_numpy(names["restored"])
    assert np.array_equal(restored[0], names["features"][0])
    assert not np.array_equal(restored[1], names["features"][1])
