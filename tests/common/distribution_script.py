"""What `test_distribution.py` runs in processes of their own: FOLDER all, or FOLDER worker RUN."""

import os
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from common import distribution
from common.datasets import digits
from common.datasets.batches import shuffled_batches
from common.experiments import reid, training
from common.layers import AdaptiveL2
from common.losses import BatchHardTriplet, LiftedStructured
from tests.common import project_trainings

IMAGES = digits.read_embedded().images


def train(kind, run):
    """20 steps of the convolutional autoencoder on global batches of 64."""
    from l2_autoencoder.model import build_autoencoder

    return trained(kind, run, lambda: reproducing(build_autoencoder(IMAGES.shape[1:]).training_model))


def adaptive(kind, run):
    """The same with a small network whose factors are learned."""

    def build():
        image = keras.Input(IMAGES.shape[1:])
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
        network = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(x))
        return reproducing(keras.Model(image, AdaptiveL2(network)(image)))

    return trained(kind, run, build)


def projects(kind, run):
    """8 steps of every model of `project_trainings.py` on global batches of 16.

    Nearly all of the time goes into graphs. So one device computes step by step, and those of two are not optimized.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    results = {}
    for name, build in project_trainings.TRAININGS.items():
        values = trained(
            kind, Path(run) / name, build, project_trainings.ARRAYS, 16, epochs=2, run_eagerly=kind == "one"
        )
        results |= {f"{name}_{key}": value for key, value in values.items()}
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    return results


def pairs():
    """Losses over the pairs of seven samples and their gradients by the embeddings; replicas have four and three."""
    random = np.random.default_rng(0)
    embeddings, labels = random.standard_normal((7, 3)).astype("float32"), np.float32([0, 1, 2, 0, 1, 2, 0])

    def step(strategy, loss):
        def on_replica(x, y):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = loss(y, x)
            # Keras has divided by the number of replicas, over which `fit` sums gradients.
            return value[tf.newaxis] * strategy.num_replicas_in_sync, tape.gradient(value, x)

        data = tf.data.Dataset.from_tensor_slices((embeddings, labels)).batch(7)
        (batch,) = strategy.experimental_distribute_dataset(data)
        parts = tf.function(lambda: strategy.run(on_replica, args=batch))()
        return [np.concatenate(strategy.experimental_local_results(each)) for each in parts]

    results = {}
    for loss in (BatchHardTriplet("soft"), BatchHardTriplet(0.3), LiftedStructured()):
        for kind in ("one", "mirrored"):
            name = f"{loss.name}_{loss.margin}_{kind}"
            results[name], results[f"{name}_gradient"] = step(distribution.strategy(kind), loss)
    return results


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
        training.seed_everything(0)
        with distribution.evaluation_strategy(kind).scope():
            people = {
                "adaptive_l2": with_mirror(build_adaptive(project_trainings.backbone(), 4).inference_model),
                "flipreid": build_flipreid(project_trainings.backbone(), 4).single_and_double,
            }
            for project, model in people.items():
                embedded = reid.embed(model, table, (32, 32))
                for name, each in (embedded if isinstance(embedded, dict) else {"double": embedded}).items():
                    outputs[f"{kind}_{project}_{name}"] = each.features
            network = build_vehicles(project_trainings.backbone(), {"color": 4}).inference_model
            recognizer.save(recognizer.Recognizer(network, {}), Path(folder))
            trained = recognizer.load(Path(folder))
            outputs |= {f"{kind}_vehicles_{name}": values for name, values in trained.embed(paths).items()}
        outputs[f"{kind}_replicas"] = trained.network.distribute_strategy.num_replicas_in_sync
    return outputs


def reproducing(model):
    model.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
    return model, lambda x: (x, x)


def trained(kind, run, build, arrays=IMAGES[:320], batch_size=64, epochs=4, run_eagerly=False):
    """Trains what `build` compiles; it also gives what turns a batch into inputs and targets."""
    strategy = distribution.strategy(kind)
    training.seed_everything(0)
    with strategy.scope():
        model, paired = build()
    if run_eagerly:
        model.run_eagerly = True
    before = values_of(model)
    distribution.adapt(model)  # as a first stage of training would
    log = training.fit(
        model,
        lambda epoch: shuffled_batches(arrays, batch_size, seed=0, first_epoch=epoch).map(paired),
        steps_per_epoch=len(keras.tree.flatten(arrays)[0]) // batch_size,
        epochs=epochs,
        folder=Path(run),
    )
    return {
        "before": before,
        "weights": values_of(model),
        "loss": log["loss"].to_numpy(),
        "replicas": strategy.num_replicas_in_sync,
    }


def values_of(model):
    return np.concatenate([np.asarray(weight).ravel() for weight in model.weights])


def gradient():
    """One SGD step of w from 0 with the hand-written loss mean((w − x)²)."""

    def step(strategy, scale):
        with strategy.scope():
            weight = tf.Variable(0.0)
            optimizer = keras.optimizers.SGD(1.0)
            optimizer.build([weight])

        def on_replica(x):
            with tf.GradientTape() as tape:
                loss = scale(tf.reduce_mean(tf.square(weight - x)))
            optimizer.apply_gradients([(tape.gradient(loss, weight), weight)])

        data = tf.data.Dataset.from_tensors(tf.constant([1.0, 2.0, 3.0, 6.0])).unbatch().batch(4)
        for batch in strategy.experimental_distribute_dataset(data):
            tf.function(lambda batch=batch: strategy.run(on_replica, args=(batch,)))()
        return weight.numpy()

    mirrored = distribution.strategy("mirrored")
    return {
        "one": step(distribution.strategy("one"), lambda loss: loss),
        "mirrored_unscaled": step(mirrored, lambda loss: loss),
        "mirrored_scaled": step(mirrored, distribution.scale_loss),
    }


def noise():
    """Random numbers of two replicas, (2, 50) each."""
    strategy = distribution.strategy("mirrored")
    with strategy.scope():
        dropout = keras.layers.Dropout(0.5, seed=0)
        dropout.build((None, 50))

    def draw(on_replica):
        return np.array(strategy.experimental_local_results(tf.function(lambda: strategy.run(on_replica))()))

    seed = tf.constant([1, 2])
    return {
        "same_seed": draw(lambda: tf.random.stateless_normal([50], seed)),
        "dropout": draw(lambda: dropout(tf.ones([1, 50]), training=True)),
    }


def statistics():
    """Moving means after one training step in which the replicas see different values."""

    def moving_mean(synchronized):
        strategy = distribution.strategy("mirrored")
        with strategy.scope():
            layer = keras.layers.BatchNormalization(momentum=0.5, synchronized=synchronized)
            layer.build((None, 1))
        values = np.repeat(np.float32([[0], [2]]), 4, axis=0)
        for batch in strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(values).batch(8)):
            tf.function(lambda batch=batch: strategy.run(lambda x: layer(x, training=True), args=(batch,)))()
        return np.asarray(layer.moving_mean)

    return {"local": moving_mean(False), "synchronized": moving_mean(True)}


def everything(folder):
    """Results of each task by name; trainings on one device, and on two."""
    for task in (train, adaptive, projects):
        for kind in ("one", "mirrored"):
            yield f"{task.__name__}_{kind}", task(kind, folder / f"{task.__name__}_{kind}")
    yield "embeddings", embeddings(folder)
    for task in (pairs, gradient, noise, statistics):
        yield task.__name__, task()


if __name__ == "__main__":
    count = int(os.environ.get("LOGICAL_CPUS", "2"))
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    folder, part, *run = sys.argv[1:]
    for name, values in everything(Path(folder)) if part == "all" else [("worker", train("auto", *run))]:
        np.savez(Path(folder) / f"{name}.npz", **values)
