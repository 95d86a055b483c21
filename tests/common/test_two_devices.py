"""Every project trains and predicts on two devices as on one, on TensorFlow and on JAX.

Trainings run in a process of its own, because the devices are fixed when a backend starts.
"""

import keras
import numpy as np
import pytest

from tests.common.project_trainings import TRAININGS
from tests.helpers import run_python


@pytest.fixture(scope="module")
def result_of(tmp_path_factory):
    """Function from a task of the script to its arrays; all tasks have run in one process with two devices."""
    folder = tmp_path_factory.mktemp("distribution")
    run_python("tests/common/distribution_script.py", str(folder))

    def read(task):
        with np.load(folder / f"{task}.npz") as file:
            return dict(file)

    return read


def test_two_devices_equal_one(result_of):
    """The remainder of an epoch and learned factors included."""
    one, two = (result_of(f"adaptive_{kind}") for kind in ("one", "mirrored"))
    assert one["replicas"] == 1 and two["replicas"] == 2
    assert one["restored"] and two["restored"]
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-6)


@pytest.mark.parametrize("name", TRAININGS)
def test_every_project_trains_on_two_devices_as_on_one(result_of, name):
    runs = [result_of(f"projects_{kind}") for kind in ("one", "mirrored")]
    one, two = ({key: run[f"{name}_{key}"] for key in ("loss", "weights", "before")} for run in runs)
    assert runs[1][f"{name}_replicas"] == 2
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-5, rtol=0)
    assert np.abs(one["weights"] - one["before"]).max() > 1e-3 and one["loss"][-1] != one["loss"][0]


@pytest.mark.parametrize("number", range(3))
def test_any_number_of_images_and_batch_size_is_as_on_one_device(result_of, number):
    """A batch, or the remainder of an epoch, that two devices do not divide; of one image, the second has none."""
    outputs = result_of("sizes")
    for name in ("weights", "loss"):
        one, two = (outputs[f"{number}_{kind}_{name}"] for kind in ("one", "mirrored"))
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)


def test_a_training_on_two_devices_resumes_bit_for_bit(result_of):
    whole, resumed = result_of("adaptive_mirrored"), result_of("resumed")
    np.testing.assert_array_equal(resumed["weights"], whole["weights"])
    np.testing.assert_array_equal(resumed["loss"], whole["loss"])


def test_images_are_embedded_in_order_on_two_devices(result_of):
    """The last of 65 images is alone in its batch."""
    outputs = result_of("embeddings")
    assert outputs.pop("one_replicas") == 1 and outputs.pop("mirrored_replicas") == 2
    names = sorted(name.removeprefix("one_") for name in outputs if name.startswith("one_"))
    assert names == [
        "adaptive_l2_double", "flipreid_double", "flipreid_single", "vehicles_color_logits", "vehicles_embedding",
    ]  # fmt: skip
    for name in names:
        one, two = outputs[f"one_{name}"], outputs[f"mirrored_{name}"]
        assert len(one) == 65 and len(np.unique(one, axis=0)) == 65
        np.testing.assert_allclose(two, one, atol=1e-5, rtol=0)


def test_each_device_has_its_share_of_a_batch(result_of):
    """On JAX a batch that two devices do not divide is whole on each, and dropout draws for the whole batch."""
    outputs = result_of("shares")
    assert outputs["one_rows"].tolist() == [4, 4, 3]
    on_jax = keras.backend.backend() == "jax"
    assert outputs["mirrored_rows"].tolist() == [2, 2, 2, 2, *((3, 3) if on_jax else (2, 1))]
    if on_jax:
        np.testing.assert_allclose(outputs["mirrored_weights"], outputs["one_weights"], rtol=1e-6)
