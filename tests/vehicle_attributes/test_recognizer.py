"""A trained network as its users have it: what is saved, loaded, compared and embedded."""

import importlib
import inspect
import json
import pkgutil

import cv2
import keras
import numpy as np
import pytest
from keras import layers

import common.backbones
from common.backbones.ibn_resnet import InstanceBatchNormalization
from common.backbones.resnest import SplitAttention
from common.experiments.export import write
from tests.helpers import onnx_outputs, process_state, run_snippet
from vehicle_attributes import arcface, recognizer
from vehicle_attributes.arcface import CosineDense
from vehicle_attributes.export.__main__ import graphs
from vehicle_attributes.gallery import Gallery
from vehicle_attributes.recognizer import CLASSES, INPUT, NETWORK, Recognizer


def network(height=6, width=8):
    """Embedding: the mean color, blue twice; with every layer of ours behind it."""
    image = keras.Input((height, width, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1.0)(image)
    dense = layers.Dense(4, use_bias=False, name="embedding")
    embedding = dense(layers.GlobalAveragePooling2D()(x))
    dense.kernel.assign(np.eye(3)[:, [0, 1, 2, 2]])
    maps = SplitAttention(4)(InstanceBatchNormalization()(layers.Conv2D(2, 1)(x)))
    logits = CosineDense(2, name="type_logits")(layers.GlobalAveragePooling2D()(maps))
    return keras.Model(image, {"embedding": embedding, "type_logits": logits})


@pytest.fixture(scope="module")
def trained():
    return Recognizer(network(), {"type": ["van", "bus"], "make": ["b", "c", "a"]})


def test_loaded_it_is_the_same(trained, tmp_path):
    recognizer.save(trained, tmp_path)
    loaded = recognizer.load(str(tmp_path))
    assert json.loads((tmp_path / CLASSES).read_text()) == loaded.classes == trained.classes
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), "uint8")
    outputs = loaded.network(images)
    for name, values in trained.network(images).items():
        np.testing.assert_array_equal(outputs[name], values)
    assert loaded.fingerprint == trained.fingerprint


@pytest.mark.tensorflow
def test_as_onnx_it_is_the_same(trained, tmp_path):
    recognizer.save(trained, tmp_path)
    write(graphs(None, None, tmp_path), tmp_path / "onnx", "onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), "uint8")
    outputs, expected = onnx_outputs(tmp_path / "onnx/recognize.onnx", image=images), trained.network(images)
    assert outputs.keys() == expected.keys() == {"embedding", "type_logits"}
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-4)


def test_loading_leaves_the_process_as_it_was(trained, tmp_path):
    recognizer.save(trained, tmp_path)
    before = process_state()
    recognizer.load(tmp_path)
    assert process_state() == before


def test_the_network_comes_last_as_it_says_that_the_training_is_finished(trained, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(recognizer, "write_json", fail)
        with pytest.raises(OSError, match="disk full"):
            recognizer.save(trained, tmp_path)
    assert list(tmp_path.iterdir()) == []
    recognizer.save(Recognizer(network(8, 6), {}), tmp_path)
    monkeypatch.setattr(trained.network, "save", lambda path: path.write_bytes(b"half of") and fail())
    before = (tmp_path / NETWORK).read_bytes()
    with pytest.raises(OSError, match="disk full"):
        recognizer.save(trained, tmp_path)
    assert (tmp_path / NETWORK).read_bytes() == before and len(list(tmp_path.iterdir())) == 3


def test_every_layer_of_a_backbone_is_known_where_none_was_built():
    names = [module.name for module in pkgutil.iter_modules(common.backbones.__path__)]
    modules = [arcface, *(importlib.import_module(f"common.backbones.{name}") for name in names)]
    ours = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, layers.Layer)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    }
    assert set(recognizer._LAYERS.values()) == ours == {CosineDense, InstanceBatchNormalization, SplitAttention}


