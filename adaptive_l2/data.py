"""The images of a run: a re-identification set, as the two projects that train on one read it."""

from common.experiments.checkpoint import is_finished
from common.experiments.reid.data import check, describe, read

__all__ = ["check", "describe", "is_finished", "read"]
