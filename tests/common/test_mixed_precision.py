"""Every project trained in mixed_bfloat16: what computes in bfloat16, what stays float32, and what is restored."""

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest

from adaptive_l2 import digit_classifier as digits
from common import distribution
from common.experiments.checkpoint import BEST_WEIGHTS
from shufflebits.attacks import training as attacks
from shufflebits.attacks import victim
from tests.common.project_trainings import ARRAYS
from tests.common.tiny_trainings import tiny_backbones
from tests.shufflebits.small_networks import small_networks
from vehicle_attributes import recognizer

IMAGES, LABELS = ARRAYS[0][:8], ARRAYS[1][:8, 1]
PIXELS = IMAGES / np.float32(255)
IDENTITY = {"global_bn", "global_logits"}


@dataclass(frozen=True)
class Case:
    """A network of a project, and how it is trained and restored.

    Attributes:
        network: that is fitted.
        float32: names of the layers with weights that compute in float32; all others compute in bfloat16.
        restored: folder with the weights of the network -> what an evaluation restores from it.
        evaluated: the same of `network`; None: itself.
        losses: of its outputs.
        x: its inputs.
        y: what the losses compare its outputs with.
        rate: of the training.
    """

    network: keras.Model
    float32: set[str]
    restored: Callable[[Path], keras.Model]
    evaluated: keras.Model | None = None
    losses: Any = None
    x: Any = None
    y: Any = None
    rate: float = 0.01


def preset(project: str, precision: str, *trial: Any, **changes: Any) -> tuple[Any, Any, ModuleType]:
    """The smallest preset of a project, a trial, and the module of networks."""
    config, networks = (importlib.import_module(f"{project}.{name}") for name in ("config", "model"))
    return replace(config.PRESETS["smoke"][1], precision=precision, **changes), config.Trial(*trial), networks


def with_weights(network: keras.Model, folder: Path) -> keras.Model:
    network.load_weights(folder / BEST_WEIGHTS)
    return network


def adaptive_l2(precision):
    config, trial, networks = preset("adaptive_l2", precision, "adaptive", 0)
    model = networks.build(config, trial, 4)
    return Case(
        model.training_model,
        IDENTITY | {"regularizer"},
        lambda folder: networks.with_mirror(networks.restore(config, trial, 4, folder).inference_model),
        networks.with_mirror(model.inference_model),
        networks.losses(model, 0.1),
        x=IMAGES,
        y=networks.targets(model, LABELS),
    )


def digit_classifier(precision):
    config, trial = digits.Config(precision=precision), digits.Trial("constant", 0.01, 0)
    network, _ = digits.build(config, trial, (8, 8, 1))
    return Case(network, {"logits"}, lambda folder: with_weights(digits.build(config, trial, (8, 8, 1))[0], folder))


def flipreid(precision):
    config, trial, networks = preset("flipreid", precision, "aggregator", 0)
    model = networks.build(config, trial, 4)
    return Case(
        model.training_model,
        IDENTITY | {"global_pooled", "global_scores_hidden", "global_scores"},
        lambda folder: networks.restore(config, trial, 4, folder).double,
        model.double,
        networks.losses(model),
        x=IMAGES,
        y=dict.fromkeys(model.training_model.output, LABELS),
    )


def shufflebits_victim(precision):
    config, _, _ = preset("shufflebits", precision, "", 0, victim_epochs=0)
    model = victim.build(config, 4)

    def restored(folder):
        (folder / victim.FOLDER).mkdir()
        (folder / BEST_WEIGHTS).rename(folder / victim.FOLDER / BEST_WEIGHTS)
        with mock.patch.multiple(victim, load_config=lambda *_: config, class_count=lambda *_: 4):
            return victim.restore_embedder(folder)

    return Case(model.training_model, IDENTITY, restored, model.embedder)


def shufflebits_feature(precision):
    """The network whose maps are compared is of the loss, so it is float32."""
    config, trial, networks = preset("shufflebits", precision, "feature", 0)

    def built():
        return attacks.build_reconstructor(config, trial, 24, pretrained=False).training_model

    network = built()
    compared = [layer for name in ("block1", "block2") for layer in network.get_layer(name).layers]
    features = np.random.default_rng(1).random((8, 24), "float32")
    return Case(
        network,
        {"colors", *(layer.name for layer in compared)},
        lambda folder: with_weights(built(), folder),
        losses=networks.mean_square,
        x={"features": features, "image": IMAGES},
        y=np.zeros(8, "float32"),
    )


def shufflebits_discriminator(precision):
    """Of the adversarial training, with kernels that each step normalizes."""
    config, trial, _ = preset("shufflebits", precision, "adversarial", 0, spectral_normalization=True)

    def built():
        with mock.patch.object(attacks, "AdversarialTraining", lambda pairs, discriminator, *_: discriminator):
            return attacks.build_reconstructor(config, trial, 24, pretrained=False).training_model

    network = built()
    wrappers = {layer.name for layer in network.layers if isinstance(layer, keras.layers.SpectralNormalization)}
    return Case(network, wrappers | {"projected", "score"}, lambda folder: with_weights(built(), folder))


