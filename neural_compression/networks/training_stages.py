"""The stages of training: the fit that all networks share, their own blocks, the bit models, the deblocking pairs."""

from collections.abc import Sequence
from pathlib import Path

import grain
import keras
import numpy as np
from threadpoolctl import threadpool_limits

from common import distribution
from common.datasets import batches
from common.experiments import training

from ..bitstream import bit_model
from ..bitstream.bit_model import BitModel
from ..bitstream.container import BLOCK
from ..config import Config, Trial
from ..encoder.mode_decision import by_quality
from ..model import Autoencoder
from .blocks import symmetries, to_blocks, to_image
from .decode import decode_blocks, encode_blocks

_CROP = 4  # blocks, height and width of what the deblocking network is trained on


def fit(
    config: Config,
    trial: Trial,
    model: keras.Model,
    images: tuple,
    folder: Path,
    epochs: int,
    callbacks: tuple = (),
    rate: float = 1.0,
) -> None:
    """Trains a model on uint8 images (N, H, W, 3): its inputs, and what it is to make of them.

    `rate` is the share of the learning rate that it trains with.
    """
    size = max(1, config.batch_size * BLOCK**2 * 3 // images[0][0].size)  # as many pixels a step, whatever their size
    steps = batches.steps_per_epoch(len(images[0]), size)
    peak = rate * config.learning_rate
    schedule = keras.optimizers.schedules.CosineDecay(peak, steps * epochs) if config.decay else peak
    with distribution.strategy_of(model).scope():
        model.compile(FreezableAdam(schedule), "mse", jit_compile=distribution.jit())

    def scaled(first_epoch: int) -> grain.MapDataset:
        shuffled = batches.shuffled_batches(images, size, seed=trial.seed, first_epoch=first_epoch)
        return shuffled.map(lambda pair: tuple(image.astype("float32") / 255 for image in pair))

    training.fit(model, scaled, steps_per_epoch=steps, epochs=epochs, folder=folder, monitor=None, callbacks=callbacks)


def train_pyramid(config: Config, trial: Trial, model: keras.Model, blocks: np.ndarray, folder: Path) -> None:
    """Trains the model of a `Pyramid`, for rate and distortion, on turned and mirrored blocks."""
    size = config.batch_size
    steps = len(blocks) // size
    if not steps:
        raise ValueError(
            f"A batch has {size} blocks, got {len(blocks)} in all. Add photographs, or lower --batch-size."
        )
    with distribution.strategy_of(model).scope():
        optimizer = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(config.expert_rate * config.learning_rate, steps * config.epochs)
        )
        model.compile(optimizer, jit_compile=distribution.jit())

    def augmented(first_epoch: int) -> grain.MapDataset:
        shuffled = batches.shuffled_batches(blocks, size, seed=trial.seed, first_epoch=first_epoch, drop_remainder=True)
        return shuffled.map(lambda batch: symmetric(batch).astype("float32") / 255)

    training.fit(model, augmented, steps_per_epoch=steps, epochs=config.epochs, folder=folder, monitor=None)


def symmetric(batch: np.ndarray) -> np.ndarray:
    """Square images (B, H, H, 3), of which each eighth gets one of the square's eight symmetries.

    Where the order of images is new in every epoch, so is the symmetry that each gets.
    """
    return np.concatenate([symmetries(part)[i] for i, part in enumerate(np.array_split(batch, 8))])


def train_network(config: Config, trial: Trial, model: Autoencoder, blocks: np.ndarray, folder: Path) -> None:
    """Trains one autoencoder into `folder`: on all blocks, then on those that it is for, then its decoder alone."""
    kind, times = ("alternating", 2) if config.alternate else ("joint", 1)
    stages = [(folder, kind, config.epochs * times)]
    if config.expert_epochs:
        stages.append((folder / "expert", kind, config.expert_epochs * times))
    if config.decoder_epochs:
        stages.append((folder / "decoder", "decoder", config.decoder_epochs))
    own = None  # of the expert, which its decoder is fine-tuned on as well
    for place, kind, epochs in stages:
        if place != folder and own is None:
            own = reaching(model, blocks, config.target_psnr)
        chosen, rate = (blocks, 1.0) if own is None else (own, config.expert_rate)
        fit(config, trial, model.training_model, (chosen, chosen), place, epochs, (Passes(model, kind),), rate)


class Passes(keras.callbacks.Callback):
    """Says which epochs train the whole autoencoder and which its decoder alone, on binary codes (section 2.3 (pub)).

    In a joint pass all layers learn from codes as `binarization` makes them; in the other one the encoder is frozen
    and codes are binary. What an epoch does is a function of its number, so a resumed training goes on as it was.

    Args:
        autoencoder: whose `training_model` is fitted.
        kind: "joint", "decoder", or "alternating", which begins with a joint pass.
    """

    def __init__(self, autoencoder: Autoencoder, kind: str):
        super().__init__()
        self.autoencoder, self.kind = autoencoder, kind
        self._functions: dict[bool, object] = {}

    def on_epoch_begin(self, epoch, logs=None):
        decoder_only = self.kind == "decoder" or (self.kind == "alternating" and epoch % 2 == 1)
        self._choose(decoder_only)
        if decoder_only not in self._functions:  # each kind of step is traced once
            self.model.make_train_function(force=True)
            self._functions[decoder_only] = self.model.train_function
        self.model.train_function = self._functions[decoder_only]

    def on_train_end(self, logs=None):
        self._choose(False)

    def _choose(self, decoder_only: bool) -> None:
        self.autoencoder.encoder.trainable = not decoder_only
        self.autoencoder.binarization.actual = decoder_only


