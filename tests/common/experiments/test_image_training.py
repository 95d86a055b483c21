"""What `fit_on_images` hands to `training.fit` where a project says nothing else, and the start of the warm-up."""

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common import distribution
from common.datasets.augmentation import Augmentation
from common.experiments.config import ImageTrainingConfig
from common.experiments.image_training import fit_on_images
from tests.common import known_people
from tests.common.recorded import batches_of, rates, recorded

CONFIG = ImageTrainingConfig(
    image_size=known_people.SIZE, steps_per_epoch=4, learning_rate=0.5, warmup_epochs=3, drop_epochs=(4,)
)


def call_of(folder, images, labels, **options):
    """The call of `fit` for images (N, 32, 32, 3), two of each of three classes in a batch."""
    paths = [str(folder / f"{i}.png") for i in range(len(images))]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    table = pd.DataFrame({"path": paths})
    image = keras.Input((*known_people.SIZE, 3), dtype="uint8")
    model = keras.Model(image, {"out": keras.layers.Flatten()(keras.layers.Rescaling(1.0)(image))})
    with recorded() as calls:
        fit_on_images(
            CONFIG, model, table, labels, folder / "net", losses={"out": "mse"}, targets=lambda labels: {"out": labels},
            augmentation=Augmentation(mirror=0, padding=0, erasing=0), classes_per_batch=3, images_per_class=2,
            epochs=6, seed=1, **options,
        )  # fmt: skip
    return calls[0]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (7, *known_people.SIZE, 3), dtype="uint8")


def test_defaults(images, tmp_path):
    """Identities are balanced, so the one with a single image takes its turns; the last weights are the best."""
    call = call_of(tmp_path, images, np.array([0, 0, 1, 1, 2, 2, 3]))
    assert (call.folder, call.epochs, call.steps_per_epoch) == (tmp_path / "net", 6, 4)
    assert (call.monitor, call.mode, call.monitor_every, call.callbacks) == (None, "max", 1, ())
    assert call.loss == {"out": "mse"} and call.jit_compile is distribution.jit()
    np.testing.assert_allclose(rates(call, 5), [0.005, 0.2525, 0.5, 0.5, 0.05], rtol=1e-6)
    taken = batches_of(call, 8)
    assert {label for _, targets in taken for label in targets["out"].tolist()} == {0, 1, 2, 3}
    for pictures, targets in taken:
        rows = [int(np.flatnonzero((images == picture).all(axis=(1, 2, 3)))[0]) for picture in pictures]
        assert [row // 2 for row in rows] == targets["out"].tolist()
    later = batches_of(call, 4, first_epoch=1)
    assert all((a[0] == b[0]).all() for a, b in zip(later, taken[4:], strict=True))


def test_the_warm_up_may_begin_higher(images, tmp_path):
    """A tenth of 0.5, up to 0.5 in the third epoch; the drop is as before."""
    call = call_of(tmp_path, images, np.array([0, 0, 1, 1, 2, 2, 3]), warmup_start=0.1)
    np.testing.assert_allclose(rates(call, 5), [0.05, 0.275, 0.5, 0.5, 0.05], rtol=1e-6)


def test_several_attributes_reach_the_targets(images, tmp_path):
    labels = np.stack([np.arange(7), np.arange(7) // 2], axis=1)
    options = {"balance": "images", "monitor": "score", "monitor_every": 3, "callbacks": ["another"]}
    call = call_of(tmp_path, images, labels, **options)
    assert (call.monitor, call.monitor_every, call.callbacks) == ("score", 3, ["another"])
    ((pictures, targets),) = batches_of(call, 1)
    assert targets["out"].shape == (6, 2)
    np.testing.assert_array_equal(images[targets["out"][:, 0]], pictures)
    np.testing.assert_array_equal(targets["out"][:, 1], targets["out"][:, 0] // 2)
    assert 3 not in targets["out"][:, 1]
