"""Rate and distortion of a codec over a set of images, and the average distance between two of its curves.

The recipe of Publication V: one setting for the whole set, the rate of the real files, and distortion after rounding
to 8 bits. Two PSNRs are in use, which differ by 0.2 to 1.7 dB at low rates; every name says which one is meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ms_ssim import ms_ssim

# Fewer shared values than this share of the shorter curve's range say more about where the curves end than about them.
_LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class Point:
    """A codec at one setting, over a set of images.

    Args:
        setting: the codec's own number; None for a point between two settings.
        bits_per_pixel: bits of all files by pixels of all images.
        dataset_psnr: dB, of one MSE over all samples of all images, Eq. (2).
        mean_psnr: dB, mean of the images' own PSNRs.
        ms_ssim: mean of the images' own MS-SSIM; None if one is too small for it, or none was computed.
    """

    setting: float | None
    bits_per_pixel: float
    dataset_psnr: float
    mean_psnr: float
    ms_ssim: float | None = None


def squared_error(image: np.ndarray, decoded: np.ndarray) -> int:
    """Sum of squared differences of two images, (H, W, 3) uint8, over their 3·H·W samples.

    Raises:
        ValueError: shapes or types do not fit.
    """
    for what, array in (("the image", image), ("the decoded image", decoded)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape != image.shape:
            raise ValueError(
                f"Expected two (H, W, 3) uint8 images of one shape, got {what} as {array.shape} {array.dtype} "
                f"for {image.shape}; round to 8 bits and cut off padding first."
            )
    difference = image.astype(np.int64) - decoded
    return int(np.vdot(difference, difference))


def dataset_psnr(squared_errors: Sequence[int], samples: Sequence[int]) -> float:
    """PSNR of one MSE over the samples of all images, Eq. (2), in dB; infinite without any error.

    Args:
        squared_errors: of each image its sum of squared differences.
        samples: of each image its number of samples, 3·H·W.
    """
    return float(_psnr(np.sum(squared_errors), np.sum(samples)))


def mean_psnr(squared_errors: Sequence[int], samples: Sequence[int]) -> float:
    """Mean of the images' own PSNRs in dB; infinite if one image is without any error. Arguments as `dataset_psnr`."""
    return float(np.mean(_psnr(np.asarray(squared_errors), np.asarray(samples))))


