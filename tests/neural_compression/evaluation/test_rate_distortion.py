"""Rates, the two PSNRs, Bjøntegaard's measures, and their figures."""

import warnings

import numpy as np
import pytest
from matplotlib.image import imread

from neural_compression.evaluation import plots
from neural_compression.evaluation.ms_ssim import ms_ssim
from neural_compression.evaluation.rate_distortion import (
    Point,
    bd_rate,
    dataset_psnr,
    interpolated,
    mean_psnr,
    point,
    squared_error,
)
from tests.neural_compression.small_codec import picture


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
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean_psnr([0, 300], [300, 300]) == dataset_psnr([0], [300]) == np.inf


def test_rate_is_that_of_all_files():
    """110 bytes for 120 pixels: 7.33 bits each; the mean of the images' own rates, 4 and 8, would be 6.

    Squared errors are 1 and 9 for each sample, of 60 and 300.
    """
    images = [np.zeros((4, 5, 3), "uint8"), np.zeros((10, 10, 3), "uint8")]
    measured = point(7, [10, 100], images, [images[0] + np.uint8(1), images[1] + np.uint8(3)])
    assert measured.bits_per_pixel == 8 * 110 / 120
    assert measured.setting == 7
    assert measured.dataset_psnr == pytest.approx(20 * np.log10(255) - 10 * np.log10((60 + 9 * 300) / 360))
    assert measured.mean_psnr == pytest.approx(20 * np.log10(255) - 5 * np.log10(9))
    assert measured.ms_ssim is None  # smaller than a window at a sixteenth


def test_ms_ssim_is_the_mean_of_the_images():
    images = [picture(170, 200, seed) for seed in range(2)]
    decoded = [image // 16 * 16 for image in images]
    own = [ms_ssim(*pair) for pair in zip(images, decoded)]
    assert point(1, [1, 1], images, decoded).ms_ssim == pytest.approx(np.mean(own)) and own[0] != own[1]
    assert point(1, [1, 1], [images[0], images[1][:160]], [decoded[0], decoded[1][:160]]).ms_ssim is None


def test_interpolation_is_linear_in_the_logarithm():
    points = curve([0.4, 0.1, 1.6], [24, 20, 32])
    assert interpolated(points, 0.2) == Point(None, 0.2, pytest.approx(22), pytest.approx(23))
    assert interpolated(points, 0.4 * 4**0.25).dataset_psnr == pytest.approx(26)
    low, high = Point(1, 0.1, 20, 21, 0.5), Point(2, 0.4, 24, 25, 0.9)
    assert interpolated([low, high], 0.2).ms_ssim == pytest.approx(0.7)
    assert interpolated([low, Point(2, 0.4, 24, 25)], 0.2).ms_ssim is None
    assert interpolated(points, 0.4) is points[0] and interpolated(points, 1.6) is points[2]


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 3])
def test_rate_shifted_by_a_factor(factor):
    rates, qualities = np.array([0.1, 0.17, 0.3, 0.45, 0.9]), np.array([22, 25, 27.5, 28, 31])
    shifted = curve(factor * rates, qualities)[::-1]
    assert bd_rate(curve(rates, qualities), shifted) == pytest.approx(100 * (factor - 1))


def test_straight_lines_of_two_slopes():
    """dB = 3·ln rate and dB = 2·ln rate share 0 to 6 dB (rates 1 to e²): ln rate is D/3 and D/2, D/6 apart, 0.5 on
    average."""
    logarithms = np.array([0, 0.3, 1.1, 2])
    first, second = (curve(np.exp(logarithms * scale), 6 * logarithms / 2) for scale in (1, 1.5))
    assert bd_rate(first, second) == pytest.approx(100 * np.expm1(0.5))
    assert bd_rate(second, first) == pytest.approx(100 * np.expm1(-0.5))


