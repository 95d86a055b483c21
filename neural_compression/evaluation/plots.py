"""Figures of a codec: rate–distortion curves, crops side by side, and which network coded which block."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from common.report.plots import MARKERS, label_lines, panels, save, style

from ..bitstream.container import BLOCK
from .rate_distortion import Point


def rate_distortion(path: Path, curves: Mapping[str, Sequence[Point]]) -> None:
    """Dataset PSNR against rate on a logarithmic axis, each curve named at its end.

    Args:
        path: PNG to write.
        curves: codec's name -> its points; those of names that begin with "ours" are thick.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    lines = {}
    for number, (name, points) in enumerate(curves.items()):
        ordered = sorted(points, key=lambda p: p.bits_per_pixel)
        (lines[name],) = axis.plot(
            [p.bits_per_pixel for p in ordered],
            [p.dataset_psnr for p in ordered],
            label=name,
            linewidth=2.5 if name.startswith("ours") else 1.2,
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            **style(number),
        )
    axis.set(xscale="log", xlabel="bits per pixel", ylabel="PSNR of the whole set (dB)")
    # Powers of ten alone would leave the decade of interest, 0.1 to 1, without a number inside.
    rates = [0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5]
    lowest, highest = axis.get_xlim()
    axis.set_xticks([rate for rate in rates if lowest <= rate <= highest])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3)
    label_lines(figure, axis, lines)
    save(figure, path)


def caption(name: str, bits_per_pixel: float, psnr: float) -> str:
    """Title of an image for `crops`: codec, its rate and its PSNR in dB."""
    return f"{name}\n{bits_per_pixel:.3f} bpp, {psnr:.2f} dB"


def crops(path: Path, versions: Mapping[str, np.ndarray], box: tuple[int, int, int, int]) -> None:
    """The same part of several versions of an image, four in a row.

    Args:
        path: PNG to write.
        versions: title -> (H, W, 3) uint8, all of one shape; `caption` makes titles.
        box: left, top, right, bottom in pixels, right and bottom excluded.

    Raises:
        ValueError: shapes differ, or the box is empty or reaches out of the image.
    """
    shapes = {image.shape for image in versions.values()}
    if len(shapes) != 1:
        raise ValueError(f"Expected images of one shape to crop, got {sorted(shapes)}; decode them all from one image.")
    height, width = shapes.pop()[:2]
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"Expected a box (left, top, right, bottom) within {width}×{height} pixels, got {box}; change the box."
        )
    figure, axes = panels(list(versions), columns=4)
    for axis, image in zip(axes, versions.values()):
        axis.imshow(image[top:bottom, left:right], interpolation="nearest")
        axis.set(xticks=[], yticks=[])
    save(figure, path, 150)


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
    figure = Figure(figsize=(7, 7 * height / width + 0.4), layout="constrained")
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
    save(figure, path, 130)  # about a pixel for each of a photograph's
