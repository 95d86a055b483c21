"""A codec and classical ones on the same photographs: rate and distortion of whole files, tables and figures.

python -m PROJECT.evaluation.compare [FOLDER] [--model FILE] [--optimize code]
"""

from common.experiments import command

from ..config import CompareArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, CompareArguments)

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common.report import tables
from common.report.page_parts import Slider

from ..config import Optimize, Selection
from ..data import read_photographs
from ..encoder.rate_control import BLOCK_PSNRS, Target, bisect, networks_for
from ..encoder.session import LOG_WEIGHTS, EncodeSession
from ..networks.codec_file import TrainedCodec, load
from ..paper_results import TARGET_BPP
from ..tables import FIGURES, rate_tables
from . import classical, plots
from .rate_distortion import Point, point

_POINTS = 8  # of our curve
_LEAST_ESCAPED = 3.0  # log λ, far beyond the rates of interest: with less, escape blocks take many bits, and long
_ESCAPED = np.linspace(10, 5, _POINTS)  # log λ: photographs take 0.03 to 1 bits per pixel
_SLIDERS, _WINDOW = 2, 512  # photographs to compare under a slider, and pixels of a side of them at most
_SHOWN = ("JPEG", "WebP", "JPEG 2000", "AVIF 4:4:4, tuned", "HEVC intra")  # in the figures, each codec at its best


def sessions_for(codec: TrainedCodec, images: Sequence[np.ndarray]) -> list[EncodeSession]:
    """What the networks make of each image (H, W, 3) uint8, to be written with the learned context."""
    return [EncodeSession(codec, image, "context") for image in tqdm(images, "encode", delay=2, leave=False)]


