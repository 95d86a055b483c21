"""L2 regularization of whole networks, with one factor or with learned ones."""

import copy
import math
import re
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import keras
from keras import layers, ops

_KINDS = {
    "conv": (
        *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
        *(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose),
        *(layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D),
    ),
    "dense": (layers.Dense, layers.EinsumDense),
    "bn": (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization),
}


def weights_by_category(network: keras.Model) -> dict[str, list[keras.Variable]]:
    """The weights of a built network that training changes, each once, by category in alphabetical order.

    A category is the kind of a layer and the role of the weight in it: `conv_kernel`, `dense_bias`, `bn_gamma` (of
    batch, layer and group normalization) and so on; of other layers their name and the weight's, as in
    `embedding_embeddings` or `lstm_cell_recurrent_kernel`. Frozen weights are among them, moving statistics are not.

    Example:
        >>> import keras
        >>> from common.layers import weights_by_category
        >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
        >>> {category: len(weights) for category, weights in weights_by_category(network).items()}
        {'bn_beta': 1, 'bn_gamma': 1, 'dense_bias': 1, 'dense_kernel': 1}
    """
    entries: dict[int, tuple[str, keras.Variable]] = {}
    for layer in network._flatten_layers():  # nested models too; wrappers, which hold weights of what they wrap, before
        kind = next((name for name, classes in _KINDS.items() if isinstance(layer, classes)), None)
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(layer).__name__).lower()
        for variable in layer._trainable_variables:  # its own, frozen or not, without those of layers inside
            role = variable.name
            if kind:
                role = next((name for name in ("kernel", "bias", "gamma", "beta") if role.endswith(name)), role)
            entries[id(variable)] = f"{kind or snake}_{role}", variable
    categories: dict[str, list[keras.Variable]] = {category: [] for category in sorted(c for c, _ in entries.values())}
    for category, variable in entries.values():
        categories[category].append(variable)
    return categories


@keras.saving.register_keras_serializable(package="common")
class ConstantL2(layers.Layer):
    """A network whose weights are L2-regularized with a constant factor: Σ λ ‖w_n‖₂² (Eq. 2.2).

    Wraps a built Keras model of any kind and returns what it returns; the penalty is added to the loss of the model
    that is compiled around it, as `regularize` does. Weights that are frozen when the training step is traced are left
    out.

    Args:
        network: a model that has its variables.
        amplitude: λ; one for all, or category (`weights_by_category`) -> λ, where categories left out are not
            regularized.
        include: categories that are regularized; None: all.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from common.layers import ConstantL2
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> model = keras.Sequential([keras.Input((2,)), ConstantL2(network, 0.1, include=["dense_kernel"])])
        >>> model(np.zeros((1, 2))).shape[-1], round(float(model.losses[0]), 4)  # 0.1 · (1² + 1²)
        (1, 0.2)

    Raises:
        ValueError: the network has no variables yet, an amplitude is negative or of no known category, or there is
            nothing to regularize.
    """

    def __init__(
        self,
        network: keras.Model,
        amplitude: float | Mapping[str, float] = 0.0005,
        include: Collection[str] | None = None,
        **kwargs: Any,
    ):
        # float32 also in mixed precision: squares of small weights vanish in float16.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if not getattr(network, "built", False):
            name = type(self).__name__
            raise ValueError(f"{name} needs a network with variables: call it once on data before it is wrapped.")
        weights = weights_by_category(network)
        include = [include] if isinstance(include, str) else include
        chosen = weights if include is None else include
        amplitudes = dict(amplitude) if isinstance(amplitude, Mapping) else dict.fromkeys(chosen, amplitude)
        in_range = all(0 <= value < math.inf for value in amplitudes.values())
        if not amplitudes or not set(amplitudes) <= set(weights) or not in_range:
            raise ValueError(
                f"amplitude must be zero or more for one or more of {list(weights)}, got {amplitude} of "
                f"{list(amplitudes)}."
            )
        self.network, self.amplitude, self.include = network, amplitude, include
        #: The category of each factor.
        self.categories = [category for category in amplitudes for _ in weights[category]]
        #: Paths of the weights that have no factor.
        self.left_out = [v.path for category in weights if category not in amplitudes for v in weights[category]]
        self._scales = [amplitudes[category] for category in self.categories]
        # Not as a list of this layer, which would count and save them as its own.
        self._held = SimpleNamespace(weights=[v for category in amplitudes for v in weights[category]])

    @property
    def metrics(self):
        """None: those of a network that was compiled would be logged in the place of this training's."""
        return []

    def factors(self):
        """λ_n of each weight, shape (N,), float32, in the order of `categories`."""
        return ops.convert_to_tensor(list(self._scales), "float32")

    def penalty(self):
        """Σ λ_n ‖w_n‖² over the weights that are trained now, a float32 scalar (Eqs. 2.2 and 2.7)."""
        trained = [n for n, weight in enumerate(self._held.weights) if weight.trainable]
        if not trained:
            return ops.zeros((), "float32")
        squares = [ops.sum(ops.square(ops.cast(self._held.weights[n], "float32"))) for n in trained]
        return ops.sum(ops.take(self.factors(), trained) * ops.stack(squares))

    def call(self, inputs, training=None):
        outputs = self.network(inputs, training=training)
        self.add_loss(self.penalty())  # of the weights as spectral normalization leaves them
        return outputs

    def compute_output_spec(self, inputs, training=None):
        return self.network.compute_output_spec(inputs, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "amplitude": dict(self.amplitude) if isinstance(self.amplitude, Mapping) else self.amplitude,
            "include": None if self.include is None else list(self.include),
        }

    @classmethod
    def from_config(cls, config):
        # Keras changes what it is given.
        network = keras.saving.deserialize_keras_object(copy.deepcopy(config["network"]))
        return cls(**{**config, "network": network})