def test_fingerprint_is_one_of_weights_and_size(trained):
    """Whatever else moves the embedding of an image: another weight, another size, weights in another shape."""
    same, other, larger = network(), network(), network(8, 6)
    for model in (same, larger, other):
        model.set_weights(trained.network.get_weights())
    other.get_layer("embedding").kernel.assign_add(np.full((3, 4), 1e-6))
    prints = [Recognizer(model, {}).fingerprint for model in (trained.network, same, other, larger)]
    assert prints[0] == prints[1] and len(set(prints)) == 3 and all(len(text) == 64 for text in prints)
    dense = [keras.Sequential([keras.Input((2,)), layers.Dense(units, use_bias=False)]) for units in (3, 3)]
    dense[0].set_weights([np.arange(6.0).reshape(2, 3)])
    dense[1].set_weights([np.arange(6.0).reshape(2, 3)[::-1]])
    assert len({Recognizer(model, {}).fingerprint for model in dense}) == 2


def test_embeds_the_boxes_of_files_in_their_order(trained, tmp_path):
    colors, paths = [(200, 40, 90), (10, 250, 30)], []
    for i, color in enumerate(colors):
        picture = np.zeros((20, 30, 3), "uint8")
        picture[5:15, 8:28] = color
        paths.append(tmp_path / f"{1 - i}.png")
        cv2.imwrite(str(paths[-1]), picture[..., ::-1])
    outputs = trained.embed(paths, np.array([[8, 5, 28, 15]] * 2))
    np.testing.assert_allclose(outputs["embedding"], [(*color, color[2]) for color in colors], rtol=1e-5)
    assert outputs["type_logits"].shape == (2, 2)
    # A whole picture: 200 of 600 pixels, and what the resize to 6 × 8 makes of the edges.
    whole = trained.embed(paths)["embedding"]
    np.testing.assert_allclose(whole, np.array([(*color, color[2]) for color in colors]) / 3, rtol=0.15)
    with pytest.raises(ValueError, match="0.png cannot be read in its box .*: it is 30 × 20 pixels large"):
        trained.embed(paths, np.array([[8, 5, 28, 15], [8, 5, 31, 15]]))


def test_a_recognizer_that_is_missing_or_damaged_is_refused(trained, tmp_path):
    recognizer.save(trained, tmp_path)
    content, classes = (tmp_path / NETWORK).read_bytes(), (tmp_path / CLASSES).read_bytes()
    half = len(content) // 2
    for name, bad in (
        (NETWORK, b""),
        (NETWORK, content[: len(content) // 2]),
        (NETWORK, content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]),
        (CLASSES, classes[:9]),
        (CLASSES, b"\xff"),
        (INPUT, b"{}"),
    ):
        (tmp_path / NETWORK).write_bytes(content)
        (tmp_path / CLASSES).write_bytes(classes)
        given = (tmp_path / INPUT).read_bytes()
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(ValueError, match="The recognizer in .* is damaged .* Train it again"):
            recognizer.load(tmp_path)
        (tmp_path / INPUT).write_bytes(given)
    for name in (NETWORK, CLASSES):  # the second one is missing, then both are
        (tmp_path / name).unlink()
        with pytest.raises(ValueError, match="has no trained recognizer: expected recognizer.keras, classes.json and"):
            recognizer.load(tmp_path)
    (tmp_path / NETWORK).write_bytes(content)
    with pytest.raises(ValueError, match="has no trained recognizer"):
        recognizer.load(tmp_path)


def test_the_readme_adds_a_class_and_asks_for_it(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs/vehicle_attributes/mobilenet/lifted_structured-seed0"
    folder.mkdir(parents=True)
    recognizer.save(trained, folder)
    for name, color in (("tram1", (0, 0, 200)), ("unknown", (0, 10, 180))):
        cv2.imwrite(f"{name}.jpg", np.full((6, 8, 3), color, "uint8"))
    options = {"fingerprint": trained.fingerprint, "attribute": "type"}
    Gallery.build("types.gallery", np.eye(4)[1:3], ["bus", "van"], ["bus.jpg", "van.jpg"], **options)
    answers, (ids, labels, paths, features) = run_snippet("vehicle_attributes", 0)["shown"][-2:]
    assert ids.tolist() == [0, 1, 2] and labels.tolist() == ["bus", "van", "tram"]
    assert paths[2] == "tram1.jpg" and features.shape == (3, 4)
    assert answers.recognized.tolist() == ["tram"] and answers.labels.shape == (1, 3)
    assert answers.paths[0, 0] == "tram1.jpg"
