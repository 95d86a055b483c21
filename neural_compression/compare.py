"""A codec on a set of photographs beside classical ones: rate and distortion of whole files, tables and figures.

python -m PROJECT.compare [FOLDER] [--model FILE] [--optimise code]
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from common import config as run_config
from common import report

from . import classical, pictures, results, trained
from .attempt import LOG_WEIGHTS, Attempt, Optimise, Target, dialled
from .blocks import read_photographs
from .codec import MODEL
from .rate_distortion import Point, dataset_psnr, point, squared_error
from .results import FIGURES, TARGET_BPP

_POINTS = 8  # of our curve
_RATES = (0.12, TARGET_BPP, 0.18, 0.22)  # of the points of classical ones
_SHOWN = ("JPEG", "WebP", "JPEG 2000", "AVIF", "HEVC intra")  # in the crops


def attempts_at(codec: trained.TrainedCodec, images: Sequence[np.ndarray]) -> list[Attempt]:
    """What the networks make of each image (H, W, 3) uint8, to be written with the learned context."""
    return [Attempt(codec, image, "context") for image in tqdm(images, "encode", delay=2, leave=False)]


def squared_errors(attempts: Sequence[Attempt], networks: Sequence[np.ndarray]) -> list[int]:
    """Of each image, when it is decoded; arguments as for `measured`."""
    return [squared_error(a.image, a.decoded(n)) for a, n in zip(attempts, networks)]


def measured(
    attempts: Sequence[Attempt],
    networks: Sequence[np.ndarray],
    setting: float | None = None,
    errors: Sequence[int] | None = None,
) -> Point:
    """Rate of the real files and distortion of the decoded images, over a set of images.

    Args:
        attempts: one for each image.
        networks: (R, C) uint8 of each.
        setting: what the choice was made with.
        errors: `squared_errors`, if they are known.
    """
    sizes = [len(a.file(n)) for a, n in zip(attempts, networks)]
    errors = squared_errors(attempts, networks) if errors is None else errors
    return point(setting, sizes, [a.image[..., 0].size for a in attempts], errors)


def chosen(attempts: Sequence[Attempt], dial: float) -> list[np.ndarray]:
    """The networks (R, C) uint8 of each image, with one log λ for all."""
    return [a.choose("lagrangian", dial) for a in attempts]


def at_rate(attempts: Sequence[Attempt], bits_per_pixel: float) -> Point:
    """With one λ for all images, the one whose files come nearest to a rate from below."""
    return _at_rate(attempts, bits_per_pixel, lambda attempt, networks: attempt.bits_per_pixel(attempt.file(networks)))


def _at_rate(attempts: Sequence[Attempt], bits_per_pixel: float, rate: Callable[[Attempt, np.ndarray], float]) -> Point:
    target = Target(bits_per_pixel, 0.0, "{:.4f} bits per pixel", at_most=True)
    choose, measure = partial(chosen, attempts), partial(_mean_rate, attempts, rate)
    dial = dialled(choose, measure, LOG_WEIGHTS, target, may_miss=True)
    return measured(attempts, chosen(attempts, dial), dial)


def _mean_rate(
    attempts: Sequence[Attempt], rate: Callable[[Attempt, np.ndarray], float], networks: Sequence[np.ndarray]
) -> float:
    pixels = [a.image[..., 0].size for a in attempts]
    return float(np.average([rate(a, n) for a, n in zip(attempts, networks)], weights=pixels))


def optimised_at_rate(attempts: Sequence[Attempt], bits_per_pixel: float, how: Optimise, dial: float) -> Point:
    """The same with codes that are optimised first for a log λ, that of `at_rate`; changes the attempts."""
    for attempt in tqdm(attempts, "optimise", leave=False):
        attempt.optimise(float(np.exp(dial)), how, None)
    return at_rate(attempts, bits_per_pixel)


def curve(attempts: Sequence[Attempt]) -> list[Point]:
    """Points with one λ for all images each, from the lowest rate to the highest, evenly on a logarithmic axis.

    λ is found by the rates that are expected, which takes no writing of files; the points are of real ones.
    """
    ends = [_mean_rate(attempts, Attempt.expected, chosen(attempts, dial)) for dial in LOG_WEIGHTS]
    points = [_at_rate(attempts, rate, Attempt.expected) for rate in np.geomspace(*ends, _POINTS)]
    return list({p.bits_per_pixel: p for p in points}.values())  # few blocks have few choices


def classical_curves(images: Sequence[np.ndarray], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Codec -> its points at those rates that it reaches; kept in `folder` for these images."""

    def make() -> dict[str, Any]:
        codecs, missing = classical.installed()
        for sentence in missing:
            print(sentence)
        curves = {name: classical.points_at(codec, images, _RATES) for name, codec in codecs.items()}
        return {"codecs": {name: [asdict(p) for p in points] for name, points in curves.items()}}

    digest = hashlib.sha256(b"".join(np.ascontiguousarray(image).tobytes() for image in images)).hexdigest()
    return report.made_once(folder / f"classical-{digest[:12]}.json", [Path(classical.__file__)], make)["codecs"]


