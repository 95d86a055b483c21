"""scikit-learn estimators: cluster images, embed them, score how normal they are, detect outliers."""

from .estimators import AutoencoderClustering, AutoencoderOutlierDetector

__all__ = ["AutoencoderClustering", "AutoencoderOutlierDetector"]
