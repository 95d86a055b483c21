"""Figures of a codec: rate–distortion curves, crops side by side, and which network coded which block."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from common.report.plots import save

from ..bitstream.container import BLOCK
from .rate_distortion import Metric, Point

_NAMES = {"dataset_psnr": "PSNR of the whole set (dB)", "mean_psnr": "mean PSNR (dB)"}


def rate_distortion(
    path: Path,
    curves: Mapping[str, Sequence[Point]],
    marks: Mapping[str, Point] | None = None,
    metric: Metric = "dataset_psnr",
) -> None:
    """Quality against rate on a logarithmic axis, with a legend.

    Args:
        path: PNG to write.
        curves: codec's name -> its points.
        marks: name -> a point that stands alone, as a paper's; shown as a black star, cross or the like.
        metric: which of the two PSNRs.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for name, points in curves.items():
        ordered = sorted(points, key=lambda p: p.bits_per_pixel)
        values = [getattr(p, metric) for p in ordered]
        axis.plot([p.bits_per_pixel for p in ordered], values, label=name, linewidth=1, marker="o", markersize=3)
    for shape, (name, mark) in zip("*PXDs^v" * len(marks or {}), (marks or {}).items()):
        place = mark.bits_per_pixel, getattr(mark, metric)
        axis.plot(*place, label=name, color="black", linestyle="", marker=shape, markersize=8)
    axis.set(xscale="log", xlabel="bits per pixel", ylabel=_NAMES[metric])
    # Powers of ten alone would leave the decade of interest, 0.1 to 1, without a number inside.
    rates = [0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5]
    lowest, highest = axis.get_xlim()
    axis.set_xticks([rate for rate in rates if lowest <= rate <= highest])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def caption(name: str, bits_per_pixel: float, psnr: float) -> str:
    """Title of an image for `crops`: codec, its rate and its PSNR in dB."""
    return f"{name}\n{bits_per_pixel:.3f} bpp, {psnr:.2f} dB"


def crops(path: Path, columns: Mapping[str, np.ndarray], boxes: Sequence[tuple[int, int, int, int]]) -> None:
    """The same parts of several versions of an image, a column for each version and a row for each part.

    Args:
        path: PNG to write.
        columns: title -> (H, W, 3) uint8, all of one shape; `caption` makes titles.
        boxes: left, top, right, bottom in pixels, right and bottom excluded.

    Raises:
        ValueError: shapes differ, or a box is empty or reaches out of the image.
    """
    shapes = {image.shape for image in columns.values()}
    if len(shapes) != 1:
        raise ValueError(f"Expected images of one shape to crop, got {sorted(shapes)}; decode them all from one image.")
    height, width = shapes.pop()[:2]
    for left, top, right, bottom in boxes:
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(
                f"Expected boxes (left, top, right, bottom) within {width}×{height} pixels, got "
                f"{(left, top, right, bottom)}; change the box."
            )
    ratios = [(bottom - top) / (right - left) for left, top, right, bottom in boxes]
    figure = Figure(figsize=(2.4 * len(columns), 2.4 * sum(ratios)), layout="constrained")
    axes = figure.subplots(len(boxes), len(columns), squeeze=False, gridspec_kw={"height_ratios": ratios})
    for line, (left, top, right, bottom) in zip(axes, boxes):
        for axis, image in zip(line, columns.values()):
            axis.imshow(image[top:bottom, left:right], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, title in zip(axes[0], columns):
        axis.set_title(title, fontsize=9)
    save(figure, path)


def network_map(path: Path, image: np.ndarray, networks: np.ndarray, code_lengths: Sequence[int]) -> None:
    """An image whose 32×32 blocks are tinted by the network that coded them, with a legend of code lengths.

    Args:
        path: PNG to write.
        image: (H, W, 3) uint8.
        networks: (R, C) integers, places in `code_lengths`; R = ⌈H / 32⌉, C = ⌈W / 32⌉.
        code_lengths: bits of each network's code.

    Raises:
        ValueError: the map does not fit the image or names a network that is not there.
    """
    height, width = image.shape[:2]
    expected = -(-height // BLOCK), -(-width // BLOCK)
    if networks.shape != expected:
        raise ValueError(
            f"Expected a map of {expected} blocks for {width}×{height} pixels, got {networks.shape}; "
            "pass the map of this image."
        )
    if networks.min() < 0 or networks.max() >= len(code_lengths):
        raise ValueError(
            f"Expected networks from 0 to {len(code_lengths) - 1}, got {networks.min()} to {networks.max()}; "
            "pass the code lengths of all networks."
        )
    # From blue to red as the codes grow, which color-blind readers tell apart too.
    colors = colormaps["coolwarm"](np.linspace(0, 1, len(code_lengths)))[:, :3]
    tint = colors[networks].repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)  # (R, C, 3) -> (32·R, 32·C, 3)
    gray = image.mean(axis=2, keepdims=True) / 255  # the image's own colors would mix with the tint
    figure = Figure(figsize=(6, 6 * height / width + 0.4), layout="constrained")
    axis = figure.subplots()
    axis.imshow((gray + tint[:height, :width]) / 2)
    axis.set(xticks=[], yticks=[])
    shares = np.bincount(networks.ravel(), minlength=len(code_lengths)) / networks.size
    figure.legend(
        handles=[
            Patch(color=color, label=f"{length} bits: {share:.0%} of the blocks")
            for color, length, share in zip((colors + 0.5) / 2, code_lengths, shares)
        ],
        loc="outside lower center",
        ncols=len(code_lengths),
        frameon=False,
        fontsize=8,
    )
    save(figure, path)