def test_a_short_curve_within_a_long_one():
    """It shares its whole range, which is a tenth of the other's."""
    wide, narrow = np.linspace(20, 40, 9), np.linspace(24, 26, 5)
    long, short = curve(np.exp(wide / 3), wide), curve(0.7 * np.exp(narrow / 3), narrow)
    assert bd_rate(long, short) == pytest.approx(-30) and bd_rate(short, long) == pytest.approx(100 * (1 / 0.7 - 1))


def single_cubic(x, y, other_x, other_y):
    """Bjøntegaard's own variant (VCEG-M33): one cubic polynomial through the four points of each curve."""
    low, high = max(min(x), min(other_x)), min(max(x), max(other_x))
    areas = [np.diff(np.polyval(np.polyint(np.polyfit(*c, 3)), [low, high]))[0] for c in ((x, y), (other_x, other_y))]
    return (areas[1] - areas[0]) / (high - low)


def test_agrees_with_the_single_cubic_on_smooth_curves():
    """On the example that comes with most programs for it: 31.40 against 31.38 %."""
    rates = np.array([[85.95, 157.11, 309.58, 686.76], [112.75, 204.93, 407.8, 893.34]])
    qualities = np.array([[31.42, 34.24, 37.18, 40.28], [31.24, 34.17, 37.21, 40.39]])
    logarithms = np.log(rates)
    by_rate = 100 * np.expm1(single_cubic(qualities[0], logarithms[0], qualities[1], logarithms[1]))
    curves = [curve(*both) for both in zip(rates, qualities)]
    assert bd_rate(*curves) == pytest.approx(by_rate, abs=0.02)


def test_equals_another_program():
    """Values of the package bjontegaard 1.3.0 (method "pchip"), which reproduces the sheets of JCT-VC and JVET."""
    smooth = [
        curve([85.95, 157.11, 309.58, 686.76], [31.42, 34.24, 37.18, 40.28]),
        curve([112.75, 204.93, 407.8, 893.34], [31.24, 34.17, 37.21, 40.39]),
    ]
    assert bd_rate(*smooth) == pytest.approx(31.379878202397627)
    uneven = [
        curve([0.0881, 0.0974, 0.1179, 0.1408, 0.2101, 0.3974], [21.29, 21.51, 22.59, 23.6, 25.51, 28.15]),
        curve([0.0397, 0.06, 0.0993, 0.1493, 0.2387, 0.4356], [23.07, 23.97, 25.14, 26.2, 27.62, 29.87]),
    ]
    assert bd_rate(*uneven) == pytest.approx(-47.525588713911084)


IMAGE = np.zeros((2, 2, 3), "uint8")
RISING = curve([0.1, 0.2, 0.3, 0.4], [20, 24, 26, 27])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bd_rate(RISING, RISING[1:]), "at least 4 points on a curve, got 3; add settings"),
        (
            lambda: bd_rate(RISING, curve([0.1, 0.2, 0.3, 0.4], [20, 24, 23, 27])),
            "Expected dataset_psnr to rise with the rate .* 23.00 dB at 0.3000, .*; leave out the points that do not",
        ),
        (lambda: bd_rate(RISING, curve([0.1, 0.2, 0.2, 0.4], [20, 24, 25, 27])), "Expected dataset_psnr to rise"),
        (lambda: bd_rate(RISING, curve([0.1, 0.2, 0.3, 0.4], [20, 24, 25, np.inf])), "Expected dataset_psnr to rise"),
        (
            lambda: bd_rate(RISING, curve([0.1, 0.2, 0.3, 0.4], [24.5, 26, 28, 30])),
            "share at least half of the shorter one's range, got 20.00 to 27.00 and 24.50 to 30.00 dB; add settings",
        ),
        (lambda: interpolated(RISING, 0.5), "Expected a rate from 0.1000 to 0.4000 bits per pixel.*got 0.5; add"),
        (lambda: interpolated([], 0.5), "Expected a rate from – to –"),
        (lambda: point(1, [], [], []), "each of at least one image, got 0 sizes, 0 images and 0 decoded"),
        (lambda: point(1, [1], [IMAGE, IMAGE], [IMAGE]), "got 1 sizes, 2 images and 1 decoded"),
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


