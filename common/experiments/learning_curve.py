"""How a training went on, as its log says: the curve of its metric on held-out data, and whether it stands still."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.statistics import is_converged


def learning_record(folder: Path, metric: str) -> dict[str, Any]:
    """How a training went on, for its record.

    Args:
        folder: of the training, with its `log.csv`.
        metric: column of the log, such as a share, in which epochs without a look at the held-out data are empty.

    Returns:
        `curve`, the metric by the epoch after which it was measured; `converged`, whether it stood still over the last
        sixth (`common.statistics.is_converged`).
    """
    log = pd.read_csv(folder / "log.csv")
    looks = log.dropna(subset=metric) if metric in log else log.iloc[:0]
    curve = {str(epoch): round(value, 4) for epoch, value in zip(looks.epoch, looks.get(metric, []))}
    return {"curve": curve, "converged": is_converged(log.epoch, log[metric]) if curve else False}


def curve_cell(records: Sequence[Mapping[str, Any]]) -> str:
    """The metric of trainings by epoch, in %, mean over seeds: `10: 51.2, 20: 58.9`."""
    curves = pd.DataFrame([record["curve"] for record in records])
    return ", ".join(f"{epoch}: {100 * value:.1f}" for epoch, value in curves.mean().items())
