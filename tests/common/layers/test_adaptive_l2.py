"""Equations 2.2 to 2.7: values and gradients by hand, every kind of model, and the collapse that the bound prevents."""

import keras
import numpy as np
import pytest
from keras import layers

from common.layers import AdaptiveL2, ConstantL2, regularize, weights_by_category
from tests.helpers import value_and_gradients


def dense_network(kernel=((2.0,), (-1.0,))):
    network = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False, name="dense")])
    network.set_weights([np.array(kernel, "float32")])
    return network


def penalty_and_gradients(regularizer, *variables):
    def penalty():
        regularizer(np.zeros((1, 2), "float32"))
        return regularizer.losses[0]

    return value_and_gradients(penalty, variables)


@pytest.mark.parametrize(
    "theta, share, slope",
    [(0.0, 0.5, 0.2), (1.0, 0.7, 0.2), (-2.0, 0.1, 0.2), (-2.5001, 0.0, 0.0), (-9.0, 0.0, 0.0), (3.0, 1.0, 0.0)],
)
def test_penalty_and_gradients_by_hand(theta, share, slope):
    """A = 0.005 and ‖w‖² = 5: λ = A f(θ), ∂/∂w = 2 λ w, ∂/∂θ = A ‖w‖² f'(θ) with f' = 1 / 2c."""
    network = dense_network()
    regularizer = AdaptiveL2(network, 0.005)
    regularizer.theta.assign([theta])
    penalty, (by_kernel, by_theta) = penalty_and_gradients(regularizer, network.weights[0], regularizer.theta)
    np.testing.assert_allclose(regularizer.factors(), [0.005 * share], rtol=1e-6)
    np.testing.assert_allclose(penalty, 0.005 * share * 5, rtol=1e-6)
    np.testing.assert_allclose(by_kernel, 2 * 0.005 * share * np.array([[2.0], [-1.0]]), rtol=1e-6)
    np.testing.assert_allclose(by_theta, [0.005 * 5 * slope], rtol=1e-6)


def test_defaults_are_the_publications():
    """A = 0.005, θ from 0 on, so that λ = A/2, and c = 2.5; constant L2 has none, and λ = 0.0005."""
    regularizer = AdaptiveL2(dense_network())
    np.testing.assert_allclose(regularizer.factors(), [0.0025])
    assert [variable.name for variable in regularizer.trainable_variables if variable.name == "theta"] == ["theta"]
    regularizer.theta.assign([2.0])
    np.testing.assert_allclose(regularizer.factors(), [0.0045])  # 0.005 · (2 / 5 + 1 / 2)
    constant = ConstantL2(dense_network())
    np.testing.assert_allclose(constant.factors(), [0.0005])
    assert not [variable for variable in constant.variables if variable.name == "theta"]


def test_another_bound_changes_the_slope():
    regularizer = AdaptiveL2(dense_network(), 1.0, c=0.5)
    regularizer.theta.assign([0.25])
    np.testing.assert_allclose(regularizer.factors(), [0.75])  # 0.25 / (2 · 0.5) + 0.5


def test_constant_factors_equal_the_regularizers_of_keras():
    """Five steps of Adam with λ = 0.01 on the kernel (Eq. 2.2)."""

    def train(kernel_regularizer, wrap):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((2,))
        dense = layers.Dense(1, use_bias=False, kernel_regularizer=kernel_regularizer)
        network = keras.Model(inputs, dense(inputs))
        model = keras.Model(inputs, ConstantL2(network, 0.01)(inputs)) if wrap else network
        model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
        x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
        losses = [model.train_on_batch(x, x[:, :1], return_dict=True)["loss"] for _ in range(5)]
        return network.get_weights()[0], losses

    (kernel, losses), (kernel_of_keras, losses_of_keras) = train(None, True), train(keras.regularizers.L2(0.01), False)
    np.testing.assert_allclose(kernel, kernel_of_keras, rtol=1e-5)
    np.testing.assert_allclose(losses, losses_of_keras, rtol=1e-5)


