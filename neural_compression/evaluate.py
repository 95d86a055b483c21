"""Evaluates a run: rate and distortion of real files, beside classical codecs, with report and figures.

python -m PROJECT.evaluate [RUN] [--publish] [--optimise code]
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

from . import attempt, coding, compare, context, entropy, optimise, reconstruction, results, streams, trained
from .attempt import Optimise
from .blocks import read_photographs
from .codec import MODEL
from .compare import TARGET_BPP, at_rate, attempts_at, curve, measured, optimised_at_rate, squared_errors
from .config import Config, Trial, trials
from .rate_distortion import Point
from .train import CODEC, read

METRICS = "metrics.json"
# A change of these can change what a trained codec's files hold.
_MODULES = attempt, coding, compare, context, entropy, optimise, reconstruction, streams, trained
_CODE = [Path(module.__file__) for module in _MODULES]


def evaluate_trial(run: Path, config: Config, trial: Trial, images: Sequence[np.ndarray]) -> dict[str, Any]:
    """The numbers of one codec; kept in its folder until its weights or this code change."""
    folder = run / trial.name

    def make() -> dict[str, Any]:
        codec = trained.load(folder / CODEC)
        learned = attempts_at(codec, images)
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
        return record | {"curve": [asdict(found) for found in curve(learned)]}

    return report.made_once(folder / METRICS, [folder / CODEC, *_CODE], make)


def optimised_trial(
    run: Path, trial: Trial, images: Sequence[np.ndarray], how: Optimise, dial: float
) -> dict[str, Any]:
    """The point of one codec at the target rate with codes optimised for a log λ; kept in its folder likewise."""
    folder = run / trial.name

    def make() -> dict[str, Any]:
        found = optimised_at_rate(attempts_at(trained.load(folder / CODEC), images), TARGET_BPP, how, dial)
        return {how: asdict(found)}

    return report.made_once(folder / f"optimised-{how}.json", [folder / CODEC, *_CODE], make)


def evaluate(run: Path, publish: bool = False, how: Optimise = "off") -> list[dict[str, Any]]:
    """Evaluates the finished codecs of a run and writes its report and figures.

    Args:
        run: run folder.
        publish: also keep the numbers in the project's `results.json` and renew its README's tables.
        how: also optimise the codes of blocks at the target rate.

    Raises:
        ValueError: not a run folder, or no training in it is finished.
    """
    config = run_config.load_config(run, Config)
    _, images = read(config)
    planned = list(trials(config))
    finished = run_config.finished(run, planned, lambda trial: (run / trial.name / CODEC).exists())
    records = [evaluate_trial(run, config, trial, images) for trial in tqdm(finished, "evaluate")]
    if how != "off":
        dials = [record["at_rate"]["setting"] for record in records]
        pairs = zip(tqdm(finished, "optimise"), dials)
        found = [optimised_trial(run, trial, images, how, dial) for trial, dial in pairs]
        records = [record | {"optimised": {how: values[how]}} for record, values in zip(records, found)]
    others = compare.classical_curves(images, run.parent)
    captions = _draw(run, config, finished, records, images, others)
    convolutions = f"width {config.width}, {config.epochs} epochs"
    kind = f"{config.components} principal components" if config.components else convolutions
    heading = f"Paper and this run ({len(finished)} of {len(planned)} codecs), {len(images)} photographs"
    report.write_report(
        run,
        f"{config.name}: {kind}, {config.code_lengths} bits",
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
    others: dict[str, list[dict[str, Any]]],
) -> dict[str, str]:
    """Losses, the rate-distortion curve, and what became of the first photograph."""
    logs = {
        f"{log.parent.name}, {trial.name}": pd.read_csv(log)["loss"]
        for trial in finished
        for log in sorted((run / trial.name).glob("*/log.csv"))
    }
    losses = {}
    if logs:  # nothing of a closed form has any
        figures.curves(run / "figures/loss.png", logs, "pass", "loss")
        losses["figures/loss.png"] = "Training loss of each pass."
    curves = {f"ours, {t.name}": [Point(**p) for p in r["curve"]] for t, r in zip(finished, records)}
    codec, dial = trained.load(run / finished[0].name / CODEC), records[0]["at_rate"]["setting"]
    drawn = compare.draw(run, codec, images[0], dial, curves, others)
    return losses | drawn


@dataclass(frozen=True)
class Arguments(run_config.EvaluationArguments):
    """Evaluates a run and prints the table «paper | this run»."""

    optimise: Optimise = "off"  # also change the codes of blocks: all at once, or by the encoder as in the publication


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    runs = arguments.runs_dir / __package__
    if arguments.run is None and MODEL.exists() and not any(runs.glob("*/environment.json")):
        print(f"There is no run below {runs}: this is the codec that ships with the repository.")
        compare.compare(MODEL, read_photographs(None), runs / "comparison", "code")
        return
    evaluate(arguments.folder(__package__), arguments.publish, arguments.optimise)


if __name__ == "__main__":
    run_config.run_command(main)
