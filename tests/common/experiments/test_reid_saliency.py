import keras
import numpy as np
import pytest

import adaptive_l2.model
import flipreid.model
from common.experiments.reid.saliency import similarity_maps
from common.layers import GeMPooling2D
from tests.common import known_people

FIRST, SECOND = np.random.default_rng(0).integers(0, 256, (2, 3, *known_people.SIZE, 3), dtype="uint8")


def cosines(model):
    one, other = (model.predict(images, verbose=0).astype("float64") for images in (FIRST, SECOND))
    return np.sum(one * other, axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.mark.parametrize("regional_branches", [True, False])
@pytest.mark.parametrize("project", [adaptive_l2.model, flipreid.model])
def test_maps_sum_to_the_similarity(project, regional_branches):
    """Whatever is pooled how, and clipped."""
    built = project.build_model(known_people.backbone(), 5, regional_branches=regional_branches)
    model = built.inference_model if project is adaptive_l2.model else built.single
    known_people.set_weights(built.training_model, 3)
    maps = similarity_maps(model, FIRST, SECOND)
    for places in maps:
        assert places.shape == (3, 2, 2) and np.ptp(places) > 0.01
        np.testing.assert_allclose(places.sum(axis=(1, 2)), cosines(model), atol=1e-5)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_shares_by_hand(power):
    """Two places with the features (3, 0) and (1, 2) against the same image.

    Means: (2, 1), a cosine of 1 of which the first channel has 4/5. The first place has 3/4 of it and nothing of the
    second. With the power of two: √5 and √2, of 7; 9/10 of the first channel.
    """
    image = keras.Input((1, 2, 3), name="image", dtype="uint8")
    features = keras.layers.Lambda(lambda x: keras.ops.cast(x, "float32")[..., :2])(image)
    pooled = known_pooling(power)(features)
    model = keras.Model(image, pooled)
    images = np.array([[[[3, 0, 9], [1, 2, 9]]]], "uint8")
    expected = [3 / 4 * 4 / 5, 1 / 4 * 4 / 5 + 1 / 5] if power == 1 else [9 / 10 * 5 / 7, 1 / 10 * 5 / 7 + 2 / 7]
    for places in similarity_maps(model, images, images):
        np.testing.assert_allclose(places, [[expected]], atol=1e-6)


def known_pooling(power):
    if power == 1:
        return keras.layers.GlobalAveragePooling2D(name="global_pooled")
    return GeMPooling2D(power=power, name="global_pooled")
