"""A file of exemplars that recognizes by the nearest of them and grows without training."""

from .index import Answers, Gallery

__all__ = ["Answers", "Gallery"]