@keras.saving.register_keras_serializable(package="common")
class AdaptiveL2(ConstantL2):
    """A network whose weights are L2-regularized with factors that are learned: Σ A f(θ_n) ‖w_n‖₂² (Eq. 2.7).

    Each weight (kernel, bias, …) has a trainable θ of its own. While a weight is frozen, its θ does not change.

    As ∂/∂θ_n = A ‖w_n‖² / 2c ≥ 0 between -c and c, training can only lower a factor, until it is 0 and stays
    there. Adam divides a gradient by its own size, so each θ of a weight that is not zero falls by about the learning
    rate per step: faster where the weight grows, slower where it shrinks.

    Args:
        network: as of `ConstantL2`.
        amplitude: A, the largest factor; as of `ConstantL2`.
        include: as of `ConstantL2`.
        c: the hard sigmoid's bound (Eq. 2.4).

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from common.layers import AdaptiveL2
        >>> network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> regularizer = AdaptiveL2(network, amplitude=0.25)
        >>> dict(zip(regularizer.categories, np.asarray(regularizer.factors()).tolist()))  # θ = 0: a half of A
        {'dense_bias': 0.125, 'dense_kernel': 0.125}

    Raises:
        ValueError: as of `ConstantL2`, or c is not above zero.
    """

    def __init__(
        self,
        network: keras.Model,
        amplitude: float | Mapping[str, float] = 0.005,
        include: Collection[str] | None = None,
        c: float = 2.5,
        **kwargs: Any,
    ):
        super().__init__(network, amplitude, include, **kwargs)
        if not c > 0:
            raise ValueError(f"c must be above zero, got {c}.")
        self.c = c
        self.theta = self.add_weight(shape=(len(self.categories),), initializer="zeros", name="theta")

    def factors(self):
        """λ_n of each weight, shape (N,), float32, in the order of `categories` (Eqs. 2.4 to 2.6)."""
        return super().factors() * ops.clip(self.theta / (2 * self.c) + 0.5, 0.0, 1.0)  # Eq. 2.6

    def get_config(self):
        return {**super().get_config(), "c": self.c}


@keras.saving.register_keras_serializable(package="common")
class RegularizedModel(keras.Model):
    """A network with its regularizer, to be compiled and trained; made by `regularize`, which has an example.

    Its logs have `penalty` beside `loss`, which is the loss of the task and the penalty.

    Args:
        regularizer: a `ConstantL2` or `AdaptiveL2` around the network.
    """

    def __init__(self, regularizer: ConstantL2, **kwargs: Any):
        super().__init__(**kwargs)
        self.regularizer = regularizer
        self.penalty_tracker = keras.metrics.Mean(name="penalty")
        self.built = True  # the network has its variables

    @property
    def network(self) -> keras.Model:
        """What was regularized; it shares the weights."""
        return self.regularizer.network

    @property
    def output_names(self) -> list[str]:
        """The network's, by which losses and metrics can be given."""
        return self.network.output_names

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        if self.losses:  # not while Keras builds the model
            self.penalty_tracker.update_state(sum(self.losses))
        return super().compute_loss(*args, **kwargs)

    def call(self, inputs, training=None):
        return self.regularizer(inputs, training=training)

    def get_config(self):
        config = super().get_config()
        return {**config, "regularizer": keras.saving.serialize_keras_object(self.regularizer)}

    @classmethod
    def from_config(cls, config):
        regularizer = keras.saving.deserialize_keras_object(copy.deepcopy(config["regularizer"]))
        return cls(**{**config, "regularizer": regularizer})


def regularize(
    network: keras.Model,
    amplitude: float | Mapping[str, float] = 0.005,
    include: Collection[str] | None = None,
    *,
    adaptive: bool = True,
) -> RegularizedModel:
    """A model to compile and train in the place of a network, with a penalty on all its weights (Eq. 2.1).

    The network is Sequential, functional or subclassed, and has its variables. It shares them, so that it is what you
    evaluate, save and export once it is trained. The logs have the penalty apart, as `penalty`; `loss` includes it.

    Args:
        network: a built model.
        amplitude: A of `AdaptiveL2`, or λ of `ConstantL2`.
        include: categories of weights, of those that `weights_by_category(network)` lists; None: all.
        adaptive: whether the factors are learned.

    Example:
        >>> import keras
        >>> from common.layers import regularize
        >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model = regularize(network, amplitude=0.005)
        >>> model.compile("adam", "mse")
        >>> model.regularizer.categories, model.regularizer.left_out
        (['dense_bias', 'dense_kernel'], [])

    Raises:
        ValueError: as of `ConstantL2`.
    """
    kind = AdaptiveL2 if adaptive else ConstantL2
    return RegularizedModel(kind(network, amplitude, include, name="regularizer"))
