"""What `test_two_devices.py` runs in a process of its own, on TensorFlow or JAX: FOLDER."""

import os
import sys
from pathlib import Path

# Read when JAX is first used. Nearly all of the time goes into compiling, so little is optimized.
os.environ["XLA_FLAGS"] = (
    f"--xla_force_host_platform_device_count={os.environ.get('LOGICAL_CPUS', 2)} --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false"
)

import cv2
import keras
import numpy as np
import pandas as pd

from common import distribution
from common.datasets import digits
from common.datasets.batches import shuffled_batches, steps_per_epoch
from common.experiments import training
from common.experiments.reid import scores
from common.keras_workarounds import adapt
from common.layers import AdaptiveL2
from tests.common import project_trainings

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    from keras.src.backend.jax.trainer import JAXEpochIterator, JAXTrainer

IMAGES = digits.read_embedded().images


def adaptive(kind, run, epochs=4):
    """20 steps of a small network whose factors are learned; two do not divide the last batch of an epoch."""

    def build():
        image = keras.Input(IMAGES.shape[1:])
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
        network = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(x))
        return reproducing(keras.Model(image, AdaptiveL2(network)(image)))

    return trained(kind, run, build, IMAGES[: 4 * 64 + 45], epochs=epochs)


def sizes(folder):
    """Weights and losses of a network with batch normalization, for some numbers of images and batch sizes."""
    outputs, random = {}, np.random.default_rng(0)
    by_chance = int(random.integers(13, 40)), int(random.integers(3, 12))

    def build():
        image = keras.Input(IMAGES.shape[1:])
        x = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Dense(8)(keras.layers.Flatten()(image)))
        y = keras.layers.Dense(64, kernel_regularizer="l2")(keras.ops.softplus(x))
        model = keras.Model(image, keras.layers.Reshape(IMAGES.shape[1:])(y))
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", jit_compile=distribution.jit())
        return model, lambda batch: (batch, batch)

    for number, (count, size) in enumerate(((7, 3), (9, 8), by_chance)):
        for kind in ("one", "mirrored"):
            values = trained(kind, folder / f"sizes{number}_{kind}", build, IMAGES[:count], size, epochs=2)
            outputs |= {f"{number}_{kind}_{name}": values[name] for name in ("weights", "loss")}
    return outputs


def resumed(folder):
    """`adaptive` on all devices, interrupted after half of it."""
    adaptive("mirrored", folder, epochs=2)
    return adaptive("mirrored", folder)


def projects(kind, run):
    """8 steps of every model of `project_trainings.py` on global batches of 16.

    Nearly all of the time goes into graphs. So TensorFlow computes step by step on one device.
    """
    results, on_tensorflow = {}, keras.backend.backend() == "tensorflow"
    for name, build in project_trainings.TRAININGS.items():
        eagerly = on_tensorflow and kind == "one"
        values = trained(kind, Path(run) / name, build, project_trainings.ARRAYS, 16, epochs=2, run_eagerly=eagerly)
        results |= {f"{name}_{key}": value for key, value in values.items()}
    return results


