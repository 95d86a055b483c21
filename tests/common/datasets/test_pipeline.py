import contextlib
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from common.datasets import pipeline
from common.datasets.augmentation import Augmentation, augment
from common.datasets.batches import feed, naming_damaged_images
from common.datasets.images import BOX, boxes_of, read_image
from common.datasets.pipeline import image_batches, training_batches
from common.datasets.sampler import ImageBalancedSampler, identity_batches
from common.experiments import training
from tests.common.datasets.small_images import IMAGES, LABELS, write_images
from tests.helpers import run_python

NOTHING = Augmentation(mirror=0, padding=0, erasing=0)


@pytest.fixture
def table(tmp_path):
    return write_images(tmp_path)


def endless(table, seed=0, augmentation=NOTHING, image_size=(16, 8), labels=LABELS, **options):
    return training_batches(
        table,
        labels=labels,
        image_size=image_size,
        identities_per_batch=3,
        images_per_identity=2,
        steps_per_epoch=4,
        augmentation=augmentation,
        seed=seed,
        **options,
    )


def batches(table, count, *arguments, **options):
    with naming_damaged_images():
        data = endless(table, *arguments, **options)
        return [(np.asarray(images), np.asarray(labels)) for images, labels in islice(feed(data), count)]


def test_batches_hold_the_images_that_the_sampler_chose(table):
    chosen = batches(table, 12)
    numbers = [
        identity_batches(LABELS, identities_per_batch=3, images_per_identity=2, steps=4, seed=0, epoch=epoch)
        for epoch in range(3)
    ]
    for (images, labels), index in zip(chosen, np.concatenate(numbers)):
        assert images.dtype == "uint8" and labels.dtype == "int32"
        np.testing.assert_array_equal(images, IMAGES[index])
        np.testing.assert_array_equal(labels, LABELS[index])


def test_images_are_balanced_by_the_other_sampler(table):
    sampler = ImageBalancedSampler(LABELS, identities_per_batch=3, images_per_identity=2, seed=0)
    index = np.concatenate([sampler.batches(4, epoch) for epoch in (1, 2)])
    for (images, labels), numbers in zip(batches(table, 8, first_epoch=1, balance="images"), index):
        np.testing.assert_array_equal(images, IMAGES[numbers])
        np.testing.assert_array_equal(labels, LABELS[numbers])
    few = np.repeat(np.arange(13), [12, *[1] * 12])
    with pytest.raises(ValueError, match="needs 3 identities with 2 or more images each, and of the 13 .* 1 have"):
        endless(table, labels=few, balance="images")
    with pytest.raises(ValueError, match="A batch of 3 identities needs as many to choose from, the data have 2"):
        endless(table, labels=np.repeat([0, 1], 12))


def test_images_are_changed_by_their_index_in_the_epoch(table):
    augmentation = Augmentation(padding=0.1, gray_patch=0.5)
    for epoch in (0, 1):
        plain = batches(table, 4, first_epoch=epoch)
        changed = batches(table, 4, first_epoch=epoch, augmentation=augmentation)
        expected = np.concatenate([images for images, _ in plain])
        augment(expected, augmentation, seed=0, epoch=epoch)
        np.testing.assert_array_equal(np.concatenate([images for images, _ in changed]), expected)


def test_batches_are_a_function_of_seed_and_epoch(table):
    def pixels(**arguments):
        return np.concatenate([images for images, _ in batches(table, augmentation=Augmentation(), **arguments)])

    once = pixels(count=12)
    np.testing.assert_array_equal(pixels(count=12), once)
    np.testing.assert_array_equal(pixels(count=8, first_epoch=1), once[24:])
    assert (pixels(count=12, seed=1) != once).any() and (once[:24] != once[24:48]).any()


def test_evaluation_batches_keep_the_order_and_the_remainder(table):
    parts = list(image_batches(table["path"], image_size=(16, 8), batch_size=9))
    assert [len(part) for part in parts] == [9, 9, 6] and parts[0].dtype == "uint8"
    np.testing.assert_array_equal(np.concatenate(parts), IMAGES)


def boxed(table):
    """Each image has its own box of 5 × 6 pixels."""
    left, top = np.arange(24) % 4, np.arange(24) % 11
    return table.assign(**dict(zip(BOX, (left, top, left + 5, top + 6))))


def test_batches_are_cut_to_the_boxes_of_the_table(table):
    rows = boxed(table)
    cut = np.stack([image[i % 11 : i % 11 + 6, i % 4 : i % 4 + 5] for i, image in enumerate(IMAGES)])
    assert boxes_of(table) is None and boxes_of(rows)[13].tolist() == [1, 2, 6, 8]
    parts = image_batches(rows["path"], boxes=boxes_of(rows), image_size=(6, 5), batch_size=9)
    np.testing.assert_array_equal(np.concatenate(list(parts)), cut)
    index = identity_batches(LABELS, identities_per_batch=3, images_per_identity=2, steps=4, seed=0, epoch=0)
    for (images, _), numbers in zip(batches(rows, 4, image_size=(6, 5)), index):
        np.testing.assert_array_equal(images, cut[numbers])