def trained(regularizer_class, steps=200):
    """Fits y = x₁ with the penalty; returns the last loss, penalty included, and the kernel."""
    network = dense_network(((0.5,), (0.5,)))
    inputs = keras.Input((2,))
    regularizer = regularizer_class(network, 0.5)
    model = keras.Model(inputs, regularizer(inputs))
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    for _ in range(steps):
        loss = model.train_on_batch(x, x[:, :1], return_dict=True)["loss"]
    return loss, network.get_weights()[0], np.asarray(regularizer.factors())


def test_without_the_hard_sigmoid_the_model_collapses():
    """λ = A θ becomes negative, and then a longer w lowers the loss without end (section 2.2.2)."""

    class Unbounded(AdaptiveL2):
        def factors(self):
            return 0.5 * self.theta

    loss, kernel, factors = trained(Unbounded)
    assert factors[0] < 0 and loss < -100 and np.abs(kernel).max() > 5
    loss, kernel, factors = trained(AdaptiveL2)
    assert factors[0] >= 0 and 0 <= loss < 0.1 and np.abs(kernel).max() <= 1.01


def test_gradient_of_theta_grows_with_the_squared_length():
    """∂/∂θ = A ‖w‖² / 2c: four times the squared length, four times the gradient."""
    inputs = keras.Input((2,))
    x = layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(1.0), name="short")(inputs)
    y = layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(2.0), name="long")(inputs)
    network = keras.Model(inputs, [x, y])
    regularizer = AdaptiveL2(network, 0.005)
    _, (gradient,) = penalty_and_gradients(regularizer, regularizer.theta)
    np.testing.assert_allclose(gradient, [0.005 * 0.2 * 2, 0.005 * 0.2 * 8], rtol=1e-6)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.attention = layers.MultiHeadAttention(1, 2)
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(self.attention(inputs, inputs))


def test_finds_the_arrays_of_nested_shared_and_subclassed_models():
    inputs = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 3, padding="same")
    inner_inputs = keras.Input((8, 8, 3))
    inner = keras.Model(inner_inputs, layers.BatchNormalization()(layers.DepthwiseConv2D(3)(inner_inputs)))
    x = inner(shared(shared(inputs)))
    network = keras.Model(inputs, layers.Dense(2, use_bias=False)(layers.Flatten()(x)))
    categories = AdaptiveL2(network).categories
    # The shared layer counts once; moving averages never do.
    assert categories == ["bn_beta", "bn_gamma", *["conv_bias"] * 2, *["conv_kernel"] * 2, "dense_kernel"]
    subclassed = Subclassed()
    subclassed(np.zeros((1, 4, 3), "float32"))
    # Query, key, value and output projection of the attention, and the dense layer.
    assert AdaptiveL2(subclassed).categories == ["dense_bias"] * 5 + ["dense_kernel"] * 5


def test_amplitude_per_category_leaves_the_others_alone():
    inputs = keras.Input((2,))
    network = keras.Model(inputs, layers.BatchNormalization()(layers.Dense(2)(inputs)))
    regularizer = AdaptiveL2(network, {"dense_kernel": 0.02, "bn_gamma": 0.01})
    assert list(regularizer.categories) == ["dense_kernel", "bn_gamma"]
    np.testing.assert_allclose(regularizer.factors(), [0.01, 0.005])
    kernel, gamma = network.layers[1].kernel, network.layers[2].gamma
    expected = 0.01 * np.sum(np.square(kernel)) + 0.005 * np.sum(np.square(gamma))
    regularizer(np.zeros((1, 2), "float32"))
    np.testing.assert_allclose(regularizer.losses[0], expected, rtol=1e-6)


