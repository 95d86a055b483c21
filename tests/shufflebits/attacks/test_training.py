"""What reaches the attack models while they are trained, and what each setting changes in them."""

import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from common.datasets.images import read_image
from shufflebits.attacks import training
from shufflebits.attacks.training import build_reconstructor, train_classifier, train_reconstructor
from shufflebits.config import PRESETS, Trial
from shufflebits.data import Parts
from tests.common.datasets.small_images import write_images
from tests.common.project_trainings import backbone
from tests.shufflebits.attacks.test_attributes import LOCAL, USERS, table

SMOKE = PRESETS["smoke"][1]
FEATURES = np.arange(16, dtype="float32").reshape(8, 2)


@pytest.fixture
def fitted(monkeypatch):
    """What `fit` is called with; nothing is trained."""
    calls = []
    monkeypatch.setattr(
        training.training, "fit", lambda model, batches, **options: calls.append((model, batches, options))
    )
    return calls


def first_batches(batches, count=1):
    return list(itertools.islice(batches, count))


def rates(optimizer, steps):
    """The learning rate of each step."""
    rate = optimizer._learning_rate
    return [float(rate(step) if callable(rate) else rate) for step in range(steps)]


def test_weights_are_inverse_to_the_frequency(tmp_path, fitted):
    """Of the annotated local images, two are of age 1, one of 2 and one of 4: weights 4 / (3 · 2) and 4 / (3 · 1).

    The classifier is trained on these four and no others, and judged by the users' images.
    """
    config = replace(SMOKE, choose_best_on="test", classifier_batch=3)
    train_classifier(config, Trial("attributes", 0), Parts(LOCAL, LOCAL, USERS), FEATURES, FEATURES[:5] + 1, tmp_path)
    ((_, batches, options),) = fitted
    parts = first_batches(batches(0), 2)
    vectors, labels, weights = keras.tree.map_structure(lambda *rows: np.concatenate(rows), *parts)
    assert len(parts[0][0]) == 3
    order = np.argsort(vectors[:, 0])
    np.testing.assert_array_equal(vectors[order], FEATURES[[0, 1, 2, 7]])
    np.testing.assert_array_equal(labels["age"][order], [0, 2, 1, 0])
    np.testing.assert_allclose(weights["age"][order], [2 / 3, 4 / 3, 4 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(weights["up"], 1)
    (judge,) = options.pop("callbacks")
    assert options == {"monitor": "test_error", "steps_per_epoch": 2, "epochs": 2, "folder": tmp_path}
    np.testing.assert_array_equal(judge._features, FEATURES[:5] + 1)
    assert judge._labels["age"].tolist() == [-1, 0, 2, -1, -1] and judge._name == "test_error"


@pytest.mark.parametrize("share, held", [(0.2, 1), (0.5, 3), (0.01, 1)])
def test_by_default_some_local_people_choose_the_epoch(share, held, tmp_path, fitted):
    """Of six people of two images each, a share is held out, one at least; nobody looks at the users' features."""
    local = table(up=[1, 2] * 6, upred=[1, 2] * 6, upblue=[2, 1] * 6, downred=[2] * 12)
    local["identity"] = np.repeat(np.arange(6), 2)
    vectors = np.arange(12, dtype="float32")[:, None]
    config = replace(SMOKE, validation_share=share)
    train_classifier(config, Trial("attributes", 0), Parts(local, local, local), vectors, None, tmp_path)
    ((_, batches, options),) = fitted
    (learned, *_), (judge,) = first_batches(batches(0))[0], options["callbacks"]
    judged = judge._features
    assert (len(learned), len(judged), options["monitor"]) == (12 - 2 * held, 2 * held, "validation_error")
    np.testing.assert_array_equal(judged[1::2], judged[::2] + 1)
    assert (judged[::2] % 2 == 0).all() and set(np.ravel(learned)) | set(np.ravel(judged)) == set(range(12))
    np.testing.assert_array_equal(judge._labels["up"], judged[:, 0] % 2)  # labels are those of the images


@pytest.mark.parametrize("epochs, batch, full", [(6, 3, 6), (5, 4, 2)])
def test_classifiers_rate_is_a_fifth_in_the_second_half(epochs, batch, full, tmp_path, fitted):
    """Four vectors are two steps in batches of three, and one in batches of four; half of five epochs is two."""
    config = replace(
        SMOKE, choose_best_on="test", classifier_batch=batch, classifier_rate=0.3, classifier_epochs=epochs
    )
    train_classifier(config, Trial("attributes", 0), Parts(LOCAL, LOCAL, USERS), FEATURES, FEATURES[:5], tmp_path)
    ((model, _, options),) = fitted
    steps = epochs * options["steps_per_epoch"]
    assert rates(model.optimizer, steps) == pytest.approx([0.3] * full + [0.06] * (steps - full))
    assert type(model.optimizer).__name__ == "Adam" and options["epochs"] == epochs


def test_classifiers_loss_by_hand(tmp_path, fitted):
    """Cross-entropies of logits, each times its weight, means over the batch, summed over attributes."""
    config = replace(SMOKE, choose_best_on="test")
    train_classifier(config, Trial("attributes", 0), Parts(LOCAL, LOCAL, USERS), FEATURES, FEATURES[:5], tmp_path)
    ((model, _, _),) = fitted
    rng, sizes = np.random.default_rng(0), {"age": 3, "up": 2, "upper_color": 2, "lower_color": 2}
    logits = {name: rng.normal(size=(5, size)).astype("float32") for name, size in sizes.items()}
    labels = {name: rng.integers(0, size, 5) for name, size in sizes.items()}
    weights = {name: rng.random(5).astype("float32") for name in sizes}
    loss = model.compute_loss(x=None, y=labels, y_pred=logits, sample_weight=weights)
    each = [-(log_softmax(logits[name], axis=1)[range(5), labels[name]] * weights[name]).mean() for name in sizes]
    assert float(loss) == pytest.approx(sum(each), rel=1e-5)


def first_weights(train, config, trial, fitted, *arguments):
    fitted.clear()
    train(config, trial, *arguments)
    ((model, batches, _),) = fitted
    return np.concatenate([np.ravel(each) for each in model.get_weights()]), batches


def test_seed_decides_weights_and_order(tmp_path, fitted):
    arguments = Parts(LOCAL, LOCAL, USERS), FEATURES, FEATURES[:5], tmp_path
    config = replace(SMOKE, choose_best_on="test")

    def order(batches, epoch=0):
        return first_batches(batches(epoch))[0][0][:, 0].tolist()

    (first, batches), (again, same), (other, _) = (
        first_weights(train_classifier, config, Trial("attributes", seed), fitted, *arguments) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert order(batches) == order(same) and len({tuple(order(batches, epoch)) for epoch in range(4)}) > 1
    seeds = [
        first_weights(train_classifier, config, Trial("attributes", seed), fitted, *arguments)[1] for seed in range(4)
    ]
    assert len({tuple(order(each)) for each in seeds}) > 1


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path)


@pytest.mark.parametrize("attack, networks", [("pixel", 1), ("feature", 1), ("adversarial", 2)])
def test_images_come_with_their_own_features(attack, networks, images, tmp_path, fitted, monkeypatch):
    """24 images of 16 × 8 pixels; a step of the adversarial training takes as many for each network. And the loss."""
    size = (32, 32) if attack != "pixel" else (32, 64)
    monkeypatch.setattr(training, "build_backbone", lambda *_: backbone())
    vectors = np.arange(48, dtype="float32").reshape(24, 2)
    config = replace(
        SMOKE,
        reconstruction_batch=5,
        iterations=9,
        reconstruction_rate=0.125,
        reconstruction_size=size,
        generator_width=1 / 16,
    )
    parts = Parts(None, images, None)
    train_reconstructor(config, Trial(attack, 0), parts, vectors, None, tmp_path)
    ((model, batches, options),) = fitted
    # 4 batches of 5 are an epoch, of which 9 take three; 2 of 10, which make four each.
    assert options == {"steps_per_epoch": 4 // networks, "epochs": 3, "folder": tmp_path, "monitor": None}
    inputs, target = first_batches(batches(0))[0]
    assert inputs["image"].shape == (5 * networks, *size, 3) and inputs["image"].dtype == np.uint8
    np.testing.assert_array_equal(target, inputs["image"])
    for vector, image in zip(inputs["features"], inputs["image"]):
        number = int(vector[0]) // 2
        np.testing.assert_array_equal(vector, vectors[number])
        np.testing.assert_array_equal(image, read_image(images.path[number], size))
    orders = [first_batches(batches(epoch))[0][0]["features"][:, 0].tolist() for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    if attack == "pixel":
        difference = np.random.default_rng(0).normal(size=(3, 4, 5, 3)).astype("float32")
        loss = model.compute_loss(x=None, y=np.zeros((3, 1)), y_pred=difference)
        assert float(loss) == pytest.approx(np.mean(difference.astype(float) ** 2), rel=1e-5)
    optimizers = [getattr(model, name) for name in ("optimizer", "discriminator_optimizer")[:networks]]
    assert [type(each).__name__ for each in optimizers] == ["Adam"] * networks
    assert [rates(each, 2) for each in optimizers] == [[0.125] * 2] * networks and len(
        set(map(id, optimizers))
    ) == networks


def reconstructor(attack="adversarial", seed=0, **settings):
    return build_reconstructor(replace(SMOKE, generator_width=1 / 16, **settings), Trial(attack, seed), 3)


def kinds(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def test_settings_of_the_networks_arrive():
    """Momentum and width of the generator, spectral normalization of the discriminator, size, and the weight."""
    model = reconstructor(
        generator_momentum=0.75, spectral_normalization=True, adversarial_weight=0.25, reconstruction_size=(64, 32)
    )
    training_model, generator = model.training_model, model.generator
    normalizations = kinds(generator, keras.layers.BatchNormalization)
    assert len(normalizations) == 11 and {layer.momentum for layer in normalizations} == {0.75}
    assert training_model.weight == 0.25 and training_model.condition == "features"
    discriminator = training_model.discriminator
    assert generator.output_shape == discriminator.input_shape[0] == (None, 64, 32, 3)
    filters = [generator.get_layer(f"up{n}_sum").output.shape[-1] for n in range(1, 6)]
    assert filters == [16, 8, 4, 2, 1]
    assert [discriminator.get_layer(f"down{n}_sum").output.shape[-1] for n in range(1, 6)] == [2, 4, 8, 16, 32]
    assert len(kinds(discriminator, keras.layers.SpectralNormalization)) == 17
    plain = reconstructor(generator_momentum=0.9).training_model.discriminator
    assert not kinds(plain, keras.layers.SpectralNormalization) and len(kinds(plain, keras.layers.Conv2D)) == 15


def test_only_the_seed_decides_the_first_weights():
    weights = [reconstructor("pixel", seed).generator.get_weights()[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 0.01


@pytest.mark.parametrize("attack, maps", [("pixel", (32, 32, 3)), ("feature", (4, 4, 16)), ("adversarial", (4, 4, 16))])
def test_each_attack_compares_what_it_should(attack, maps, monkeypatch):
    """Pixels, or maps of the network that the config names, with its weights; in an evaluation without any."""
    built = []
    monkeypatch.setattr(training, "build_backbone", lambda *arguments: built.append(arguments) or backbone())
    config = replace(SMOKE, generator_width=1 / 16, perceptual="resnet50", perceptual_weights="a file")
    models = [build_reconstructor(config, Trial(attack, 0), 3, **options) for options in ({}, {"pretrained": False})]
    for model in models:
        pairs = getattr(model.training_model, "pairs", model.training_model)
        output = pairs.output["difference"] if attack == "adversarial" else pairs.output
        assert output.shape == (None, *maps)
    assert built == [("resnet50", (32, 32), "a file"), ("resnet50", (32, 32), None)] * (attack != "pixel")
