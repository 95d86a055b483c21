"""What `test_tensorflow_replicas.py` runs in processes of their own: FOLDER all, or FOLDER worker RUN."""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from common import distribution
from common.layers import ChaCha20
from common.losses import BatchHardTriplet, LiftedStructured
from tests.common.distribution_script import IMAGES, make_devices, reproducing, trained


def train(kind, run):
    """20 steps of the convolutional autoencoder on global batches of 64."""
    from l2_autoencoder.model import build_autoencoder

    return trained(kind, run, lambda: reproducing(build_autoencoder(IMAGES.shape[1:]).training_model))


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


def cipher():
    """Key stream of two replicas, of two rows and of one, from block 5 on."""
    strategy = distribution.strategy("mirrored")
    layer, words = ChaCha20(), [tf.constant(np.arange(n, dtype=np.uint32)) for n in (8, 3)]
    zeros = tf.data.Dataset.from_tensor_slices(np.zeros((3, 16), "float32")).batch(3)
    (batch,) = strategy.experimental_distribute_dataset(zeros)

    def on_replica(x):
        return layer([x, *words, tf.constant(5, tf.uint32)])

    parts = tf.function(lambda: strategy.run(on_replica, args=(batch,)))()
    return dict(zip(("first", "second"), strategy.experimental_local_results(parts)))


def everything(folder):
    """Results of each task by name."""
    for task in (pairs, gradient, noise, statistics, cipher):
        yield task.__name__, task()
    yield "train_one", train("one", folder / "train_one")


if __name__ == "__main__":
    make_devices()
    folder, part, *run = sys.argv[1:]
    for name, values in everything(Path(folder)) if part == "all" else [("worker", train("auto", *run))]:
        np.savez(Path(folder) / f"{name}.npz", **values)