@pytest.fixture
def figures(monkeypatch):
    """The figures that would be written, in their order, with their paths."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path, *_: figures.append((figure, path)))
    return figures


def test_curves_are_plotted_against_the_rate(figures, tmp_path):
    unordered = [RISING[i] for i in (2, 0, 3, 1)]
    plots.rate_distortion(tmp_path / "rd.png", {"ours": unordered, "JPEG": RISING[:2]})
    ((figure, path),) = figures
    (axis,) = figure.axes
    assert path == tmp_path / "rd.png"
    assert [line.get_label() for line in axis.lines] == ["ours", "JPEG"]
    points = [[list(values) for values in line.get_data()] for line in axis.lines]
    assert points == [[[0.1, 0.2, 0.3, 0.4], [20, 24, 26, 27]], [[0.1, 0.2], [20, 24]]]
    assert [(line.get_marker(), line.get_linewidth()) for line in axis.lines] == [("o", 2.5), ("s", 1.2)]
    assert [text.get_text() for text in axis.texts] == ["JPEG", "ours"]  # from below
    assert axis.get_xscale() == "log"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("bits per pixel", "PSNR of the whole set (dB)")
    ticks = axis.get_xticks()
    assert list(ticks) == [0.1, 0.15, 0.2, 0.3] and axis.xaxis.get_major_formatter()(0.15) == "0.15"  # to 0.43 or so


def test_crops_are_parts_of_the_images(figures, tmp_path):
    random = np.random.default_rng(0)
    first, second = random.integers(0, 256, (2, 50, 70, 3), dtype="uint8")
    assert plots.caption("JPEG", 0.14799, 23.857) == "JPEG\n0.148 bpp, 23.86 dB"
    versions = {"a": first, "b": second, "c": first, "d": first, "e": second}
    plots.crops(tmp_path / "crops.png", versions, (50, 40, 70, 50))
    ((figure, _),) = figures
    parts = [axis.images[0].get_array() for axis in figure.axes]
    for part, expected in zip(parts, (image[40:, 50:] for image in versions.values()), strict=True):
        np.testing.assert_array_equal(part, expected)
    assert [axis.get_title() for axis in figure.axes] == list("abcde")
    assert [axis.images[0].get_interpolation() for axis in figure.axes] == ["nearest"] * 5
    rows = [axis.get_subplotspec().rowspan.start for axis in figure.axes]
    assert rows == [0, 0, 0, 0, 1]


def test_network_map_tints_each_block(figures, tmp_path):
    """Gray 100 and the ends of the color map, half each; 64 bits are bluish, 216 reddish. The image ends in blocks."""
    image = np.full((50, 70, 3), (90, 100, 110), "uint8")
    networks = np.array([[0, 1, 1], [1, 1, 0]])
    plots.network_map(tmp_path / "map.png", image, networks, (64, 216))
    ((figure, _),) = figures
    ends = (100 / 255 + np.array([[0.2298, 0.2987, 0.7537], [0.7057, 0.0156, 0.1502]])) / 2
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, ends[networks].repeat(32, 0).repeat(32, 1)[:50, :70], atol=1e-3)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "64 bits: 33% of the blocks", "216 bits: 67% of the blocks"
    ]  # fmt: skip
    np.testing.assert_allclose([patch.get_facecolor()[:3] for patch in legend.get_patches()], ends, atol=0.06)


def test_figures_are_written(tmp_path):
    plots.crops(tmp_path / "new/crops.png", {"a": np.full((50, 70, 3), 100, "uint8")}, (0, 0, 20, 30))
    pixels = imread(tmp_path / "new/crops.png")[..., :3]
    height, width = pixels.shape[:2]
    np.testing.assert_allclose(pixels[height // 2, width // 2], 100 / 255, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda path, image: plots.crops(path, {"a": image, "b": image[1:]}, (0, 0, 1, 1)),
            "Expected images of one shape to crop, got \\[\\(49, 70, 3\\), \\(50, 70, 3\\)\\]",
        ),
        (
            lambda path, image: plots.crops(path, {"a": image}, (0, 0, 71, 50)),
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
