"""Trains a preset, then reports: python -m PROJECT PRESET [--field value …]."""

from common.experiments import entry

from .config import PRESETS
from .evaluate import evaluate
from .train import train

if __name__ == "__main__":
    entry.main(PRESETS, train, evaluate)