class FreezableAdam(keras.optimizers.Adam):
    """Frozen variables keep their values and moments in a pass, on JAX too, where Keras expects all to move."""

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        moving = [variable for variable in self._trainable_variables if variable.trainable]
        state = [*zip(moving, trainable_variables), *zip(self.variables, optimizer_variables)]
        with keras.StatelessScope(state) as scope:
            self.apply(grads, moving)
        return tuple([scope.get_current_value(v) for v in variables] for variables in (moving, self.variables))


def block_psnr(blocks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) dB between blocks (N, 32, 32, 3) uint8; equal ones count as differing by one level in one number."""
    squares = np.square(np.int32(blocks) - others).reshape(len(blocks), -1).sum(axis=1)
    return 10 * np.log10(255**2 * blocks[0].size / np.maximum(squares, 1))


def reaching(model: Autoencoder, blocks: np.ndarray, target_psnr: float) -> np.ndarray:
    """The blocks (M, 32, 32, 3) that a network codes with the target PSNR or more, in dB (section 2.3 (pub)).

    Raises:
        ValueError: there are none.
    """
    parts = np.array_split(blocks, max(1, len(blocks) // 16384))  # decoded ones need not all be in memory
    reached = np.concatenate([block_psnr(part, _decoded(model, part)) for part in parts]) >= target_psnr
    if not reached.any():
        raise ValueError(
            f"No block of the training photographs reaches {target_psnr} dB with the network of "
            f"{model.encoder.output_shape[1]} bits. Lower --target-psnr, or train longer."
        )
    return blocks[reached]


def fit_bit_models(
    models: Sequence[Autoencoder], images: Sequence[np.ndarray], neighbor_bits: int | None = None
) -> list[BitModel]:
    """What the entropy coder expects of each network's codes, learned from those of the training images.

    In every second grid all blocks are of one network; in the others half of them are, by chance, so that the models
    also know blocks whose neighbors another network has coded. `neighbor_bits` is as for `bit_model.fit`.
    """
    random = np.random.default_rng(0)
    grids = [to_blocks(image) for image in images]
    if neighbor_bits is not None:  # long codes have many weights, which blocks that overlap by half determine
        grids += [to_blocks(image[BLOCK // 2 :, BLOCK // 2 :]) for image in images]
    grids = grids if len(grids) > 1 else np.array_split(grids[0], 2)
    bit_models = []
    for number, model in enumerate(models):
        codes = [encode_blocks(model.encoder, grid) for grid in grids]
        shares = [1.0 if i % 2 == 0 else 0.5 for i in range(len(codes))]
        maps = [
            np.where(random.random(c.shape[:2]) < s, number, len(models)).astype("uint8") for c, s in zip(codes, shares)
        ]
        length = model.encoder.output_shape[-1]
        # Products of short codes are so small that threads of BLAS would wait for each other.
        with threadpool_limits(1 if length < 512 else None, "blas"):
            bit_models.append(bit_model.fit(codes, maps, number, length, neighbor_bits=neighbor_bits))
    return bit_models


def deblocking_pairs(
    models: Sequence[Autoencoder], images: Sequence[np.ndarray], target_psnr: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Crops (N, 128, 128, 3) uint8 of decoded images, and of the images themselves.

    Each block is coded by the shortest network that reaches the target PSNR, or else by the longest. Without a target,
    all blocks of an image are coded by one network, and once more by another one, of all networks by chance.
    """
    random, decoded, originals = np.random.default_rng(0), [], []
    for grid in map(to_blocks, images):
        blocks = grid.reshape(-1, BLOCK, BLOCK, 3)
        if target_psnr is None:
            versions = [_decoded(models[number], blocks) for number in random.permutation(len(models))[:2]]
        else:
            versions = [_by_quality(models, blocks, target_psnr)]
        for version in versions:
            decoded += _crops(version.reshape(grid.shape))
            originals += _crops(grid)
    if not decoded:
        raise ValueError(
            f"No photograph has {_CROP} × {_CROP} blocks to train the deblocking network on. Add larger ones."
        )
    return np.stack(decoded), np.stack(originals)


def _by_quality(models: Sequence[Autoencoder], blocks: np.ndarray, target_psnr: float) -> np.ndarray:
    """(N, 32, 32, 3) uint8 blocks, each after the shortest network that reaches the target PSNR, or the longest."""
    versions = np.stack([_decoded(model, blocks) for model in models])
    errors = np.square(np.int32(versions) - blocks).sum(axis=(2, 3, 4))  # (networks, blocks)
    chosen = by_quality(errors, np.full(len(blocks), blocks[0].size), target_psnr)
    return versions[chosen, np.arange(len(blocks))]


def _crops(grid: np.ndarray) -> list[np.ndarray]:
    """The crops (128, 128, 3) of an image in blocks (R, C, 32, 32, 3), side by side; what is left over is in none."""
    rows, columns = grid.shape[:2]
    corners = ((r, c) for r in range(0, rows - _CROP + 1, _CROP) for c in range(0, columns - _CROP + 1, _CROP))
    return [to_image(grid[r : r + _CROP, c : c + _CROP], _CROP * BLOCK, _CROP * BLOCK) for r, c in corners]


def _decoded(model: Autoencoder, blocks: np.ndarray) -> np.ndarray:
    """(N, 32, 32, 3) uint8 blocks after a network's binary codes."""
    return decode_blocks(model.decoder, encode_blocks(model.encoder, blocks))
