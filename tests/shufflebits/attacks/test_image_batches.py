"""Images in batches with their features."""

import itertools

import numpy as np

from shufflebits.attacks.image_batches import shuffled_image_batches
from tests.common.datasets.small_images import IMAGES, write_images


def test_shuffled_images_come_with_their_companions(tmp_path):
    table, numbers = write_images(tmp_path), {"number": np.arange(24)}

    def taken(first_epoch, count):
        resumed = {"first_epoch": first_epoch} if first_epoch else {}
        data = shuffled_image_batches(table["path"], numbers, image_size=(16, 8), batch_size=5, seed=1, **resumed)
        return [(rows["number"], images) for rows, images in itertools.islice(data, count)]

    pairs = taken(0, 8)  # 4 batches an epoch, without the four images left over
    for index, images in pairs:
        np.testing.assert_array_equal(images, IMAGES[index])
    first, second = (np.concatenate([index for index, _ in part]) for part in (pairs[:4], pairs[4:]))
    assert len(set(first)) == len(set(second)) == 20 and not np.array_equal(first, second)
    for (index, _), (resumed, _) in zip(pairs[4:], taken(1, 4)):
        np.testing.assert_array_equal(index, resumed)
