"""MS-SSIM against its definition, TensorFlow's, and by hand."""

import numpy as np
import pytest
from scipy.signal import convolve2d
from sklearn.datasets import load_sample_image

from neural_compression.evaluation.ms_ssim import WEIGHTS, ms_ssim

PHOTOGRAPH = load_sample_image("china.jpg")


def worse(image, strength, seed=0):
    noise = np.random.default_rng(seed).normal(0, strength, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype("uint8")


SHAPES = pytest.mark.parametrize("shape", [(161, 161), (176, 203), (427, 640)])  # some scales have odd sides
STRENGTHS = pytest.mark.parametrize("strength", [2, 20, 80])


def of_channel(first, second):
    """By windows that are convolved in two dimensions, of one channel."""
    line = np.exp(-np.square(np.arange(-5, 6)) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            first, second = (reduced(each) for each in (first, second))
        mean_1, mean_2 = (convolve2d(each, window, "valid") for each in (first, second))
        variance_1, variance_2, covariance = (
            convolve2d(a * b, window, "valid") - c * d
            for (a, c), (b, d) in (
                ((first, mean_1), (first, mean_1)),
                ((second, mean_2), (second, mean_2)),
                ((first, mean_1), (second, mean_2)),
            )
        )
        value = (2 * covariance + 58.5225) / (variance_1 + variance_2 + 58.5225)
        if scale == 4:
            value = value * (2 * mean_1 * mean_2 + 6.5025) / (mean_1**2 + mean_2**2 + 6.5025)
        result *= max(value.mean(), 0) ** weight
    return result


def reduced(channel):
    channel = np.pad(channel, [(0, side % 2) for side in channel.shape], mode="symmetric")
    return sum(channel[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4


@SHAPES
@STRENGTHS
def test_equals_its_definition(shape, strength):
    image = PHOTOGRAPH[: shape[0], : shape[1]]
    decoded = worse(image, strength)
    channels = [of_channel(image[..., c] / 1.0, decoded[..., c] / 1.0) for c in range(3)]
    assert ms_ssim(image, decoded) == pytest.approx(np.mean(channels), abs=1e-9)


@SHAPES
@STRENGTHS
def test_equals_tensorflow(shape, strength):
    """Which computes in float32, where variances are small differences of large squares."""
    tf = pytest.importorskip("tensorflow")
    image = PHOTOGRAPH[: shape[0], : shape[1]]
    decoded = worse(image, strength)
    expected = float(tf.image.ssim_multiscale(tf.constant(image), tf.constant(decoded), 255))
    assert ms_ssim(image, decoded) == pytest.approx(expected, abs=3e-4)


def test_flat_images_differ_in_luminance_alone():
    """Contrast and structure are 1; the luminance of the smallest scale counts, to the power of its weight."""
    dark, light = np.full((161, 161, 3), 10, "uint8"), np.full((161, 161, 3), 90, "uint8")
    luminance = (2 * 10 * 90 + 2.55**2) / (10**2 + 90**2 + 2.55**2)
    assert ms_ssim(dark, light) == pytest.approx(luminance ** WEIGHTS[-1])
    assert ms_ssim(dark, dark) == 1


def test_opposite_structure_is_worth_nothing():
    assert ms_ssim(PHOTOGRAPH, 255 - PHOTOGRAPH) == 0


@pytest.mark.parametrize(("side", "known"), [(160, False), (161, True)])
def test_small_images_have_none(side, known):
    image = PHOTOGRAPH[:side, :300]
    assert (ms_ssim(image, image) is not None) == known
