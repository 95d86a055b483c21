"""A scikit-learn estimator: cluster images, embed them, score how normal they are."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.training import seed_everything
from common.files import replacing

from .clustering import kmeans_starts, normality, unit_length
from .model import Autoencoder, build_autoencoder
from .train import fit_autoencoder

_FORMAT = "autoencoder-clustering 1"


class AutoencoderClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """k-means on the embedding of an autoencoder whose codes have unit length (Eq. 5.5).

    Images are given as arrays (N, H, W) or (N, H, W, C), or flattened (N, H·W·C) together with
    `image_shape`; pixel values belong in [0, 1]. Fitting seeds Keras' global random generators.

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
        random_state: seed, generator or None, as everywhere in scikit-learn.

    Attributes:
        labels_: (N,) clusters of the training images.
        cluster_centers_: (k, D).
        threshold_: normality τ below which `predict_anomaly` says abnormal (section 5.2.2).
        loss_: training loss of each epoch.
        image_shape_: (H, W, C).
    """

    def __init__(
        self,
        n_clusters: int = 10,
        *,
        image_shape: tuple[int, int, int] | None = None,
        architecture: str = "convolutional",
        normalization: str = "l2",
        embedding_size: int = 10,
        leaky_relu_slope: float = 0.2,
        epochs: int = 200,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        n_init: int = 50,
        contamination: float = 0.1,
        random_state: Any = None,
    ):
        self.n_clusters = n_clusters
        self.image_shape = image_shape
        self.architecture = architecture
        self.normalization = normalization
        self.embedding_size = embedding_size
        self.leaky_relu_slope = leaky_relu_slope
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.n_init = n_init
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: None = None) -> "AutoencoderClustering":
        """Trains the autoencoder on images X and clusters their embeddings; `y` is ignored.

        Raises:
            ValueError: wrong shapes, NaN, fewer images than clusters, images that are all alike.
        """
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination must be in (0, 0.5], got {self.contamination}.")
        images = self._images(X, fitting=True)
        if len(images) < self.n_clusters:
            raise ValueError(f"{self.n_clusters} clusters need at least as many samples, got n_samples={len(images)}.")
        if self.n_clusters > 1 and np.all(images == images[0]):
            raise ValueError(f"All {len(images)} images are the same; there is nothing to cluster.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._autoencoder = self._build(seed)
        model = self._autoencoder.training_model
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / type(self).__name__
            log = fit_autoencoder(
                model,
                images,
                folder,
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                seed=seed,
            )
            model.load_weights(folder / BEST_WEIGHTS)
        self.loss_ = log["loss"].to_numpy()
        embeddings = self._embed(images)
        # Seeds of the starts are multiples of this one and must stay below 2³².
        best = kmeans_starts(embeddings, self.n_clusters, restarts=self.n_init, seed=seed % 2**20)[0]
        self.labels_, self.cluster_centers_ = best.labels_, best.cluster_centers_
        self._n_features_out = self.embedding_size
        self.threshold_ = float(np.quantile(self._normality(embeddings), self.contamination))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The closest cluster of each image, (N,)."""
        embeddings = self.transform(X)
        distances = (
            np.square(embeddings).sum(1, keepdims=True)
            - 2 * embeddings @ self.cluster_centers_.T
            + np.square(self.cluster_centers_).sum(1)
        )  # (N, k)
        return np.argmin(distances, axis=1)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) of images, float32."""
        check_is_fitted(self)
        return self._embed(self._images(X, fitting=False))

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """Normality of each image, (N,), in [-1, 1]: Eq. 5.6 on embeddings of unit length."""
        return self._normality(self.transform(X))

    def predict_anomaly(self, X: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Whether each image is abnormal, (N,) bool: normality below τ.

        Args:
            X: images.
            threshold: τ in [-1, 1]; default `threshold_`, set by `contamination`.
        """
        scores = self.score_samples(X)
        return scores < (self.threshold_ if threshold is None else threshold)

    def save(self, path: Path) -> None:
        """Writes network, clusters and threshold to one `.npz` file; nothing in it is pickled."""
        check_is_fitted(self)
        state = self.__getstate__()
        weights, fitted = state.pop("_weights"), {name: state.pop(name) for name in _ARRAYS}
        state["random_state"] = None
        with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez(
                file,
                format=_FORMAT,
                state=json.dumps(state),
                **fitted,
                **{f"weight {i:03d}": weight for i, weight in enumerate(weights)},
            )

    @classmethod
    def load(cls, path: Path) -> "AutoencoderClustering":
        """Reads what `save` wrote.

        Raises:
            ValueError: the file is missing, damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            if str(arrays.pop("format")) != _FORMAT:
                raise ValueError("another format or version")
            state = json.loads(str(arrays.pop("state")))
            state.update({name: arrays.pop(name) for name in _ARRAYS})
            estimator = cls()
            estimator.__setstate__({**state, "_weights": list(arrays.values())})
        except Exception as error:
            raise ValueError(
                f"{path} is not a file that {cls.__name__}.save wrote, or it is damaged ({error})."
            ) from error
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        # Keras models are rebuilt from their weights, so that copies share no graph with the original.
        state = dict(super().__getstate__())
        if "_autoencoder" in state:
            state["_weights"] = state.pop("_autoencoder").training_model.get_weights()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        for name in ("image_shape", "image_shape_"):  # JSON has no tuples
            if state.get(name) is not None:
                state[name] = tuple(state[name])
        super().__setstate__(state)
        if weights is not None:
            self._autoencoder = self._build(seed=0)
            self._autoencoder.training_model.set_weights(weights)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = self.random_state is None
        return tags

    def _images(self, X: Any, fitting: bool) -> np.ndarray:
        """Validated float32 images (N, H, W, C)."""
        ndim = getattr(X, "ndim", 2)
        if ndim in (3, 4):
            X = np.asarray(X)
            shape = X.shape[1:] if ndim == 4 else (*X.shape[1:], 1)
            X = X.reshape(len(X), -1)
        X = validate_data(self, X, reset=fitting, dtype="float32")
        if ndim not in (3, 4):
            shape = self.image_shape or (X.shape[1], 1, 1)
            if np.prod(shape) != X.shape[1]:
                raise ValueError(f"image_shape {shape} does not fit rows of {X.shape[1]} pixels.")
        if fitting:
            self.image_shape_ = tuple(int(n) for n in shape)
        elif tuple(shape) != self.image_shape_:
            raise ValueError(f"Expected images of shape {self.image_shape_} as in fit, got {tuple(shape)}.")
        return X.reshape(-1, *self.image_shape_)

    def _build(self, seed: int) -> Autoencoder:
        seed_everything(seed)
        return build_autoencoder(
            self.image_shape_,
            architecture=self.architecture,
            normalization=self.normalization,
            embedding_size=self.embedding_size,
            activation="relu" if self.architecture == "convolutional" else "leaky_relu",
            leaky_relu_slope=self.leaky_relu_slope,
        )

    def _embed(self, images: np.ndarray) -> np.ndarray:
        return self._autoencoder.apply(images)[0]

    def _normality(self, embeddings: np.ndarray) -> np.ndarray:
        return normality(unit_length(embeddings), self.cluster_centers_)


_ARRAYS = ("labels_", "cluster_centers_", "loss_")
