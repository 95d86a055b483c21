"""Every public layer and loss, saved, loaded in another process, and exported from there: the numbers are the same."""

import keras
import numpy as np
import pytest
from keras import layers

from common.experiments import export
from common.layers import AdaptiveL2, ChaCha20, ConstantL2, GeMPooling2D, L2Normalize, ShuffleBits, regularize
from common.losses import BatchHardTriplet, LiftedStructured
from tests.helpers import run_python, value_and_gradients
from vehicle_attributes.arcface import ArcFace, CosineDense

GENERATOR = np.random.default_rng(0)
CHILD = """
import sys, keras, numpy as np, tensorflow as tf
from pathlib import Path
import common.layers, common.losses, vehicle_attributes.arcface
from common.experiments import export

folder, onnx = Path(sys.argv[1]), sys.argv[2] == "True"
inputs, outputs, models = dict(np.load(folder / "inputs.npz")), {}, {}
stems = [path.stem for path in folder.glob("*.keras")]
of = {stem: [array for name, array in inputs.items() if name.split()[0] == stem] for stem in stems}
for name, own in of.items():
    model = keras.saving.load_model(folder / f"{name}.keras")
    if name.startswith("loss_"):
        outputs[name] = model.evaluate(*own, verbose=0)
    else:
        models[name] = getattr(model, "network", model)
        outputs |= {f"{key} loaded": value for key, value in model(own if len(own) > 1 else own[0]).items()}
export.write(models, folder / "saved")
saved = tf.saved_model.load(folder / "saved")
for name in models:
    own = of[name]
    outputs |= {f"{key} saved": value for key, value in getattr(saved, name)(own if len(own) > 1 else own[0]).items()}
if onnx:
    import onnxruntime
    export.write({"layers": models["layers"]}, folder / "onnx", "onnx")
    session = onnxruntime.InferenceSession(folder / "onnx/layers.onnx")
    results = session.run(None, dict(zip([value.name for value in models["layers"].inputs], of["layers"])))
    outputs |= {f"{value.name} onnx": result for value, result in zip(session.get_outputs(), results)}
    ciphers = models["ciphers"]
    try:
        export.write({"cipher": keras.Model(ciphers.inputs[0], ciphers.output["shuffled"])}, folder / "none", "onnx")
    except ValueError as error:
        outputs["refused"] = str(error)
np.savez(folder / "outputs.npz", **outputs)
"""


def of_layer(layer, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], layer(inputs if len(inputs) > 1 else inputs[0]))


def dense():
    return keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="relu"), layers.Dense(2)])


def pieces():
    """Name -> model of a dictionary of outputs, with heights, widths and batches unknown, and its inputs."""
    values = GENERATOR.random((4, 5, 6, 3), "float32"), GENERATOR.random((4, 3, 5, 6), "float32")
    rows = GENERATOR.normal(size=(4, 6)).astype("float32")
    maps, turned, vectors, tall = (keras.Input(shape) for shape in ((None, None, 3), (3, None, None), (6,), (None, 6)))
    outputs = {
        "pooled": GeMPooling2D(2.5)(maps),
        "pooled_first": GeMPooling2D(data_format="channels_first")(turned),
        "unit": L2Normalize()(tall),
        "unit_first": L2Normalize(axis=1)(turned),
        "cosines": CosineDense(3)(vectors),
        "constant": ConstantL2(dense(), 0.1, ["dense_kernel"])(vectors),
        "adaptive": AdaptiveL2(dense(), 0.1)(vectors),
    }
    large = rows[:, None] * np.float32([[1], [0], [1e20], [1e-3]])
    features, words = keras.Input((6,)), keras.Input((6,), dtype="uint32")
    key = GENERATOR.permutation(32).astype("int32")
    positions = keras.Input(batch_shape=(32,), dtype="int32")
    secrets = [keras.Input(batch_shape=shape, dtype="uint32") for shape in ((8,), (3,), ())]
    ciphers = {
        "shuffled": ShuffleBits(key)(features),
        "restored": ShuffleBits(key, inverse=True)(words),
        "keyed": ShuffleBits()([features, positions]),
        "encrypted": ChaCha20()([features, *secrets]),
    }
    numbers = [np.arange(8, dtype="uint32"), np.arange(3, dtype="uint32"), np.array(1, "uint32")]
    named = keras.Model(vectors, {"output": dense()(vectors)})
    secret = [rows, rows.view("uint32"), key, *numbers]
    return {
        "layers": (keras.Model([maps, turned, vectors, tall], outputs), [*values, rows, large]),
        "ciphers": (keras.Model([features, words, positions, *secrets], ciphers), secret),
        "regularized": (regularize(named, include=["dense_kernel"]), [rows]),
    }


