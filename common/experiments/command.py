"""`python -m PROJECT PRESET [--field value …]`: reads the command line before anything that takes seconds to import."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from common.experiments.config import Config, parse, run_command

if TYPE_CHECKING:
    from common.experiments.entry import Evaluation, Training


def main(
    presets: Mapping[str, tuple[str, Config]], parts: Callable[[], "tuple[Training[Any, Any, Any], Evaluation]"]
) -> None:
    """Trains a preset, or goes on with it, then reports.

    Args:
        presets: as of `parse`.
        parts: imports the project's `train` and `evaluate`, and with them a framework.
    """

    def command() -> None:
        config = parse(presets)
        # Read when TensorFlow is imported: no banners, and the kernels that `make` chooses.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        train, evaluate = parts()
        from common import distribution

        strategy = distribution.strategy(config.strategy, config.worker_wait)
        run = train(config, strategy)
        if distribution.is_chief(strategy):
            evaluate(run)

    run_command(command)