def test_frozen_arrays_are_left_out():
    network = dense_network()
    inputs = keras.Input((2,))
    regularizer = AdaptiveL2(network)
    model = keras.Model(inputs, layers.Dense(1)(regularizer(inputs)))
    network.trainable = False
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    model.train_on_batch(np.ones((4, 2)), np.ones((4, 1)))
    np.testing.assert_array_equal(regularizer.theta, [0.0])
    network.trainable = True
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    model.train_on_batch(np.ones((4, 2)), np.ones((4, 1)))
    np.testing.assert_allclose(regularizer.theta, [-0.1], rtol=1e-3)  # Adam's first step


def test_penalty_is_float32_in_mixed_precision():
    """The square of 1e-4 is zero in float16."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = dense_network(((1e-4,), (1e-4,)))
        inputs = keras.Input((2,))
        model = keras.Model(inputs, ConstantL2(network, 1.0)(inputs))
        assert keras.backend.standardize_dtype(model(np.ones((1, 2), "float32")).dtype) == "float16"
        np.testing.assert_allclose(model.losses[0], 2e-8, rtol=1e-5)
    finally:
        keras.config.set_dtype_policy("float32")


def test_saves_and_restores_factors(tmp_path):
    network = dense_network()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, AdaptiveL2(network, {"dense_kernel": 0.02}, c=2.0)(inputs))
    model.layers[-1].theta.assign([-1.0])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").layers[-1]
    np.testing.assert_allclose(again.factors(), [0.005])  # 0.02 · (0.5 - 1 / 4)
    assert again.amplitude == {"dense_kernel": 0.02} and again.c == 2.0


def test_weights_of_every_kind_of_layer_have_a_factor():
    """All that is trained, as Eq. 2.1 says; of unknown layers too. None of it is a moving statistic or a seed."""

    class Scale(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

        def call(self, x):
            return x * self.scale

    words = keras.Input((5,), dtype="int32")
    x = layers.Dropout(0.1)(layers.Embedding(7, 4)(words))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.PReLU()(layers.RMSNormalization()(layers.GRU(2)(x)))
    network = keras.Model(words, layers.BatchNormalization()(Scale()(layers.Dense(1)(x))))
    counts = {category: len(weights) for category, weights in weights_by_category(network).items()}
    assert counts == {
        "bn_beta": 1, "bn_gamma": 1, "dense_bias": 1, "dense_kernel": 1, "embedding_embeddings": 1,
        "gru_cell_bias": 1, "gru_cell_kernel": 1, "gru_cell_recurrent_kernel": 1,
        "lstm_cell_bias": 2, "lstm_cell_kernel": 2, "lstm_cell_recurrent_kernel": 2,
        "p_re_lu_alpha": 1, "rms_normalization_scale": 1, "scale_scale": 1,
    }  # fmt: skip
    assert sum(counts.values()) == len(network.trainable_variables)
    network.trainable = False
    assert AdaptiveL2(network).left_out == [] and len(AdaptiveL2(network).categories) == sum(counts.values())


def test_what_is_left_out_is_reported():
    network = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="first"), layers.PReLU(name="bend")])
    regularizer = ConstantL2(network, 0.1, include=["dense_kernel"])
    assert [path.split("/")[-2:] for path in regularizer.left_out] == [["first", "bias"], ["bend", "alpha"]]
    np.testing.assert_allclose(regularizer.penalty(), 0.1 * np.sum(np.square(network.layers[0].kernel)), rtol=1e-6)
    assert AdaptiveL2(network, {"p_re_lu_alpha": 0.1}).left_out == [
        v.path for v in (network.layers[0].bias, network.layers[0].kernel)
    ]


@keras.saving.register_keras_serializable(package="tests")
class Tower(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.out = layers.Dense(3, activation="relu"), layers.Dense(1)

    def build(self, shape):
        self.hidden.build(shape)
        self.out.build((*shape[:-1], 3))

    def call(self, x):
        return self.out(self.hidden(x))


def sequential():
    return keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="relu"), layers.Dense(1)])


def functional():
    x = keras.Input((2,))
    return keras.Model(x, layers.Dense(1)(layers.Dense(3, activation="relu")(x)))


def subclassed():
    tower = Tower()
    tower.build((None, 2))
    return tower


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("make", [sequential, functional, subclassed])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_any_model_is_regularized_trained_and_restored(make, policy, adaptive, tmp_path):
    """The loss is the task's and the penalty by hand; weights and factors survive a file."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        network = make()
        model = regularize(network, 0.02, adaptive=adaptive)
        assert model.network is network and len(model.regularizer.categories) == 4 == len(network.trainable_variables)
        x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
        y = x[:, :1]
        task = float(np.mean(np.square(keras.ops.convert_to_numpy(network(x)).astype("float32") - y)))
        squares = sum(float(np.sum(np.square(keras.ops.convert_to_numpy(v)))) for v in network.trainable_variables)
        model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
        loss = model.train_on_batch(x, y, return_dict=True)["loss"]
        assert loss == pytest.approx(task + (0.01 if adaptive else 0.02) * squares, rel=1e-3)
        if adaptive:
            np.testing.assert_array_less(model.regularizer.theta, 1e-6)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        for first, second in ((model(x), again(x)), (model.regularizer.factors(), again.regularizer.factors())):
            first, second = (keras.ops.convert_to_numpy(part).astype("float32") for part in (first, second))
            np.testing.assert_allclose(first, second, rtol=1e-6)
        np.testing.assert_allclose(again.regularizer.penalty(), model.regularizer.penalty(), rtol=1e-6)
        assert len(again.trainable_variables) == len(model.trainable_variables) == 4 + adaptive
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.graphs
@pytest.mark.parametrize("make", [sequential, functional, subclassed])
def test_xla_computes_the_same(make):
    """A training step with the penalty of kernels alone, compiled and not."""

    def trained(jit_compile):
        keras.utils.set_random_seed(0)
        model = regularize(make(), 0.02, include=["dense_kernel"])
        assert len(model.regularizer.categories) == len(model.regularizer.left_out) == 2
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
        return model.train_on_batch(x, x[:, :1], return_dict=True)["loss"], *model.get_weights()

    for first, second in zip(trained(False), trained(True)):
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-6)


