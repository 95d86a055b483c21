"""The two estimators: clusters with embeddings, and outliers."""

from typing import ClassVar

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, OutlierMixin, TransformerMixin
from sklearn.cluster import KMeans

from ..clustering import distinct_rows
from .base import AutoencoderEstimator
from .images import Images


class AutoencoderClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, AutoencoderEstimator):
    """k-means on the embedding of an autoencoder whose codes have unit length (Eq. 5.5).

    Images are given as arrays (N, H, W) or (N, H, W, C), lists of such, or flattened (N, H·W·C) together with
    `image_shape`; pixel values belong in [0, 1].

    Args:
        n_clusters: k.
        image_shape: (H, W, C) of flattened images. None: flattened rows are (pixels, 1, 1) images,
            for which only the dense architecture makes sense.
        architecture: "convolutional" or "dense".
        normalization: of the embedding in training: "none", "batch", "layer" or "l2".
        embedding_size: dimensions of the embedding.
        leaky_relu_slope: below zero, of the dense architecture's LeakyReLU; the convolutional one has ReLU.
        epochs: of training.
        batch_size: of training.
        learning_rate: of Adam.
        n_init: starts of k-means.
        contamination: share of the training images below `threshold_`, in (0, 0.5].
        random_state: seed, generator or None, as everywhere in scikit-learn; whatever else in the process draws random
            numbers goes on as before.
        verbose: above zero prints a line for each epoch.

    Attributes:
        labels_: (N,) clusters of the training images.
        cluster_centers_: (k, D).
        inertia_: sum of the training images' squared distances to their centers.
        n_iter_: iterations of k-means' best start.
        threshold_: normality τ below which `predict_anomaly` says abnormal (section 5.2.2).
        loss_: training loss of each epoch.
        image_shape_: (H, W, C).
        pixel_range_: the smallest and the largest pixel of the training images.

    Example:
        >>> import numpy as np
        >>> from l2_autoencoder.estimator import AutoencoderClustering
        >>> images = np.random.default_rng(0).random((20, 8, 8))
        >>> model = AutoencoderClustering(n_clusters=2, epochs=1, n_init=2, random_state=0).fit(images)
        >>> model.labels_.shape, model.transform(images).shape, model.score(images) <= 0
        ((20,), (20, 10), True)
    """

    _stored: ClassVar[tuple[str, ...]] = ("labels_", "threshold_")

    def predict(self, X: Images) -> np.ndarray:
        """The closest cluster of each image, (N,)."""
        return np.argmin(self._squared_distances(X), axis=1)

    def transform(self, X: Images) -> np.ndarray:
        """Embeddings (N, D) of images, float32."""
        return self._embed(X)

    def score(self, X: Images, y: None = None) -> float:
        """Minus the sum of the images' squared distances to their closest centers, as k-means has it."""
        return -float(np.sum(np.min(self._squared_distances(X), axis=1)))

    def predict_anomaly(self, X: Images, threshold: float | None = None) -> np.ndarray:
        """Whether each image is abnormal, (N,) bool: normality below τ.

        Args:
            X: images.
            threshold: τ in [-1, 1]; default `threshold_`, set by `contamination`.
        """
        scores = self.score_samples(X)
        return scores < (self.threshold_ if threshold is None else threshold)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _squared_distances(self, X: Images) -> np.ndarray:
        """(N, k), to each center."""
        embeddings = self._embed(X)
        products = embeddings @ self.cluster_centers_.T  # (N, k)
        squares = np.square(embeddings).sum(1, keepdims=True) + np.square(self.cluster_centers_).sum(1)
        return np.maximum(squares - 2 * products, 0)

    def _set_fitted(self, clusters: KMeans, scores: np.ndarray) -> None:
        self.labels_ = clusters.labels_
        self.threshold_ = float(np.quantile(scores, self.contamination))


class AutoencoderOutlierDetector(OutlierMixin, AutoencoderEstimator):
    """Outliers as images whose embedding is far from all clusters of the training images (section 5.2.2).

    Args:
        n_clusters: k; less where fewer of the training images' embeddings differ.
        contamination: share of the training images that are outliers, in (0, 0.5].
        others: as of `AutoencoderClustering`.

    Attributes:
        offset_: normality below which an image is an outlier.
        others: as of `AutoencoderClustering`, but for `labels_` and `threshold_`.

    Example:
        >>> import numpy as np
        >>> from l2_autoencoder.estimator import AutoencoderOutlierDetector
        >>> images = np.random.default_rng(0).random((20, 8, 8))
        >>> model = AutoencoderOutlierDetector(n_clusters=2, epochs=1, n_init=2, random_state=0)
        >>> np.bincount(model.fit_predict(images) + 1).tolist()  # -1: a tenth of them
        [2, 0, 18]
    """

    _stored: ClassVar[tuple[str, ...]] = ("offset_",)

    def predict(self, X: Images) -> np.ndarray:
        """-1 for outliers and 1 for the others, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def decision_function(self, X: Images) -> np.ndarray:
        """Normality above `offset_`, (N,): outliers are below zero."""
        return self.score_samples(X) - self.offset_

    def _number_of_clusters(self, embeddings: np.ndarray) -> int:
        return distinct_rows(embeddings, self.n_clusters)

    def _set_fitted(self, clusters: KMeans, scores: np.ndarray) -> None:
        self.offset_ = float(np.quantile(scores, self.contamination))