def losses():
    """Name -> compiled model, its inputs, and labels that float32 does not tell apart."""
    rows, labels = GENERATOR.normal(size=(8, 6)).astype("float32"), 2**40 + np.arange(8) // 2
    compiled = {}
    for loss in (BatchHardTriplet(0.5), LiftedStructured(0.7), ArcFace(0.3, 8.0)):
        model = of_layer(CosineDense(4), (6,)) if loss.name == "arcface" else dense()
        model.compile("sgd", loss)
        compiled[f"loss_{loss.name}"] = model, rows, labels - 2**40 if loss.name == "arcface" else labels
    return compiled


@pytest.mark.tensorflow
def test_numbers_are_the_same_from_files_and_exports(tmp_path):
    has_onnx = bool(export.importlib.util.find_spec("onnxruntime"))
    inputs, expected, of_losses = {}, {}, {}
    for name, (model, values) in pieces().items():
        outputs = model(values if len(values) > 1 else values[0])
        for key, output in outputs.items():
            ways = "loaded", "saved", *(["onnx"] if has_onnx and name == "layers" else [])
            expected |= {f"{key} {way}": keras.ops.convert_to_numpy(output) for way in ways}
        model.save(tmp_path / f"{name}.keras")
        inputs |= {f"{name} {number}": value for number, value in enumerate(values)}
    for name, (model, rows, labels) in losses().items():
        of_losses[name] = model.evaluate(rows, labels, verbose=0)
        model.save(tmp_path / f"{name}.keras")
        inputs |= {f"{name} 0": rows, f"{name} 1": labels}
    np.savez(tmp_path / "inputs.npz", **inputs)
    run_python("-c", CHILD, str(tmp_path), str(has_onnx))
    outputs = dict(np.load(tmp_path / "outputs.npz"))
    for name, value in of_losses.items():
        np.testing.assert_allclose(outputs.pop(name), value, rtol=1e-5)
    if has_onnx:
        assert "cipher cannot be written as ONNX (No Op registered for Bit" in str(outputs.pop("refused"))
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        assert outputs[name].dtype == values.dtype
        if values.dtype == np.uint32 or name.startswith("restored"):
            np.testing.assert_array_equal(outputs[name].view("uint32"), values.view("uint32"))
        else:
            np.testing.assert_allclose(outputs[name], values, atol=1e-5, err_msg=name)


def loss_and_gradient(loss, labels, points):
    variable = keras.Variable(points)
    value, (gradient,) = value_and_gradients(lambda: loss(labels, variable.value), [variable])
    return value, gradient


LOSSES = [BatchHardTriplet(), BatchHardTriplet(0.3), LiftedStructured(), ArcFace()]