def test_task_and_penalty_are_logged_apart_also_of_a_network_that_was_compiled():
    """Three weights of 2 and λ = 0.1 / 2: the penalty is 0.6, and the loss of the task (2 · 3 - 1)² = 25."""
    network = keras.Sequential([keras.Input((3,)), layers.Dense(1, use_bias=False)])
    network.set_weights([np.full((3, 1), 2.0, "float32")])
    network.compile("sgd", "mse", metrics=["mae"])
    network.evaluate(np.zeros((1, 3)), np.zeros((1, 1)), verbose=0)
    x, y = np.ones((4, 3), "float32"), np.ones((4, 1), "float32")
    model = regularize(network, 0.1)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    expected = {"loss": pytest.approx(25.6, rel=1e-6), "penalty": pytest.approx(0.6, rel=1e-6)}
    history = model.fit(x, y, epochs=2, batch_size=2, verbose=0).history
    assert history == {name: [value] * 2 for name, value in expected.items()}
    assert model.evaluate(x, y, batch_size=2, verbose=0, return_dict=True) == expected
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ConstantL2(network, 0.05)(inputs))
    model.compile("sgd", "mse")
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"loss": expected["loss"]}


def test_outputs_have_the_names_of_the_network():
    inputs = keras.Input((2,))
    outputs = [layers.Dense(1, use_bias=False, kernel_initializer="ones", name=name)(inputs) for name in ("a", "b")]
    model = regularize(keras.Model(inputs, outputs), 0.1)  # λ = 0.05, four ones
    model.compile("sgd", {"b": "mse", "a": "mae"})
    logs = model.evaluate(np.ones((4, 2)), {"b": np.zeros((4, 1)), "a": np.zeros((4, 1))}, verbose=0, return_dict=True)
    assert logs == pytest.approx({"loss": 2 + 4 + 0.2, "a_loss": 2, "b_loss": 4, "penalty": 0.2})