def decoded_images(sessions: Sequence[EncodeSession], networks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the files of `measured` give back, (H, W, 3) uint8 each."""
    return [session.decoded(own) for session, own in zip(sessions, networks)]


def measured(
    sessions: Sequence[EncodeSession],
    networks: Sequence[np.ndarray],
    setting: float | None = None,
    decoded: Sequence[np.ndarray] | None = None,
) -> Point:
    """Rate of the real files and distortion of the decoded images, over a set of images.

    Args:
        sessions: one for each image.
        networks: (R, C) uint8 of each.
        setting: what the choice was made with.
        decoded: `decoded_images`, if they are known.
    """
    sizes = [len(s.file(n)) for s, n in zip(sessions, networks)]
    decoded = decoded_images(sessions, networks) if decoded is None else decoded
    return point(setting, sizes, [s.image for s in sessions], decoded)


def chosen(sessions: Sequence[EncodeSession], quality: float, selection: Selection = "lagrangian") -> list[np.ndarray]:
    """The networks (R, C) uint8 of each image, with one log λ, or one PSNR of blocks, for all."""
    return [s.choose(selection, quality) for s in sessions]


def at_rate(sessions: Sequence[EncodeSession], bits_per_pixel: float, least: float = LOG_WEIGHTS[1]) -> Point:
    """With one λ for all images, not less than e^least, the one whose files come nearest to a rate from below."""
    return _nearest(sessions, "lagrangian", (LOG_WEIGHTS[0], least), bits_per_pixel, EncodeSession.rate)


def by_quality(sessions: Sequence[EncodeSession], bits_per_pixel: float) -> Point:
    """With the publication's choice of networks, for the highest PSNR of blocks whose files have at most a rate."""
    return _nearest(sessions, "publication", BLOCK_PSNRS, bits_per_pixel, EncodeSession.rate)


def _nearest(
    sessions: Sequence[EncodeSession],
    selection: Selection,
    ends: tuple[float, float],
    bits_per_pixel: float,
    rate: Callable[[EncodeSession, np.ndarray], float],
) -> Point:
    """With the quality, the same for all images, whose rate comes nearest to one from below."""
    target = Target(bits_per_pixel, 0.0, at_most=True)
    choose, measure = partial(chosen, sessions, selection=selection), partial(_mean_rate, sessions, rate)
    quality = bisect(choose, measure, ends, target)
    return measured(sessions, choose(quality), quality)


def _mean_rate(
    sessions: Sequence[EncodeSession],
    rate: Callable[[EncodeSession, np.ndarray], float],
    networks: Sequence[np.ndarray],
) -> float:
    pixels = [s.image[..., 0].size for s in sessions]
    return float(np.average([rate(s, n) for s, n in zip(sessions, networks)], weights=pixels))


def points_of(sessions: Sequence[EncodeSession], bits_per_pixel: float) -> dict[str, Any]:
    """The points at a rate, and the curve, with networks alone and with escape blocks as the command line has them."""
    escaping = [session.with_escape() for session in sessions]
    return {
        "equal_rate": psnrs_at(sessions, bits_per_pixel),
        "equal_rate_escape": psnrs_at(escaping, bits_per_pixel),
        "at_rate": asdict(at_rate(sessions, bits_per_pixel)),
        "escape": asdict(at_rate(escaping, bits_per_pixel, _LEAST_ESCAPED)),
        "curve": [asdict(p) for p in curve(sessions)],
        "escape_curve": [asdict(measured(escaping, chosen(escaping, q), float(q))) for q in _ESCAPED],
    }


def optimized_at_rate(
    sessions: Sequence[EncodeSession], bits_per_pixel: float, how: Optimize, quality: float
) -> dict[str, Any]:
    """Both points at a rate with codes that are first optimized for the log λ of `at_rate`; changes the sessions."""
    for session in tqdm(sessions, "optimize", leave=False):
        session.optimize(float(np.exp(quality)), how, None)
    escaping = [session.with_escape() for session in sessions]
    points = {
        how: at_rate(sessions, bits_per_pixel),
        f"{how} and escape": at_rate(escaping, bits_per_pixel, _LEAST_ESCAPED),
    }
    return {name: asdict(point) for name, point in points.items()}


def curve(sessions: Sequence[EncodeSession]) -> list[Point]:
    """Points with one λ for all images each, from the lowest rate to the highest, evenly on a logarithmic axis.

    λ follows from the rates that are expected, which takes no writing of files; the points are of real ones.
    """
    ends = [_mean_rate(sessions, EncodeSession.expected, chosen(sessions, quality)) for quality in LOG_WEIGHTS]
    rates = np.geomspace(*ends, _POINTS)
    points = [_nearest(sessions, "lagrangian", LOG_WEIGHTS, rate, EncodeSession.expected) for rate in rates]
    return list({p.bits_per_pixel: p for p in points}.values())  # few blocks have few choices


def psnrs_at(sessions: Sequence[EncodeSession], bits_per_pixel: float) -> list[float | None]:
    """The PSNR in dB of each image whose own file has at most a rate; None where even its smallest has more."""
    psnrs: list[float | None] = []
    for session in tqdm(sessions, "equal rates", unit="image", delay=2, leave=False):
        networks = networks_for(session, "lagrangian", None, bits_per_pixel)
        fits = session.rate(networks) <= bits_per_pixel
        psnrs.append(round(session.psnr(session.decoded(networks)), 3) if fits else None)
    return psnrs


def curves_of(record: dict[str, Any], name: str) -> dict[str, Sequence[Point]]:
    """The curves of `points_of`, named for a figure."""
    titles = {"curve": f"{name}, networks alone", "escape_curve": f"{name}, with escape blocks"}
    return {title: [Point(**values) for values in record[curve]] for curve, title in titles.items()}


def draw(
    folder: Path,
    codec: TrainedCodec,
    images: Sequence[np.ndarray],
    quality: float,
    curves: dict[str, Sequence[Point]],
    others: dict[str, list[dict[str, Any]]],
) -> tuple[dict[str, str], list[Slider]]:
    """Writes `FIGURES` into a folder.

    Args:
        folder: its folder `figures` is written to.
        codec: that codes the images.
        images: (H, W, 3) uint8, of which the first is in the crops.
        quality: log λ that they are coded with.
        curves: ours.
        others: as of `classical.curves`.

    Returns:
        Path below the folder -> caption, and the first photographs before and after coding.
    """
    lines = {name: [Point(**values) for values in others[name]] for name in _SHOWN if others.get(name)}
    plots.rate_distortion(folder / "figures/rate_distortion.png", curves | lines)
    coded = [versions(codec, image, quality) for image in images[:_SLIDERS]]
    image, (columns, networks) = images[0], coded[0]
    height, width = image.shape[:2]
    box = (width // 3, height // 3, min(width, width // 3 + 192), min(height, height // 3 + 192))
    plots.crops(folder / "figures/crops.png", columns, box)
    plots.network_map(folder / "figures/networks.png", image, networks, codec.code_lengths)
    sliders = [before_and_after(number, columns) for number, (columns, _) in enumerate(coded, 1)]
    return {f"figures/{name}": text for name, text in FIGURES.items()}, sliders


def before_and_after(number: int, columns: dict[str, np.ndarray]) -> Slider:
    """The middle of `versions` of a photograph, pixel by pixel."""
    height, width = next(iter(columns.values())).shape[:2]
    top, left = (max(0, (size - _WINDOW) // 2) for size in (height, width))
    middle = {name.replace("\n", ", "): v[top : top + _WINDOW, left : left + _WINDOW] for name, v in columns.items()}
    caption = "Other codecs are at the setting with at most the bits of ours; those that need more at any are left out."
    return Slider(f"Photograph {number} before and after", caption, middle)


def versions(codec: TrainedCodec, image: np.ndarray, quality: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """An image as codecs leave it, ours with a log λ, the others with at most its bits as far as they reach so low.

    Returns:
        Codec, rate and PSNR -> (H, W, 3) uint8, the original first, then ours; and our networks (R, C) uint8.
    """
    session = EncodeSession(codec, image, "context")
    networks = session.choose("lagrangian", quality)
    rate, decoded = session.bits_per_pixel(session.file(networks)), session.decoded(networks)
    columns = {"original": image, plots.caption("ours", rate, session.psnr(decoded)): decoded}
    for name, other in classical.installed()[0].items():
        if name not in _SHOWN:
            continue
        try:
            setting = int(classical.at_rate(other, [image], rate).below.setting)
        except ValueError:  # its lowest rate is higher
            continue
        file = other.encode(image, setting)
        bits = 8 * (len(file) - other.container(file)) / image[..., 0].size
        theirs = other.decode(file)
        columns[plots.caption(name, bits, session.psnr(theirs))] = theirs
    return columns, networks


def compare(path: Path, images: Sequence[np.ndarray], folder: Path, how: Optimize) -> dict[str, Any]:
    """Judges a trained codec by photographs (H, W, 3) uint8 and writes report and figures into `folder`."""
    codec = load(path)
    folder.mkdir(parents=True, exist_ok=True)
    sessions = sessions_for(codec, images)
    record = points_of(sessions, TARGET_BPP)
    quality = record["at_rate"]["setting"]
    if how != "off":
        record["optimized"] = optimized_at_rate(sessions, TARGET_BPP, how, quality)
    others, equal = (of(images, folder) for of in (classical.curves, classical.equal_rates))
    figures, sliders = draw(folder, codec, images, quality, curves_of(record, "ours"), others)
    report = tables.Report(
        f"{path.name} on {len(images)} photographs",
        rate_tables([record], others, equal),
        figures,
        parts=sliders,
    )
    tables.write_report(folder, report, record | {"classical": others, "classical_equal_rate": equal})
    return record


def main(arguments: CompareArguments) -> None:
    """Command line."""
    compare(arguments.model, read_photographs(arguments.photographs), arguments.out, arguments.optimize)
