"""One cost at one size: prints seconds and peak memory as JSON.

python -m tests.benchmarks.contenders.scaling NAME SIZE
"""

import sys
from collections.abc import Callable

import numpy as np

from tests.benchmarks.contenders import measures

WIDTH = 2048  # features of a ResNet-50
BATCH = 64


def ranking(num_gallery: int) -> float:
    """`score` of 1,000 queries by 512 features, with 20 images of each identity."""
    from common.retrieval import Embeddings, score

    rng = np.random.default_rng(0)

    def people(number: int) -> Embeddings:
        features = rng.standard_normal((number, 512), dtype=np.float32)
        return Embeddings(features, np.arange(number) % (num_gallery // 20), rng.integers(0, 6, number))

    query, gallery = people(1000), people(num_gallery)
    score(query.take(slice(10)), gallery)  # compiles
    return _seconds(lambda: score(query, gallery), 1)


def embedding(height: int) -> float:
    """1,000 images of height × height / 2 by the first project's network, in batches of 64."""
    from adaptive_l2.model import build_model
    from common.backbones import build_backbone

    backbone = build_backbone("resnet50", (height, height // 2), None)
    model = build_model(backbone, 2, regularization="none").inference_model
    images = np.zeros((BATCH, *backbone.image_shape), "uint8")
    return _seconds(lambda: model.predict(images, batch_size=BATCH, verbose=0), 1) * 1000 / BATCH


def triplet(batch: int) -> float:
    """Batch-hard loss and its gradient, with four images of each identity."""
    import tensorflow as tf

    from common.losses import BatchHardTriplet

    points, loss = tf.random.stateless_normal([batch, WIDTH], [0, 0]), BatchHardTriplet()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(points)
            value = loss(tf.range(batch) // 4, points)
        return tape.gradient(value, points)

    return _seconds(step, 10)


def classifier(num_identities: int) -> float:
    """A step of Adam of a classifier of 64 embeddings."""
    import keras

    from common.experiments.reid.network import identity_logits

    embeddings = keras.Input((WIDTH,))
    model = keras.Model(embeddings, identity_logits("global", embeddings, num_identities))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    batch = np.random.default_rng(0).standard_normal((BATCH, WIDTH), dtype=np.float32), np.arange(BATCH)
    return _seconds(lambda: model.train_on_batch(*batch), 5)


def replicas(count: int) -> float:
    """A step of the first project's demo network on 64 images of 128 × 64, over logical devices of one CPU."""
    import keras
    import tensorflow as tf

    from adaptive_l2.model import build_model, losses, targets
    from common import distribution, keras_workarounds
    from common.backbones import build_backbone

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    with distribution.strategy("mirrored" if count > 1 else "one").scope():
        model = build_model(build_backbone("small_resnet", (128, 64), None), 32)
        model.training_model.compile(keras.optimizers.Adam(1e-4), losses(model, 0.1), jit_compile=False)
    keras_workarounds.adapt(model.training_model)
    steps, labels = 10, np.arange(BATCH) % 16
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 128, 64, 3), "uint8")
    batches = tf.data.Dataset.from_tensors((images, targets(model, labels))).repeat(steps)
    return _seconds(lambda: model.training_model.fit(batches, verbose=0), 3) / steps


def _seconds(run: Callable[[], object], repeats: int) -> float:
    """The median of several runs."""
    return float(np.median(measures.seconds_of(run, repeats)))


CONTENDERS = {function.__name__: function for function in (ranking, embedding, triplet, classifier, replicas)}

if __name__ == "__main__":
    measures.report(seconds=CONTENDERS[sys.argv[1]](int(sys.argv[2])))