def test_a_weight_that_two_layers_hold_counts_once():
    """A wrapper's kernel is that of the layer inside, and an embedding is used again for the output."""

    class Tied(layers.Layer):
        def __init__(self, embedding):
            super().__init__()
            self.table = embedding.embeddings

        def call(self, x):
            return keras.ops.matmul(x, keras.ops.transpose(self.table))

    embedding = layers.Embedding(7, 4)
    embedding.build(None)
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.SpectralNormalization(layers.Dense(4))(embedding(inputs))
    network = keras.Model(inputs, Tied(embedding)(hidden))
    regularizer = ConstantL2(network, 0.1)
    assert len(regularizer.categories) == len(network.trainable_variables) == 3
    assert {"dense_bias", "dense_kernel"} < set(regularizer.categories)
    squares = sum(np.sum(np.square(keras.ops.convert_to_numpy(v))) for v in network.trainable_variables)
    np.testing.assert_allclose(regularizer.penalty(), 0.1 * squares, rtol=1e-5)


def test_spectral_normalization_trains_with_a_penalty():
    """The call divides the diagonal kernel (8, 1) by its largest singular value: the penalty is 0.1 · (1 + 1 / 64)."""
    wrapped = layers.SpectralNormalization(layers.Dense(2, use_bias=False), power_iterations=9)
    model = regularize(keras.Sequential([keras.Input((2,)), wrapped]), 0.1, adaptive=False)
    wrapped.layer.kernel.assign(np.diag([8.0, 1.0]))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    x = np.eye(2, dtype="float32")
    logs = model.train_on_batch(x, x, return_dict=True)
    assert logs == pytest.approx({"loss": 0.1 * 65 / 64 + (7 / 8) ** 2 / 4, "penalty": 0.1 * 65 / 64}, rel=1e-4)


def test_weights_are_read_before_the_first_batch(tmp_path):
    first, second = (regularize(sequential(), 0.02) for _ in range(2))
    first.regularizer.theta.assign([1, 2, 3, 4])
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    for expected, weights in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, expected)


def test_a_config_can_be_used_again():
    inputs = keras.Input((2,))
    layer = AdaptiveL2(keras.Model(inputs, layers.Dense(1)(inputs)), 0.02, include=["dense_kernel"])
    config = layer.get_config()
    first, second = AdaptiveL2.from_config(config), AdaptiveL2.from_config(config)
    assert first.categories == second.categories == ["dense_kernel"]
    one = AdaptiveL2(layer.network, include="dense_bias")
    assert AdaptiveL2.from_config(one.get_config()).categories == ["dense_bias"]


def test_bad_arguments_are_reported():
    with pytest.raises(ValueError, match="needs a network with variables: call it once"):
        AdaptiveL2(Subclassed())
    for amplitude in (-1.0, float("nan"), float("inf"), {"dense_gamma": 0.1}, {}):
        with pytest.raises(ValueError, match="amplitude must be zero or more for one or more of .'dense_kernel'."):
            AdaptiveL2(dense_network(), amplitude)
    for c in (0, float("nan")):
        with pytest.raises(ValueError, match=f"c must be above zero, got {c}"):
            AdaptiveL2(dense_network(), c=c)


def test_under_adam_a_factor_falls_by_the_learning_rate_whatever_the_length():
    """Two arrays that rest, one a hundred times the other: after 50 steps of 0.01 both have θ = -0.5."""
    inputs = keras.Input((2,))
    outputs = [
        layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(value), name=name)(inputs)
        for name, value in (("short", 0.1), ("long", 10.0))
    ]
    network = keras.Model(inputs, outputs)
    regularizer = AdaptiveL2(network, 1.0)
    optimizer = keras.optimizers.Adam(0.01)
    for _ in range(50):
        _, (gradient,) = penalty_and_gradients(regularizer, regularizer.theta)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [regularizer.theta])
    np.testing.assert_allclose(regularizer.theta, [-0.5, -0.5], rtol=1e-3)