def vehicle_attributes(precision):
    """With ArcFace, whose cosines and centers are float32; restored is the recognizer."""
    config, trial, networks = preset("vehicle_attributes", precision, "arcface", 0)
    model = networks.build(config, trial, {"type": 4})

    def restored(folder):
        recognizer.save(recognizer.Recognizer(model.inference_model, {"type": "abcd"}), folder)
        return recognizer.load(folder).network

    return Case(
        model.training_model,
        {"type_logits"},
        restored,
        model.inference_model,
        networks.losses(model, "arcface", 0.0),
        x=IMAGES,
        y=networks.targets(model, "arcface", ("type",), LABELS[:, None]),
        rate=0.0001,
    )


def neural_compression(precision):
    config, trial, networks = preset("neural_compression", precision, 0)
    blocks, network = PIXELS[:, :8, :8], networks.build(config, trial, 16).training_model
    return Case(
        network,
        {"code", "pixels"},
        lambda folder: with_weights(networks.build(config, trial, 16).training_model, folder),
        losses="mse",
        x=blocks,
        y=blocks,
    )


def l2_autoencoder(precision):
    config, trial, networks = preset("l2_autoencoder", precision, "batch", 0, None)
    images = PIXELS[:, :7, :7]  # of an odd size, so that the last layer crops
    network = networks.build(config, trial, images.shape[1:]).training_model
    return Case(
        network,
        {"embedding", "code", "decoder_1"},
        lambda folder: networks.restore(config, trial, images.shape[1:], folder).training_model,
        losses="mse",
        x=images,
        y=images,
    )


TRAINED = (adaptive_l2, flipreid, shufflebits_feature, vehicle_attributes, neural_compression, l2_autoencoder)
BUILT = (digit_classifier, shufflebits_victim, shufflebits_discriminator)


@pytest.fixture(autouse=True, scope="module")
def _tiny_networks():
    with contextlib.ExitStack() as stack:
        for project in ("adaptive_l2", "flipreid", "vehicle_attributes"):
            stack.enter_context(tiny_backbones(project))
        stack.enter_context(small_networks())
        stack.enter_context(mock.patch.multiple("neural_compression.model", BLOCK=8, LEVELS=3))
        stack.enter_context(mock.patch.multiple("l2_autoencoder.model", FILTERS=(8, 16), KERNELS=(5, 3)))
        if keras.backend.backend() == "jax":  # compiles in a third of the time
            import jax

            jax.config.update("jax_disable_most_optimizations", True)
            stack.callback(jax.config.update, "jax_disable_most_optimizations", False)
        yield


def computing_types(network: keras.Model) -> dict[str, str]:
    """Layer with weights of its own -> the type that it computes in."""
    return {layer.name: layer.compute_dtype for layer in network._flatten_layers() if layer._trainable_variables}


def output_types(network: keras.Model) -> set[str]:
    return {output.dtype for output in network.outputs}


@pytest.mark.parametrize("build", [*TRAINED, *BUILT])
def test_what_computes_in_bfloat16(build, tmp_path):
    """Inner layers, in a network that is restored too; all weights and outputs are float32."""
    case = build("mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"
    computed, evaluated = computing_types(case.network), case.evaluated or case.network
    assert {name for name, kind in computed.items() if kind == "float32"} == case.float32 & computed.keys()
    assert {kind for name, kind in computed.items() if name not in case.float32} == {"bfloat16"}
    assert {v.dtype for v in case.network.weights} == output_types(case.network) == {"float32"}
    case.network.save_weights(tmp_path / BEST_WEIGHTS)
    restored = case.restored(tmp_path)
    assert list(computing_types(restored).values()) == list(computing_types(evaluated).values())
    assert "bfloat16" in computing_types(restored).values()
    assert output_types(restored) == output_types(evaluated) == {"float32"}


@pytest.mark.parametrize("build", TRAINED)
def test_training(build):
    """Three steps on one batch: losses fall as in float32, and differ from those by rounding."""
    losses = {}
    for precision in ("float32", "mixed_bfloat16"):
        case, eager = build(precision), keras.backend.backend() == "tensorflow"  # so few steps are worth no graph
        assert ("bfloat16" in computing_types(case.network).values()) == (precision == "mixed_bfloat16")
        optimizer = keras.optimizers.SGD(case.rate, momentum=0.9)
        case.network.compile(optimizer, case.losses, jit_compile=distribution.jit(), run_eagerly=eager)
        fitted = case.network.fit(case.x, case.y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        losses[precision] = fitted.history["loss"]
    mixed = losses["mixed_bfloat16"]
    assert mixed[-1] < mixed[0] != losses["float32"][0]
    np.testing.assert_allclose(mixed, losses["float32"], rtol=0.02)
