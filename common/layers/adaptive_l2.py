"""L2 regularization with learned factors."""

import keras
from keras import layers, ops


def _weights_by_category(network: keras.Model) -> dict[str, list[keras.Variable]]:
    """The weights of all convolutional, dense and normalization layers, each once, by category."""
    kinds = {
        "conv": (
            *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
            *(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose),
            *(layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D),
        ),
        "dense": (layers.Dense, layers.EinsumDense),
        "bn": (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization),
    }
    categories: dict[str, dict[int, keras.Variable]] = {}
    for layer in network._flatten_layers():  # nested models too; a layer that is used twice comes once
        kind = next((name for name, classes in kinds.items() if isinstance(layer, classes)), None)
        for variable in layer.weights if kind else ():
            role = next((name for name in ("kernel", "bias", "gamma", "beta") if variable.name.endswith(name)), None)
            if role:  # moving statistics have none
                categories.setdefault(f"{kind}_{role}", {})[id(variable)] = variable
    return {category: list(weights.values()) for category, weights in sorted(categories.items())}


@keras.saving.register_keras_serializable(package="common")
class AdaptiveL2(layers.Layer):
    """A network whose weights are L2-regularized with factors that are learned: Σ A f(θ_n) ‖w_n‖₂² (Eq. 2.7).

    Wraps any built Keras model, functional or subclassed, and returns what it returns; the penalty is
    added to the loss of the model that is compiled around it:

        training_model = keras.Model(network.input, AdaptiveL2(network)(network.input))

    Each weight (kernel, bias, …) of a convolutional, dense or normalization layer has a trainable θ of its own. Their
    categories are conv_kernel, conv_bias, bn_gamma, bn_beta, dense_kernel, dense_bias. Weights of layers that are
    frozen when the training step is traced are left out, and their θ do not change. Constant L2 regularization, the
    baseline, is `adaptive=False`.

    As ∂/∂θ_n = A ‖w_n‖² / 2c ≥ 0 between -c and c, training can only lower a factor, until it is 0 and stays
    there. Adam divides a gradient by its own size, so each θ of a weight that is not zero falls by about the learning
    rate per step: faster where the weight grows, slower where it shrinks.

    Args:
        network: a model that has its variables.
        amplitude: A, the largest factor; one for all, or category -> A, where categories left out are not
            regularized.
        adaptive: False: the factors are A itself and stay constant (Eq. 2.2).
        c: the hard sigmoid's bound (Eq. 2.4).

    Raises:
        ValueError: the network has no variables yet, an amplitude is negative or of no known category,
            or there is nothing to regularize.
    """

    def __init__(self, network, amplitude=0.005, adaptive: bool = True, c: float = 2.5, **kwargs):
        # float32 also in mixed precision: squares of small weights vanish in float16.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if not getattr(network, "built", False):
            raise ValueError("AdaptiveL2 needs a network with variables: call it once on data before it is wrapped.")
        if c <= 0:
            raise ValueError(f"c must be above zero, got {c}.")
        weights = _weights_by_category(network)
        amplitudes = dict(amplitude) if isinstance(amplitude, dict) else dict.fromkeys(weights, amplitude)
        if not set(amplitudes) <= set(weights) or min(amplitudes.values(), default=-1) < 0:
            raise ValueError(f"amplitude must be zero or more for one or more of {list(weights)}, got {amplitude}.")
        self.network, self.amplitude, self.adaptive, self.c = network, amplitude, adaptive, c
        #: The category of each factor.
        self.categories = [category for category in amplitudes for _ in weights[category]]
        self._scales = [amplitudes[category] for category in self.categories]
        if adaptive:
            self.theta = self.add_weight(shape=(len(self.categories),), initializer="zeros", name="theta")

    def factors(self):
        """λ_n of each weight, shape (N,), float32, in the order of `categories` (Eqs. 2.4 to 2.6)."""
        scales = ops.convert_to_tensor(list(self._scales), "float32")
        return scales * ops.clip(self.theta / (2 * self.c) + 0.5, 0.0, 1.0) if self.adaptive else scales  # Eq. 2.6

    def penalty(self):
        """Σ λ_n ‖w_n‖² over the weights that are trained now, a float32 scalar (Eqs. 2.2 and 2.7)."""
        by_category = _weights_by_category(self.network)
        # dict.fromkeys: the different categories in order.
        weights = [weight for category in dict.fromkeys(self.categories) for weight in by_category[category]]
        updated = [n for n, weight in enumerate(weights) if weight.trainable]
        if not updated:
            return ops.zeros((), "float32")
        squares = ops.stack([ops.sum(ops.square(ops.cast(weights[n], "float32"))) for n in updated])
        return ops.sum(ops.take(self.factors(), updated) * squares)

    def call(self, inputs, training=None):
        self.add_loss(self.penalty())
        return self.network(inputs, training=training)

    def compute_output_spec(self, inputs, training=None):
        return self.network.compute_output_spec(inputs, training=training)

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "amplitude": dict(self.amplitude) if isinstance(self.amplitude, dict) else self.amplitude,
            "adaptive": self.adaptive,
            "c": self.c,
        }

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("network")), **config)