@pytest.mark.parametrize("loss", LOSSES[:3], ids=lambda loss: f"{loss.name}-{loss.margin}")
def test_identities_are_integers_of_any_size(loss):
    """Neighbors beyond 2^24, as lists, columns, floats of 64 bits, negative and unsigned ones: what 0 to 3 give."""
    points = GENERATOR.normal(size=(8, 3)).astype("float32")
    small = np.arange(8) // 2
    expected = np.asarray(loss(small, points))
    identities = [small + 2**24, small[:, None] + 2**24, small.tolist(), small + 2.0**40, -small - 1]
    identities += [small.astype("int8"), (small + 250).astype("uint8"), small.astype("uint16") + 2**15]
    identities += [small.astype("float32"), small > 9]
    for labels in identities[:-1]:
        np.testing.assert_allclose(np.asarray(loss(labels, points)), expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(loss(identities[-1], points)), 0)  # truth values, all the same
    tensor = keras.ops.convert_to_tensor((small + 2**24).astype("int32"))
    np.testing.assert_allclose(np.asarray(loss(tensor, points)), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name}")
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.eye(4, dtype="int32"),
            r"one integer for each sample, .* got labels of shape \(4, 4\); of one-hot",
        ),
        (np.eye(4, dtype="float32"), r"of one-hot labels pass argmax\(labels, -1\)"),
        (
            np.array([0, 1, 1, 2**24], "float32"),
            "labels as float32, in which numbers from 16777216 on are not",
        ),
        (np.array([0.5, 1, 1, 2]), "takes whole numbers as labels, got float64"),
        (np.array(["a", "a", "b", "b"]), "takes whole numbers as labels, got <U1; number the identities"),
    ],
)
def test_labels_that_are_none_are_refused(loss, labels, message):
    with pytest.raises(ValueError, match=f"{type(loss).__name__} .*{message}"):
        loss(labels, np.eye(4, dtype="float32"))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name}")
def test_predictions_that_do_not_fit_are_refused(loss):
    name = type(loss).__name__
    for shape in ((4, 2, 2), (0, 2)):
        with pytest.raises(ValueError, match=rf"{name} takes predictions \(B, D\) .*, got shape \({shape[0]}, 2"):
            loss(np.arange(shape[0]), np.zeros(shape, "float32"))
    with pytest.raises(ValueError, match=f"{name} takes a label for each prediction, got 3 labels of 4 predictions"):
        loss(np.arange(3), np.zeros((4, 2), "float32"))
    values = GENERATOR.random((4, 2), "float32")
    np.testing.assert_allclose(loss([0, 0, 1, 1], values.tolist()), np.asarray(loss([0, 0, 1, 1], values)), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name}")
def test_one_model_takes_labels_of_every_shape_and_type(loss):
    """For which TensorFlow traces it again, and in the end with labels of which it does not know the axes."""
    model = of_layer(CosineDense(4), (6,))
    model.compile("sgd", loss)
    rows, labels = GENERATOR.normal(size=(8, 6)).astype("float32"), np.arange(8) // 2
    columns = labels[:, None]
    given = [labels, labels.astype("int32"), labels.astype("float64"), columns, labels.astype("uint8"), columns * 1.0]
    values = [float(model.evaluate(rows, each, verbose=0)) for each in given]
    np.testing.assert_allclose(values, values[0], rtol=1e-5)


def test_empty_batches_stay_empty():
    assert tuple(L2Normalize()(np.zeros((0, 5, 4), "float32")).shape) == (0, 5, 4)
    assert tuple(CosineDense(3)(np.zeros((0, 4), "float32")).shape) == (0, 3)
    assert tuple(GeMPooling2D()(np.zeros((0, 2, 5, 3), "float32")).shape) == (0, 3)
    assert tuple(GeMPooling2D(data_format="channels_first")(np.zeros((0, 3, 2, 5), "float32")).shape) == (0, 3)


@pytest.mark.parametrize("loss", LOSSES[:3], ids=lambda loss: f"{loss.name}-{loss.margin}")
def test_embeddings_of_any_length_have_finite_losses_and_gradients(loss):
    """1e20, whose square float32 does not have: the triplet loss is that of the points times 1e20."""
    points = np.float32([[0, 1], [0, 4], [3, 1], [3, 9]])
    value, gradient = loss_and_gradient(loss, [0, 0, 1, 1], points * np.float32(1e20))
    assert np.isfinite(value) and np.isfinite(gradient).all() and gradient.any()
    if isinstance(loss, BatchHardTriplet):  # farthest positives 3, 3, 8, 8; nearest negatives 3, √18, 3, √34
        gaps = np.array([0, 3 - 18**0.5, 5, 8 - 34**0.5])
        expected = np.maximum(gaps, 0).mean() * 1e20
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_a_class_without_a_center_makes_the_loss_nan():
    each = ArcFace(0.0, 1.0, reduction=None)(np.array([0, 1, 2, -1, 2**33]), np.eye(5, 2, dtype="float32"))
    assert np.isnan(np.asarray(each)).tolist() == [False, False, True, True, True]


