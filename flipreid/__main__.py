"""Trains a preset, then reports: python -m PROJECT PRESET [--field value …]."""

from common.experiments.command import main

from .config import PRESETS


def parts():
    """How a run is trained and evaluated; imported once the command line is known to be good, as it takes seconds."""
    from .evaluate import evaluate
    from .train import train

    return train, evaluate


if __name__ == "__main__":
    main(PRESETS, parts)