class Recording(keras.Model):
    """Records how many rows of each batch each device has, if it runs eagerly."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.rows = []

    def train_step(self, *arguments):
        inputs, _ = arguments[-1]
        # Of an array of JAX; on TensorFlow each replica comes here with its own.
        parts = [shard.data for shard in getattr(inputs, "addressable_shards", [])] or [inputs]
        self.rows += [len(part) for part in parts]
        return super().train_step(*arguments)


def shares(folder):
    """Rows of batches of 4, 4 and 3 on each device, and the weights after training on them with dropout."""
    outputs, samples = {}, np.float32(np.random.default_rng(0).random((11, 2)))

    def batches(epoch):
        return shuffled_batches(samples, 4, seed=0, first_epoch=epoch).map(lambda rows: (rows, rows[:, :1]))

    for kind in ("one", "mirrored"):
        with distribution.strategy(kind).scope():
            x = keras.Input((2,))
            y = keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Dropout(0.5, seed=0)(x))
            model = Recording(x, y)
            model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        training.fit(model, batches, steps_per_epoch=3, epochs=1, folder=folder / f"shares_{kind}")
        outputs |= {f"{kind}_rows": list(model.rows), f"{kind}_weights": values_of(model)}
    return outputs


def embeddings(folder):
    """What the projects' evaluations get for 65 images, one more than they take at once."""
    from adaptive_l2.model import build_model as build_adaptive
    from adaptive_l2.model import with_mirror
    from flipreid.model import build_model as build_flipreid
    from vehicle_attributes import recognizer
    from vehicle_attributes.model import build_model as build_vehicles

    images = np.random.default_rng(0).integers(0, 256, (65, 32, 32, 3), "uint8")
    paths = [str(Path(folder) / f"{number}.png") for number in range(len(images))]
    for path, image in zip(paths, images):
        cv2.imwrite(path, image)
    table = pd.DataFrame({"path": paths, "identity": 0, "camera": 0})
    outputs = {}
    for kind in ("one", "mirrored"):
        keras.utils.set_random_seed(0)
        with distribution.evaluation_strategy(kind).scope():
            people = {
                "adaptive_l2": with_mirror(build_adaptive(project_trainings.backbone(), 4).inference_model),
                "flipreid": build_flipreid(project_trainings.backbone(), 4).single_and_double,
            }
            for project, model in people.items():
                for trainable in (False, True):  # as in the two stages of training
                    model.trainable = trainable
                    embedded = scores.embed(model, table, (32, 32))
                for name, each in (embedded if isinstance(embedded, dict) else {"double": embedded}).items():
                    outputs[f"{kind}_{project}_{name}"] = each.features
            network = build_vehicles(project_trainings.backbone(), {"color": 4}).inference_model
            recognizer.save(recognizer.Recognizer(network, {}), Path(folder))
            trained = recognizer.load(Path(folder))
            outputs |= {f"{kind}_vehicles_{name}": values for name, values in trained.embed(paths).items()}
        outputs[f"{kind}_replicas"] = distribution.strategy_of(trained.network).num_replicas_in_sync
    return outputs


def reproducing(model):
    model.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=distribution.jit())
    return model, lambda x: (x, x)


def trained(kind, run, build, arrays=IMAGES[:320], batch_size=64, epochs=4, run_eagerly=False):
    """Trains what `build` compiles; it also gives what turns a batch into inputs and targets."""
    set_before = process_state()
    strategy = distribution.strategy(kind)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model, paired = build()
    if run_eagerly:
        model.run_eagerly = True
    before = values_of(model)
    adapt(model)  # as a first stage of training would
    log = training.fit(
        model,
        lambda epoch: shuffled_batches(arrays, batch_size, seed=0, first_epoch=epoch).map(
            lambda batch: paired(*batch) if isinstance(batch, tuple) else paired(batch)
        ),
        steps_per_epoch=steps_per_epoch(len(keras.tree.flatten(arrays)[0]), batch_size),
        epochs=epochs,
        folder=Path(run),
    )
    return {
        "before": before,
        "weights": values_of(model),
        "loss": log["loss"].to_numpy(),
        "replicas": distribution.strategy_of(model).num_replicas_in_sync,
        "restored": process_state() == set_before,
    }


def process_state():
    """What a strategy sets in the process."""
    if keras.backend.backend() == "tensorflow":
        return tf.distribute.has_strategy()
    methods = JAXEpochIterator._get_distributed_iterator, JAXTrainer._get_state_sharding_spec
    return keras.distribution.distribution(), *methods


def values_of(model):
    return np.concatenate([np.asarray(weight).ravel() for weight in model.weights])


def make_devices():
    """Splits the CPU into devices; JAX has read of them already."""
    if keras.backend.backend() == "tensorflow":
        cpu, count = tf.config.list_physical_devices("CPU")[0], int(os.environ.get("LOGICAL_CPUS", 2))
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


def everything(folder):
    """Results of each task by name; trainings on one device, and on two."""
    for task in (adaptive, projects):
        for kind in ("one", "mirrored"):
            yield f"{task.__name__}_{kind}", task(kind, folder / f"{task.__name__}_{kind}")
    yield "resumed", resumed(folder / "resumed")
    yield "embeddings", embeddings(folder)
    yield "shares", shares(folder)
    yield "sizes", sizes(folder)


if __name__ == "__main__":
    make_devices()
    for name, values in everything(Path(sys.argv[1])):
        np.savez(Path(sys.argv[1]) / f"{name}.npz", **values)