def _psnr(squared_error: np.ndarray, samples: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # no error: infinite
        return 20 * np.log10(255.0) - 10 * np.log10(squared_error / samples)  # Eq. (2)


def point(
    setting: float | None, file_sizes: Sequence[int], images: Sequence[np.ndarray], decoded: Sequence[np.ndarray]
) -> Point:
    """The point of RGB images coded at one setting.

    Args:
        setting: the codec's own number.
        file_sizes: of each image the bytes of its file.
        images: (H, W, 3) uint8, sizes may differ.
        decoded: what the files give back, likewise.

    Raises:
        ValueError: there are no images, the three are not equally many, or an image and its decoded one do not fit.
    """
    counts = len(file_sizes), len(images), len(decoded)
    if len(set(counts)) > 1 or not counts[0]:
        raise ValueError(
            f"Expected a file size and a decoded image for each of at least one image, got {counts[0]} sizes, "
            f"{counts[1]} images and {counts[2]} decoded ones."
        )
    errors, samples = [squared_error(*pair) for pair in zip(images, decoded)], [image.size for image in images]
    similarities = [value for pair in zip(images, decoded) if (value := ms_ssim(*pair)) is not None]
    return Point(
        setting,
        8 * sum(file_sizes) / (sum(samples) // 3),
        dataset_psnr(errors, samples),
        mean_psnr(errors, samples),
        float(np.mean(similarities)) if len(similarities) == len(images) else None,
    )


def interpolated(points: Sequence[Point], bits_per_pixel: float) -> Point:
    """The curve at a rate: all measures linear in the logarithm of the rate, between the two neighbors.

    Args:
        points: in any order.
        bits_per_pixel: a rate from the lowest to the highest of the points; a point that has it is returned itself.

    Raises:
        ValueError: there is no point at, or none on each side of, that rate.
    """
    below = [p for p in points if p.bits_per_pixel <= bits_per_pixel]
    above = [p for p in points if p.bits_per_pixel >= bits_per_pixel]
    if not below or not above:
        ends = [f"{end(p.bits_per_pixel for p in points):.4f}" for end in (min, max)] if points else ["–", "–"]
        raise ValueError(
            f"Expected a rate from {ends[0]} to {ends[1]} bits per pixel, where the points are, got "
            f"{bits_per_pixel}; add a setting beyond it."
        )
    left, right = max(below, key=lambda p: p.bits_per_pixel), min(above, key=lambda p: p.bits_per_pixel)
    if left.bits_per_pixel == right.bits_per_pixel:
        return left
    share = np.log(bits_per_pixel / left.bits_per_pixel) / np.log(right.bits_per_pixel / left.bits_per_pixel)

    def between(low: float, high: float) -> float:
        return float((1 - share) * low + share * high)

    similarity = None
    if left.ms_ssim is not None and right.ms_ssim is not None:
        similarity = between(left.ms_ssim, right.ms_ssim)
    psnrs = between(left.dataset_psnr, right.dataset_psnr), between(left.mean_psnr, right.mean_psnr)
    return Point(None, bits_per_pixel, *psnrs, similarity)


def bd_rate(reference: Sequence[Point], test: Sequence[Point]) -> float:
    """Bjøntegaard's rate difference: how much more rate `test` needs on average for the dataset PSNR of `reference`.

    The logarithm of the rate as a function of the PSNR is interpolated by a monotone piecewise cubic (PCHIP), as in
    the common test conditions of JCT-VC and JVET; Bjøntegaard's own single cubic (VCEG-M33) may overshoot. The mean
    difference is taken over the PSNRs that both curves reach.

    Returns:
        Percent of the reference's rate; −20 is a fifth less.

    Raises:
        ValueError: a curve has fewer than four points, rate and PSNR do not rise together, or the curves share less
            than half of the shorter one's range of PSNRs.
    """
    curves = [_curve(points) for points in (reference, test)]
    return 100 * float(np.expm1(_mean_difference(curves)))


def _curve(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) dataset PSNRs in ascending order and (N,) logarithms of the rates."""
    ordered = sorted(points, key=lambda p: p.bits_per_pixel)
    rates, quality = (np.array([getattr(p, name) for p in ordered]) for name in ("bits_per_pixel", "dataset_psnr"))
    if len(points) < 4:
        raise ValueError(
            f"Bjøntegaard's measures expect at least 4 points on a curve, got {len(points)}; add settings."
        )
    if not (
        rates[0] > 0 and np.isfinite(quality).all() and (np.diff(rates) > 0).all() and (np.diff(quality) > 0).all()
    ):
        raise ValueError(
            "Expected dataset_psnr to rise with the rate from point to point, got "
            f"{', '.join(f'{q:.2f} dB at {r:.4f}' for r, q in zip(rates, quality))}; leave out the points that do not."
        )
    return quality, np.log(rates)


def _mean_difference(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean of the second curve minus the first over the x that both have; a curve is (N,) ascending x and (N,) y."""
    from scipy.interpolate import PchipInterpolator  # takes long to load, which coding an image need not

    lowest, highest = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    shortest = min(x[-1] - x[0] for x, _ in curves)
    if highest - lowest < _LEAST_OVERLAP * shortest:
        ranges = " and ".join(f"{x[0]:.2f} to {x[-1]:.2f}" for x, _ in curves)
        raise ValueError(
            f"Expected two curves that share at least half of the shorter one's range, got {ranges} dB; add "
            "settings until they overlap."
        )
    reference, test = (PchipInterpolator(x, y).integrate(lowest, highest) for x, y in curves)
    return float((test - reference) / (highest - lowest))