@pytest.mark.parametrize("box", [(3, 2, 3, 9), (0, 9, 4, 2), (-1, 0, 4, 4), (0, 0, 9, 16), (0, 0, 8, 17)])
def test_a_box_that_is_not_in_the_image_is_named_in_one_sentence(table, box):
    numbers = ", ".join(map(str, box))
    sentence = (
        rf"^The image .*07.png cannot be read in its box \({numbers}\): it is 8 × 16 pixels large. "
        r"Correct the box in the label file\.$"
    )
    rows = boxed(table)
    rows.loc[7, BOX] = box
    with pytest.raises(ValueError, match=sentence):
        read_image(table["path"][7], box=box)
    with pytest.raises(ValueError, match=sentence):
        batches(rows, 40)
    with pytest.raises(ValueError, match=sentence), naming_damaged_images():
        list(feed(image_batches(rows["path"], boxes=boxes_of(rows), image_size=(16, 8), batch_size=9)))


@pytest.mark.parametrize(
    ("boxes", "got"),
    [
        (np.zeros((23, 4), int), r"int64 of shape \(23, 4\)"),
        (np.zeros((24, 4)), r"float64 of shape \(24, 4\)"),
        (np.zeros(24, int), r"int64 of shape \(24,\)"),
    ],
)
def test_wrong_boxes_are_named(table, boxes, got):
    with pytest.raises(ValueError, match=rf"Boxes of 24 images must be integers of shape \(24, 4\), got {got}"):
        image_batches(table["path"], boxes=boxes, image_size=(16, 8), batch_size=9)


def test_batches_are_chosen_by_the_last_of_several_attributes(table):
    both = np.stack([LABELS // 3, LABELS], axis=1)
    for (images, labels), (same, last) in zip(batches(table, 4, labels=both), batches(table, 4)):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(labels, np.stack([last // 3, last], axis=1))


def jpeg(path):
    Image.fromarray(IMAGES[0]).save(path, "jpeg")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(jpeg(path)[:-20]), "cannot be read; it is missing or damaged. Fetch it again"),
        (lambda path: path.write_bytes(jpeg(path)[:30]), "cannot be read; it is missing or damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "cannot be read; it is missing or damaged"),
        (lambda path: path.write_bytes(b""), "cannot be read; it is missing or damaged"),
        (lambda path: path.write_bytes(b"<html>no such page</html>"), "cannot be read; it is missing or damaged"),
        (lambda path: path.unlink(), r"cannot be read \(No such file or directory\); it is missing or damaged"),
    ],
)
def test_damaged_images_are_named_in_one_sentence(table, tmp_path, damage, message):
    damage(tmp_path / "07.png")
    sentence = f"^The image .*07.png {message}"
    with pytest.raises(ValueError, match=sentence):
        read_image(tmp_path / "07.png")
    with pytest.raises(ValueError, match=sentence) as caught:
        batches(table, 40)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=sentence), naming_damaged_images():
        list(feed(image_batches(table["path"], image_size=(16, 8), batch_size=9)))


def test_fit_and_predict_name_a_damaged_image(table, tmp_path):
    (tmp_path / "07.png").write_bytes(b"")
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(6)]
    model = keras.Sequential([keras.Input((16, 8, 3)), *layers])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    with pytest.raises(ValueError, match=r"^The image .*07.png cannot be read; .*\.$"):
        training.fit(model, lambda epoch: endless(table), steps_per_epoch=40, epochs=1, folder=tmp_path / "run")
    with pytest.raises(ValueError, match=r"^The image .*07.png cannot be read; .*\.$"):
        pipeline.predict(model, table["path"], image_size=(16, 8))


def test_other_errors_pass():
    with pytest.raises(KeyError, match="another"), naming_damaged_images():
        raise KeyError("another")


TWO_REPLICAS = """
import sys
from itertools import islice
import numpy as np, pandas as pd, tensorflow as tf
from common.datasets.augmentation import Augmentation
from common.datasets.batches import feed
from common.datasets.pipeline import training_batches
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.experimental.enable_op_determinism()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
paths = [f"{sys.argv[1]}/{i:02d}.png" for i in range(24)]
data = training_batches(
    pd.DataFrame({"path": paths}), labels=np.repeat(np.arange(6), 4), image_size=(16, 8), identities_per_batch=4,
    images_per_identity=2, steps_per_epoch=4, augmentation=Augmentation(), seed=0)
shared = iter(strategy.experimental_distribute_dataset(feed(data)))  # alive when the process ends
for images, labels in islice(data, 3):
    parts = [strategy.experimental_local_results(part) for part in next(shared)]
    same = [np.array_equal(np.concatenate(part), one) for part, one in zip(parts, (images, labels))]
    print(*(len(part) for part in parts[1]), *(len(set(part.numpy())) for part in parts[1]), *same)
"""


@pytest.mark.tensorflow
def test_a_batch_splits_evenly_between_identities(table, tmp_path):
    """Two replicas have four images, of two identities, each; and the process ends in spite of an open iterator."""
    out, _ = run_python("-c", TWO_REPLICAS, str(tmp_path))
    assert out.splitlines() == ["4 4 2 2 True True"] * 3


@pytest.mark.parametrize("cached", [True, False])
def test_a_small_set_is_read_once(table, monkeypatch, cached):
    """The files are gone once each was read; and augmentation does not change what is cached."""
    monkeypatch.setattr(pipeline, "CACHE_BYTES", IMAGES.nbytes - (not cached))
    data = endless(table, augmentation=Augmentation())
    expected = [data[number][0] for number in range(40)]
    for path in table["path"]:
        Path(path).unlink()
    with contextlib.nullcontext() if cached else pytest.raises(ValueError, match="cannot be read"):
        for number, images in enumerate(expected):
            np.testing.assert_array_equal(data[number][0], images)
