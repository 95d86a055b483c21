"""One way of training the convolutional autoencoder on MNIST-sized images: prints seconds and memory as JSON.

python -m tests.benchmarks.contenders.l2_autoencoder NAME
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.benchmarks.contenders import measures

IMAGES = np.random.default_rng(0).random((28 * 256, 28, 28, 1), dtype="float32")
EPOCHS = 4  # after a first one, which pays for tracing


def ours(batch_size: int = 256, threads: int | None = None) -> list[float]:
    """The project's own `train_trial`, with checkpoints, logs and all."""
    import tensorflow as tf

    from common import distribution
    from common.datasets.digits import Digits
    from common.experiments import training
    from l2_autoencoder.config import CONVOLUTIONAL, Trial
    from l2_autoencoder.train import train_trial

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    starts, fit = [], training.fit
    training.fit = lambda *arguments, **options: fit(*arguments, **options, callbacks=[_clock(starts)])
    labels = np.zeros(len(IMAGES), "int64")
    with tempfile.TemporaryDirectory() as folder:
        config = replace(CONVOLUTIONAL, epochs=1 + EPOCHS, batch_size=batch_size)
        data = Digits(IMAGES[1:], labels[1:], IMAGES[:1], labels[:1])
        train_trial(config, Trial("l2", 0, None), data, distribution.strategy("one"), Path(folder) / "run")
    return _after_the_first(starts)


def _clock(starts: list[float]):
    """A callback that appends the time at which each epoch starts."""
    import keras

    return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: starts.append(time.perf_counter()))


def _after_the_first(starts: list[float]) -> list[float]:
    """Seconds of the epochs but the first, of which the last ends now."""
    return np.diff([*starts, time.perf_counter()]).tolist()[1:]


def _model(jit_compile: bool = False):
    import keras

    from l2_autoencoder.model import build_autoencoder

    model = build_autoencoder(IMAGES.shape[1:]).training_model
    model.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=jit_compile)
    return model


def keras_fit(jit_compile: bool = False) -> list[float]:
    """`Model.fit` on arrays."""
    starts = []
    _model(jit_compile).fit(IMAGES, IMAGES, batch_size=256, epochs=1 + EPOCHS, verbose=0, callbacks=[_clock(starts)])
    return _after_the_first(starts)


def keras_loop() -> list[float]:
    """A whole epoch in one `tf.function`, nothing else."""
    import tensorflow as tf

    model, images = _model(), tf.constant(IMAGES)
    model.optimizer.build(model.trainable_variables)

    @tf.function
    def epoch():
        order = tf.random.shuffle(tf.range(len(IMAGES)))
        for start in tf.range(0, len(IMAGES), 256):
            batch = tf.gather(images, order[start : start + 256])
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(batch, training=True) - batch))
            model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    return measures.seconds_of(epoch, EPOCHS)


def pytorch(channels_last: bool = False) -> list[float]:
    """The same network and optimizer in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(2)

    class UnitLength(nn.Module):
        def forward(self, x):
            return nn.functional.normalize(x)

    model = nn.Sequential(
        nn.Conv2d(1, 32, 5, 2, 2), nn.ReLU(),
        nn.Conv2d(32, 64, 5, 2, 2), nn.ReLU(),
        nn.Conv2d(64, 128, 3, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(1152, 10), UnitLength(), nn.Linear(10, 1152), nn.ReLU(), nn.Unflatten(1, (128, 3, 3)),
        nn.ConvTranspose2d(128, 64, 3, 2), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 5, 2, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 5, 2, 2, 1),
    )  # fmt: skip
    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    if channels_last:
        model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def epoch():
        order = torch.randperm(len(images))
        for start in range(0, len(images), 256):
            batch = images[order[start : start + 256]]
            optimizer.zero_grad()
            nn.functional.mse_loss(model(batch), batch).backward()
            optimizer.step()

    return measures.seconds_of(epoch, EPOCHS)


CONTENDERS: dict[str, Callable[[], list[float]]] = {
    "ours": ours,
    "ours, batch 64": lambda: ours(batch_size=64),
    "ours, 1 thread": lambda: ours(threads=1),
    "Keras fit on arrays": keras_fit,
    "Keras fit on arrays, XLA": lambda: keras_fit(jit_compile=True),
    "Keras, own tf.function loop": keras_loop,
    "PyTorch": pytorch,
    "PyTorch, channels last": lambda: pytorch(channels_last=True),
}

if __name__ == "__main__":
    measures.report(seconds=float(np.median(CONTENDERS[sys.argv[1]]())) * 70000 / len(IMAGES))
