"""What both estimators share: parameters, images, training, and an old fit that outlives a failed one."""

from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from common.datasets.batches import feed, steps_per_epoch
from common.experiments.training import NonFiniteLossError, precision
from common.keras_workarounds import adapt
from common.random_state import seeded

from ..clustering import kmeans_starts, normality, unit_length
from ..model import NORMALIZATIONS, Autoencoder, build_autoencoder
from ..train import compile_autoencoder, image_pairs
from . import storage
from .images import Images, validated_images

_ONE_OR_MORE = Interval(Integral, 1, None, closed="left")


class AutoencoderEstimator(BaseEstimator):
    """Base of the estimators, with their parameters; see `AutoencoderClustering`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": [_ONE_OR_MORE],
        "image_shape": ["array-like", None],
        "architecture": [StrOptions({"convolutional", "dense"})],
        "normalization": [StrOptions(set(NORMALIZATIONS))],
        "embedding_size": [_ONE_OR_MORE],
        "leaky_relu_slope": [Interval(Real, 0, None, closed="left")],
        "epochs": [_ONE_OR_MORE],
        "batch_size": [_ONE_OR_MORE],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "n_init": [_ONE_OR_MORE],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

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
        verbose: int = 0,
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
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: None = None):
        """Trains the autoencoder on images X and clusters their embeddings; `y` is ignored.

        One thread fits at a time. Whatever ends it before it is done leaves the estimator as it was, fitted or not.

        Warns:
            UserWarning: pixels beyond [0, 1], or convolutions of images that are one pixel wide or high.

        Raises:
            ValueError: a parameter out of its range, wrong shapes, NaN, fewer images than clusters, or images that are
                all alike.
            ArithmeticError: the loss became infinite or NaN.
        """
        before = dict(vars(self))
        try:
            self._fit(X)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def score_samples(self, X: Images) -> np.ndarray:
        """Normality of each image, (N,), in [-1, 1]: Eq. 5.6 on embeddings of unit length."""
        return self._normality(self._embed(X))

    def save(self, path: str | Path) -> None:
        """Writes network, clusters and parameters to one npz file; nothing in it is pickled.

        A `random_state` that is a generator is stored as None.
        """
        check_is_fitted(self)
        storage.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path):
        """Reads what `save` wrote; the process's random numbers go on as before.

        Raises:
            ValueError: the file is missing, damaged, of another version, of another class, or something else.
        """
        return storage.load(cls, Path(path))

    def __getstate__(self) -> dict[str, Any]:
        # Keras models are built anew from their weights, so that copies share no graph with the original.
        state = dict(super().__getstate__())
        if "_network" in state:
            state["_network"] = self._network.training_model.get_weights()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_network" in state:
            self._network = _built(self._network_options, seed=0)
            self._network.training_model.set_weights(state["_network"])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.random_state is None
        return tags

    def _fit(self, X: Images) -> None:
        # scikit-learn's constraints take True for 1, at which k-means fails after the training.
        if flags := [name for name, value in self.get_params().items() if value is True and name != "verbose"]:
            raise ValueError(f"{', '.join(flags)} must be a number, got True; pass 1 if that is meant.")
        images = validated_images(self, X, fitting=True)
        if len(images) < self.n_clusters:
            raise ValueError(f"{self.n_clusters} clusters need at least as many samples, got n_samples={len(images)}.")
        if self.n_clusters > 1 and np.all(images == images[0]):
            raise ValueError(f"All {len(images)} images are the same; there is nothing to cluster.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._network_options = {
            "image_shape": self.image_shape_,
            "architecture": self.architecture,
            "normalization": self.normalization,
            "embedding_size": int(self.embedding_size),
            "activation": "relu" if self.architecture == "convolutional" else "leaky_relu",
            "leaky_relu_slope": float(self.leaky_relu_slope),
        }
        with seeded(seed), precision("float32"):
            self._network = _built(self._network_options, seed)
            self.loss_ = self._train(images, seed)
        self._n_features_out = int(self.embedding_size)
        embeddings = self._network.apply(images)[0]
        # Start i has the seed `seed · restarts + i`, which must stay below 2³².
        start = seed % min(2**20, 2**32 // int(self.n_init))
        best = kmeans_starts(embeddings, self._number_of_clusters(embeddings), restarts=self.n_init, seed=start)[0]
        self.cluster_centers_, self.inertia_, self.n_iter_ = best.cluster_centers_, float(best.inertia_), best.n_iter_
        self._set_fitted(best, self._normality(embeddings))

    def _number_of_clusters(self, embeddings: np.ndarray) -> int:
        return self.n_clusters

    def _set_fitted(self, clusters: KMeans, scores: np.ndarray) -> None:
        """Sets what this estimator alone has, of k-means' best start and the normality of the training images (N,)."""
        raise NotImplementedError

    def _train(self, images: np.ndarray, seed: int) -> np.ndarray:
        """Trains the network, which ends with the weights of its best epoch; returns the loss of each epoch."""
        model, best = self._network.training_model, _Best()
        adapt(model)
        compile_autoencoder(model, self.learning_rate)
        batches = image_pairs(images, self.batch_size, seed)(0)
        steps = steps_per_epoch(len(images), self.batch_size)
        verbose = 2 if self.verbose else 0  # a line for each epoch
        model.fit(
            feed(batches), steps_per_epoch=steps, epochs=self.epochs, verbose=verbose, shuffle=False, callbacks=[best]
        )
        model.set_weights(best.weights)
        return np.array(best.losses)

    def _embed(self, X: Images) -> np.ndarray:
        check_is_fitted(self)
        return self._network.apply(validated_images(self, X, fitting=False))[0]

    def _normality(self, embeddings: np.ndarray) -> np.ndarray:
        return normality(unit_length(embeddings.astype("float64")), self.cluster_centers_)


class _Best(keras.callbacks.Callback):
    """The loss of each epoch, and the weights after the one where it is lowest."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if not np.isfinite(loss):
            raise NonFiniteLossError(f"The loss became {loss} in epoch {epoch + 1}; choose a lower learning_rate.")
        if not self.losses or loss < min(self.losses):
            self.weights = self.model.get_weights()
        self.losses.append(loss)


def _built(options: dict[str, Any], seed: int) -> Autoencoder:
    """The network with initial weights; in float32 whatever Keras' global policy is."""
    with seeded(seed), precision("float32"):
        return build_autoencoder(**options)
