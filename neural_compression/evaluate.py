"""Evaluates a run: rate and distortion of real files, beside classical codecs, with report and figures.

python -m PROJECT.evaluate [RUN] [--publish]
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from common import config as run_config
from common import figures, report

from . import attempt, classical, pictures, results, trained
from .attempt import LOG_WEIGHTS, Attempt, Target, dialled
from .config import Config, Trial, trials
from .rate_distortion import Point, dataset_psnr, point, squared_error
from .train import CODEC, read

METRICS, CLASSICAL = "metrics.json", "classical.json"
TARGET_BPP = 0.148  # of Table 4.3
_DIALS = np.linspace(11.0, 4.0, 6)  # log λ of the points of a curve
_CODE = [Path(__file__), Path(attempt.__file__), Path(trained.__file__)]


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


def at_rate(attempts: Sequence[Attempt], bits_per_pixel: float) -> Point:
    """With one λ for all images, the one whose files come nearest to a rate from below."""
    pixels = sum(a.image[..., 0].size for a in attempts)

    def choose(dial: float) -> list[np.ndarray]:
        return [a.choose("lagrangian", dial) for a in attempts]

    def rate(networks: Sequence[np.ndarray]) -> float:
        return 8 * sum(len(a.file(n)) for a, n in zip(attempts, networks)) / pixels

    target = Target(bits_per_pixel, 0.0, "{:.4f} bits per pixel", at_most=True)
    dial = dialled(choose, rate, LOG_WEIGHTS, target, may_miss=True)
    return measured(attempts, choose(dial), dial)


def evaluate_trial(run: Path, config: Config, trial: Trial, images: Sequence[np.ndarray]) -> dict[str, Any]:
    """The numbers of one codec; kept in its folder until its weights or this code change."""
    folder = run / trial.name

    def make() -> dict[str, Any]:
        codec = trained.load(folder / CODEC)
        learned = [Attempt(codec, image, "context") for image in tqdm(images, "encode", delay=2, leave=False)]
        written = [a.written("publication") for a in learned]
        record: dict[str, Any] = asdict(trial) | {"networks": {}}
        for number, length in enumerate(codec.code_lengths):
            maps = [np.full(a.candidates.samples.shape, number, np.uint8) for a in learned]
            errors = squared_errors(learned, maps)  # how codes are written does not change the image
            modes = (("publication", written), ("context", learned))
            record["networks"][str(length)] = {m: asdict(measured(a, maps, errors=errors)) for m, a in modes}
        maps = [a.choose("publication", config.target_psnr) for a in written]
        record["by_quality"] = asdict(measured(written, maps, config.target_psnr))
        record["at_rate"] = asdict(at_rate(learned, TARGET_BPP))
        curve = [measured(learned, [a.choose("lagrangian", dial) for a in learned], dial) for dial in _DIALS]
        return record | {"curve": [asdict(found) for found in curve]}

    return report.made_once(folder / METRICS, [folder / CODEC, *_CODE], make)


def classical_points(run: Path, images: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
    """Codec -> its point at the target rate; kept in the run folder."""

    def make() -> dict[str, Any]:
        codecs, _ = classical.installed()
        found = {}
        for name, codec in codecs.items():
            try:
                found[name] = asdict(classical.at_rate(codec, images, TARGET_BPP).interpolated)
            except ValueError:  # WebP's and JPEG's lowest settings are above the rate for some images
                continue
        return {"codecs": found}

    return report.made_once(run / CLASSICAL, [Path(classical.__file__), run / "config.json"], make)["codecs"]


def evaluate(run: Path, publish: bool = False) -> list[dict[str, Any]]:
    """Evaluates the finished codecs of a run and writes its report and figures.

    Args:
        run: run folder.
        publish: also keep the numbers in the project's `results.json` and renew its README's tables.

    Raises:
        ValueError: not a run folder, or no training in it is finished.
    """
    config = run_config.load_config(run, Config)
    _, images = read(config)
    planned = list(trials(config))
    finished = [trial for trial in planned if (run / trial.name / CODEC).exists()]
    if not finished:
        raise ValueError(f"No training in {run} is finished. The command that trains it continues it.")
    records = [evaluate_trial(run, config, trial, images) for trial in tqdm(finished, "evaluate")]
    others = classical_points(run, images)
    captions = _draw(run, config, finished, records, images, others)
    heading = f"Paper and this run ({len(finished)} of {len(planned)} codecs), {len(images)} photographs"
    report.write_report(
        run,
        f"{config.name}: width {config.width}, {config.code_lengths} bits, {config.epochs} epochs",
        {
            heading: results.run_table(config, records),
            f"At {TARGET_BPP} bits per pixel": results.comparison_table(records, others),
        },
        captions,
        {"config": run_config.to_json(config), "trials": records, "classical": others},
    )
    if publish:
        results.publish(config, records, others, run)
    return records


def _draw(
    run: Path,
    config: Config,
    finished: Sequence[Trial],
    records: Sequence[dict[str, Any]],
    images: Sequence[np.ndarray],
    others: dict[str, dict[str, Any]],
) -> dict[str, str]:
    """Losses, the rate-distortion curve, and what became of the first photograph."""
    logs = {
        f"{length} bits, {trial.name}": pd.read_csv(run / trial.name / f"bits{length}/log.csv")["loss"]
        for trial in finished
        for length in config.code_lengths
    }
    figures.curves(run / "figures/loss.png", logs, "pass", "loss")
    curves = {f"ours, {t.name}": [Point(**p) for p in r["curve"]] for t, r in zip(finished, records)}
    marks = {name: Point(**values) for name, values in others.items()}
    pictures.rate_distortion(run / "figures/rate_distortion.png", curves, marks)
    first = Attempt(trained.load(run / finished[0].name / CODEC), images[0], "context")
    networks = first.choose("lagrangian", records[0]["at_rate"]["setting"])
    data, decoded = first.file(networks), first.decoded(networks)
    psnr = dataset_psnr([squared_error(images[0], decoded)], [images[0].size])
    columns = {"original": images[0], pictures.caption("ours", first.bits_per_pixel(data), psnr): decoded}
    height, width = images[0].shape[:2]
    box = (width // 3, height // 3, min(width, width // 3 + 192), min(height, height // 3 + 192))
    pictures.crops(run / "figures/crops.png", columns, [box])
    pictures.network_map(run / "figures/networks.png", images[0], networks, config.code_lengths)
    return {
        "figures/loss.png": "Training loss of each pass.",
        "figures/rate_distortion.png": "Rate and dataset PSNR on the photographs to judge by; marks: classical codecs.",
        "figures/crops.png": "A part of the first photograph and what is decoded.",
        "figures/networks.png": "The network that each of its blocks takes.",
    }


@dataclass(frozen=True)
class Arguments:
    """Evaluates a run and prints the table «paper | this run»."""

    run: tyro.conf.Positional[Path | None] = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    publish: bool = False  # keep the numbers in results.json and renew the README's tables


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    run = arguments.run or run_config.newest_run(arguments.runs_dir, __package__)
    evaluate(run, arguments.publish)


if __name__ == "__main__":
    run_config.run_command(main)