def draw(
    folder: Path,
    codec: trained.TrainedCodec,
    image: np.ndarray,
    dial: float,
    curves: dict[str, Sequence[Point]],
    others: dict[str, list[dict[str, Any]]],
) -> dict[str, str]:
    """Writes `FIGURES` into a folder and returns path below it -> caption.

    Args:
        folder: its folder `figures` is written to.
        codec: that codes the image.
        image: (H, W, 3) uint8, for the crops.
        dial: log λ that it is coded with.
        curves: ours.
        others: as of `classical_curves`.
    """
    lines = {name: [Point(**values) for values in points] for name, points in others.items() if points}
    pictures.rate_distortion(folder / "figures/rate_distortion.png", curves | lines)
    attempt = Attempt(codec, image, "context")
    networks = attempt.choose("lagrangian", dial)
    rate, decoded = attempt.bits_per_pixel(attempt.file(networks)), attempt.decoded(networks)
    columns = {"original": image, pictures.caption("ours", rate, _psnr(image, decoded)): decoded}
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
        columns[pictures.caption(name, bits, _psnr(image, theirs))] = theirs
    height, width = image.shape[:2]
    box = (width // 3, height // 3, min(width, width // 3 + 192), min(height, height // 3 + 192))
    pictures.crops(folder / "figures/crops.png", columns, [box])
    pictures.network_map(folder / "figures/networks.png", image, networks, codec.code_lengths)
    return {f"figures/{name}": text for name, text in FIGURES.items()}


def _psnr(image: np.ndarray, decoded: np.ndarray) -> float:
    return dataset_psnr([squared_error(image, decoded)], [image.size])


def compare(path: Path, images: Sequence[np.ndarray], folder: Path, how: Optimise) -> dict[str, Any]:
    """Judges a trained codec by photographs (H, W, 3) uint8 and writes report and figures into `folder`."""
    codec = trained.load(path)
    folder.mkdir(parents=True, exist_ok=True)
    attempts = attempts_at(codec, images)
    record: dict[str, Any] = {"at_rate": asdict(at_rate(attempts, TARGET_BPP))}
    record["curve"] = [asdict(found) for found in curve(attempts)]
    if how != "off":
        record["optimised"] = {how: asdict(optimised_at_rate(attempts, TARGET_BPP, how, record["at_rate"]["setting"]))}
    others = classical_curves(images, folder)
    points = {"ours": [Point(**values) for values in record["curve"]]}
    captions = draw(folder, codec, images[0], record["at_rate"]["setting"], points, others)
    sections = {f"At {TARGET_BPP} bits per pixel": results.comparison_table([record], others)}
    title = f"{path.name} on {len(images)} photographs"
    report.write_report(folder, title, sections, captions, record | {"classical": others})
    return record


@dataclass(frozen=True)
class Arguments:
    """Compares a trained codec with classical ones on a folder of photographs."""

    photographs: tyro.conf.Positional[Path | None] = None  # folder; default: the two that scikit-learn ships
    model: Path = MODEL  # trained codec
    out: Path = Path("runs/comparison")  # folder for report and figures
    optimise: Optimise = "code"  # also change the codes of blocks, which takes most of the time; off: do not


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    compare(arguments.model, read_photographs(arguments.photographs), arguments.out, arguments.optimise)


if __name__ == "__main__":
    run_config.run_command(main)