def test_maps_of_many_sizes_are_pooled_by_one_layer():
    """Means of squares: 1, 2 … n have (n + 1)(2n + 1) / 6."""
    model = of_layer(GeMPooling2D(2.0), (None, None, 1))
    for height, width in ((1, 2), (3, 4), (7, 1)):
        n = height * width
        maps = np.arange(1, n + 1, dtype="float32").reshape(1, height, width, 1)
        np.testing.assert_allclose(np.asarray(model(maps)), [[((n + 1) * (2 * n + 1) / 6) ** 0.5]], rtol=1e-5)
        turned = GeMPooling2D(2.0, data_format="channels_first")(maps.transpose(0, 3, 1, 2))
        np.testing.assert_allclose(np.asarray(turned), np.asarray(model(maps)), rtol=1e-6)
    assert GeMPooling2D(data_format="channels_first").compute_output_shape((None, 3, None, None)) == (None, 3)
    with pytest.raises(ValueError, match="data_format must be channels_last or channels_first, got 'first'"):
        GeMPooling2D(data_format="first")
    large = np.full((1, 2, 2, 1), 1e20, "float32")
    np.testing.assert_allclose(np.asarray(GeMPooling2D(3.0)(large)), [[1e20]], rtol=1e-4)


def test_the_power_stays_positive_where_training_pushes_it_down():
    layer = GeMPooling2D(0.5)
    model = of_layer(layer, (2, 2, 1))
    model.compile(keras.optimizers.SGD(100.0), lambda _, y: keras.ops.sum(y, -1), jit_compile=False)
    maps = np.float32([[[[0.1], [0.9]], [[0.2], [0.4]]]])
    for _ in range(2):
        model.train_on_batch(maps, np.zeros((1, 1)))
    assert float(keras.ops.convert_to_numpy(layer.trained_power)) == np.float32(0.01)
    layer.trained_power.assign(-3.0)
    np.testing.assert_allclose(np.asarray(model(maps)), np.exp(np.log(maps).mean(keepdims=True))[..., 0, 0], rtol=0.01)


def test_vectors_of_any_length_get_unit_length():
    vectors = np.float32([[3e20, 4e20], [-3e38, 0], [3, 4], [0, 0]])
    np.testing.assert_allclose(np.asarray(L2Normalize()(vectors)), [[0.6, 0.8], [-1, 0], [0.6, 0.8], [0, 0]], rtol=1e-6)
    cosines = CosineDense(1)
    cosines.build((None, 2))
    cosines.set_weights([np.float32([[1e20, 0]])])
    np.testing.assert_allclose(np.asarray(cosines(vectors)), [[0.6], [-1], [0.6], [0]], rtol=1e-6)
    bad = (0, (None, 2), "units must be one or more"), (1, (None, None), "vectors of a known length")
    for units, shape, message in bad:
        with pytest.raises(ValueError, match=message):
            CosineDense(units).build(shape)


def test_only_whole_float32_networks_are_written_as_onnx(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "need_tensorflow", lambda what: None)
    model = of_layer(layers.Dense(2, dtype="mixed_bfloat16", name="half"), (3,))
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match="ONNX takes networks that compute in float32, but half and others do not"):
        export.write({"model": model}, tmp_path / "out", "onnx")
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="ONNX needs the packages onnx, tf2onnx: make install EXTRAS=onnx"):
        export.write({"model": model}, tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []
