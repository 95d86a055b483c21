"""Rates, the two PSNRs, Bjøntegaard's measures, and their figures."""

import numpy as np
import pytest
from matplotlib.image import imread

from neural_compression.evaluation import plots
from neural_compression.evaluation.rate_distortion import (
    Point,
    bd_psnr,
    bd_rate,
    dataset_psnr,
    interpolated,
    mean_psnr,
    point,
    squared_error,
)


def curve(rates, qualities):
    return [Point(i, rate, quality, quality + 1) for i, (rate, quality) in enumerate(zip(rates, qualities))]


def test_squared_error_does_not_wrap_around():
    image = np.zeros((2, 3, 3), "uint8")
    decoded = image.copy()
    decoded[0, 0] = 255, 2, 1
    assert squared_error(image, decoded) == squared_error(decoded, image) == 65025 + 4 + 1
    large = np.zeros((1000, 1000, 3), "uint8")
    assert squared_error(large, large + np.uint8(255)) == 65025 * 3_000_000  # beyond 32 bits


def test_two_psnrs_by_hand():
    """Errors 1 and 100 per sample over 100 and 300 samples: the set's MSE is 75.25, the mean PSNR is 10 dB under 1."""
    peak = 20 * np.log10(255)
    assert dataset_psnr([100, 30_000], [100, 300]) == pytest.approx(peak - 10 * np.log10(75.25))
    assert mean_psnr([100, 30_000], [100, 300]) == pytest.approx(peak - 10)
    assert dataset_psnr([0, 300], [300, 300]) == pytest.approx(peak - 10 * np.log10(0.5))
    assert mean_psnr([0, 300], [300, 300]) == dataset_psnr([0], [300]) == np.inf


def test_rate_is_that_of_all_files():
    """110 bytes for 120 pixels: 7.33 bits each; the mean of the images' own rates, 4 and 8, would be 6."""
    measured = point(7, [10, 100], [20, 100], [60, 3000])
    assert measured.bits_per_pixel == 8 * 110 / 120
    assert measured.setting == 7
    assert measured.dataset_psnr == pytest.approx(20 * np.log10(255) - 10 * np.log10(3060 / 360))
    assert measured.mean_psnr == pytest.approx(20 * np.log10(255) - 5)


def test_interpolation_is_linear_in_the_logarithm():
    points = curve([0.4, 0.1, 1.6], [24, 20, 32])
    assert interpolated(points, 0.2) == Point(None, 0.2, pytest.approx(22), pytest.approx(23))
    assert interpolated(points, 0.4 * 4**0.25).dataset_psnr == pytest.approx(26)
    assert interpolated(points, 0.4) is points[0] and interpolated(points, 1.6) is points[2]


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 3])
def test_rate_shifted_by_a_factor(factor):
    rates, qualities = np.array([0.1, 0.17, 0.3, 0.45, 0.9]), np.array([22, 25, 27.5, 28, 31])
    shifted = curve(factor * rates, qualities)[::-1]
    assert bd_rate(curve(rates, qualities), shifted) == pytest.approx(100 * (factor - 1))
    assert bd_rate(curve(rates, qualities), shifted, "mean_psnr") == pytest.approx(100 * (factor - 1))


def test_quality_shifted_by_decibels():
    rates, qualities = np.array([0.1, 0.17, 0.3, 0.45, 0.9]), np.array([22, 25, 27.5, 28, 31])
    assert bd_psnr(curve(rates, qualities), curve(rates, qualities + 1.5)) == pytest.approx(1.5)
    assert bd_psnr(curve(rates, qualities), curve(rates, qualities)) == 0


def test_straight_lines_of_two_slopes():
    """dB = 3·ln rate and dB = 2·ln rate share 0 to 6 dB (rates 1 to e²): ln rate is D/3 and D/2, D/6 apart, 0.5 on
    average; and at the rates 1 to e² the second is 0 to 2 dB lower, 1 on average."""
    logarithms = np.array([0, 0.3, 1.1, 2])
    first, second = (curve(np.exp(logarithms * scale), 6 * logarithms / 2) for scale in (1, 1.5))
    assert bd_rate(first, second) == pytest.approx(100 * np.expm1(0.5))
    assert bd_rate(second, first) == pytest.approx(100 * np.expm1(-0.5))
    assert bd_psnr(first, second) == pytest.approx(-1)


def single_cubic(x, y, other_x, other_y):
    """Bjøntegaard's own variant (VCEG-M33): one cubic polynomial through the four points of each curve."""
    low, high = max(min(x), min(other_x)), min(max(x), max(other_x))
    areas = [np.diff(np.polyval(np.polyint(np.polyfit(*c, 3)), [low, high]))[0] for c in ((x, y), (other_x, other_y))]
    return (areas[1] - areas[0]) / (high - low)


def test_agrees_with_the_single_cubic_on_smooth_curves():
    """On the example that comes with most programs for it: 31.40 against 31.38 %, −1.185 against −1.183 dB."""
    rates = np.array([[85.95, 157.11, 309.58, 686.76], [112.75, 204.93, 407.8, 893.34]])
    qualities = np.array([[31.42, 34.24, 37.18, 40.28], [31.24, 34.17, 37.21, 40.39]])
    logarithms = np.log(rates)
    by_rate = 100 * np.expm1(single_cubic(qualities[0], logarithms[0], qualities[1], logarithms[1]))
    by_quality = single_cubic(logarithms[0], qualities[0], logarithms[1], qualities[1])
    curves = [curve(*both) for both in zip(rates, qualities)]
    assert bd_rate(*curves) == pytest.approx(by_rate, abs=0.02)
    assert bd_psnr(*curves) == pytest.approx(by_quality, abs=0.002)


def test_equals_another_program():
    """Values of the package bjontegaard 1.3.0 (method "pchip"), which reproduces the sheets of JCT-VC and JVET."""
    smooth = [
        curve([85.95, 157.11, 309.58, 686.76], [31.42, 34.24, 37.18, 40.28]),
        curve([112.75, 204.93, 407.8, 893.34], [31.24, 34.17, 37.21, 40.39]),
    ]
    assert bd_rate(*smooth) == pytest.approx(31.379878202397627)
    assert bd_psnr(*smooth) == pytest.approx(-1.1834724046224592)
    uneven = [
        curve([0.0881, 0.0974, 0.1179, 0.1408, 0.2101, 0.3974], [21.29, 21.51, 22.59, 23.6, 25.51, 28.15]),
        curve([0.0397, 0.06, 0.0993, 0.1493, 0.2387, 0.4356], [23.07, 23.97, 25.14, 26.2, 27.62, 29.87]),
    ]
    assert bd_rate(*uneven) == pytest.approx(-47.525588713911084)
    assert bd_psnr(*uneven) == pytest.approx(2.1253498902421217)


RISING = curve([0.1, 0.2, 0.3, 0.4], [20, 24, 26, 27])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bd_rate(RISING, RISING[1:]), "at least 4 points on a curve, got 3; add settings"),
        (
            lambda: bd_rate(RISING, curve([0.1, 0.2, 0.3, 0.4], [20, 24, 23, 27])),
            "Expected dataset_psnr to rise with the rate .* 23.00 dB at 0.3000, .*; leave out the points that do not",
        ),
        (lambda: bd_psnr(RISING, curve([0.1, 0.2, 0.2, 0.4], [20, 24, 25, 27])), "Expected dataset_psnr to rise"),
        (lambda: bd_psnr(RISING, curve([0.1, 0.2, 0.3, 0.4], [20, 24, 25, np.inf])), "Expected dataset_psnr to rise"),
        (
            lambda: bd_rate(RISING, curve([0.1, 0.2, 0.3, 0.4], [24.5, 26, 28, 30])),
            "share at least half of the shorter one's range, got 20.00 to 27.00 and 24.50 to 30.00 dB; add settings",
        ),
        (
            lambda: bd_psnr(RISING, curve([0.5, 0.6, 0.7, 0.8], [20, 24, 26, 27])),
            "got -2.30 to -0.92 and -0.69 to -0.22 in the logarithm of the rate",
        ),
        (lambda: interpolated(RISING, 0.5), "Expected a rate from 0.1000 to 0.4000 bits per pixel.*got 0.5; add"),
        (lambda: interpolated([], 0.5), "Expected a rate from – to –"),
        (lambda: point(1, [], [], []), "each of at least one image, got 0, 0 and 0"),
        (lambda: point(1, [1], [1, 2], [1]), "got 1, 2 and 1"),
        (
            lambda: squared_error(np.zeros((2, 2, 3), "uint8"), np.zeros((2, 2, 3))),
            "got the decoded image as \\(2, 2, 3\\) float64 .*; round to 8 bits",
        ),
        (
            lambda: squared_error(np.zeros((2, 2, 3), "uint8"), np.zeros((32, 32, 3), "uint8")),
            "got the decoded image as \\(32, 32, 3\\) uint8 for \\(2, 2, 3\\); .* cut off padding",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_figures(tmp_path):
    image = np.full((50, 70, 3), 100, "uint8")
    plots.rate_distortion(tmp_path / "new/rd.png", {"JPEG": RISING}, {"a": RISING[0], "b": RISING[1]}, "mean_psnr")
    assert plots.caption("JPEG", 0.14799, 23.857) == "JPEG\n0.148 bpp, 23.86 dB"
    plots.crops(tmp_path / "crops.png", {"a": image, "b": image}, [(0, 0, 20, 30), (50, 40, 70, 50)])
    # Two blocks down, three across; the outermost are cut off by the border of the image.
    plots.network_map(tmp_path / "map.png", image, np.array([[0, 1, 1], [1, 1, 0]]), (64, 216))
    for name in ("new/rd", "crops", "map"):
        assert min(imread(tmp_path / f"{name}.png").shape[:2]) > 300


def test_network_map_tints_each_block(tmp_path):
    """Gray 100 and the ends of the color map, half each; 64 bits are bluish, 216 reddish."""
    image = np.full((64, 64, 3), 100, "uint8")
    plots.network_map(tmp_path / "map.png", image, np.array([[0, 1], [1, 0]]), (64, 216))
    pixels = imread(tmp_path / "map.png")[..., :3]
    height, width = pixels.shape[:2]
    blue, red = (100 / 255 + np.array([[0.2298, 0.2987, 0.7537], [0.7057, 0.0156, 0.1502]])) / 2
    np.testing.assert_allclose(pixels[height // 5, width // 4], blue, atol=0.01)
    np.testing.assert_allclose(pixels[height // 5, 3 * width // 4], red, atol=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda path, image: plots.crops(path, {"a": image, "b": image[1:]}, [(0, 0, 1, 1)]),
            "Expected images of one shape to crop, got \\[\\(49, 70, 3\\), \\(50, 70, 3\\)\\]",
        ),
        (
            lambda path, image: plots.crops(path, {"a": image}, [(0, 0, 71, 50)]),
            "within 70×50 pixels, got \\(0, 0, 71, 50\\)",
        ),
        (
            lambda path, image: plots.network_map(path, image, np.zeros((2, 2), int), [64]),
            "Expected a map of \\(2, 3\\) blocks for 70×50 pixels, got \\(2, 2\\)",
        ),
        (
            lambda path, image: plots.network_map(path, image, np.ones((2, 3), int), [64]),
            "Expected networks from 0 to 0, got 1 to 1",
        ),
    ],
)
def test_figures_refuse_what_does_not_fit(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "a.png", np.zeros((50, 70, 3), "uint8"))
    assert list(tmp_path.iterdir()) == []
