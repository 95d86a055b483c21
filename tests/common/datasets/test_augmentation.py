import numpy as np
import pytest
from scipy import stats

from common.datasets.augmentation import IMAGENET_MEAN, Augmentation, augment, draw

H, W = 256, 128
NOTHING = Augmentation(mirror=0, padding=0, erasing=0)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 40, 20, 3), dtype="uint8")


def changed(augmentation, images=IMAGES, seed=0, epoch=0, first=0):
    copies = images.copy()
    augment(copies, augmentation, seed=seed, epoch=epoch, first=first)
    return copies


def published(count=20000):
    """Draws with the settings of FlipReID and of Zhong et al."""
    return draw(Augmentation(padding=0.05, gray_patch=0.8), (H, W), count, seed=1, epoch=2)


def test_probabilities():
    # Means of 20,000 draws: three standard errors are 0.011 at p = 0.5, 0.0085 at 0.8.
    draws = published()
    assert abs(draws.mirrored.mean() - 0.5) < 0.011
    assert abs((draws.erased[:, 2] > 0).mean() - 0.5) < 0.011
    assert abs((draws.gray[:, 2] > 0).mean() - 0.8) < 0.0085
    # They are independent of each other: four correlations of 20,000 draws, three standard errors each.
    table = np.stack([draws.mirrored, draws.erased[:, 2] > 0, draws.gray[:, 2] > 0, draws.shift[:, 0] > 0])
    assert np.abs(np.corrcoef(table) - np.eye(4)).max() < 0.022


@pytest.mark.parametrize(("padding", "sides"), [(10, (10, 10)), (0.05, (13, 6)), (0, (0, 0))])
def test_crop_offsets_are_uniform(padding, sides):
    shift = draw(Augmentation(padding=padding), (H, W), 20000, seed=0, epoch=0).shift
    for side, values in zip(sides, shift.T):
        counts = np.bincount(values + side, minlength=2 * side + 1)
        assert len(counts) == 2 * side + 1
        assert side == 0 or stats.chisquare(counts).pvalue > 0.001


def rejection_sampled(count, rng):
    """(count, 2) heights and widths, one patch after the other as Zhong et al. describe: an independent oracle."""
    sizes = []
    while len(sizes) < count:
        area, aspect = rng.uniform(0.02, 0.4) * H * W, rng.uniform(0.3, 1 / 0.3)
        h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if h < H and w < W:
            sizes.append((h, w))
    return np.array(sizes)


@pytest.mark.parametrize("kind", ["erased", "gray"])
def test_patches_have_the_published_area_and_aspect(kind):
    patches = getattr(published(), kind)
    patches = patches[patches[:, 2] > 0]
    top, left, bottom, right = patches.T
    h, w = bottom - top, right - left
    assert top.min() == 0 and left.min() == 0 and bottom.max() == H and right.max() == W
    oracle = rejection_sampled(8000, np.random.default_rng(5))
    for ours, theirs in ((h * w, oracle.prod(1)), (h / w, oracle[:, 0] / oracle[:, 1])):
        assert stats.ks_2samp(ours, theirs).pvalue > 0.001
    # A patch of at most 15 % of a 256×128 image fits whatever its aspect, so there the aspect is uniform.
    small = h * w < 0.145 * H * W
    aspect = (h / w)[small & (h * w > 0.03 * H * W)]
    assert stats.kstest(aspect, stats.uniform(0.3, 1 / 0.3 - 0.3).cdf).statistic < 0.03
    # The mean of the rounded areas: 2,000 small patches between 2 and 14.5 % are uniform in area too.
    assert abs((h * w)[small].mean() / (H * W) - (0.02 + 0.145) / 2) < 0.003
    # Places are uniform among those where the patch fits.
    for start, room in ((top, H - h), (left, W - w)):
        wide = room > 60
        assert stats.kstest((start[wide] + 0.5) / (room[wide] + 1), "uniform").statistic < 0.03


def test_a_patch_that_never_fits_is_left_out():
    # A patch twice as high as it is wide cannot cover 90 % of a square.
    wide = Augmentation(erasing=1, patch_area=(0.9, 0.9), patch_aspect=(2, 2))
    assert not draw(wide, (64, 64), 100, seed=0, epoch=0).erased.any()
    always = draw(Augmentation(erasing=1), (384, 128), 50000, seed=0, epoch=0)
    assert (always.erased[:, 2] > 0).all()


def test_draws_are_a_function_of_seed_epoch_and_index():
    def numbers(seed=0, epoch=0, first=0, count=64):
        draws = draw(Augmentation(gray_patch=0.8), (H, W), count, seed=seed, epoch=epoch, first=first)
        return np.hstack([draws.mirrored[:, None], draws.shift, draws.gray, draws.erased])

    np.testing.assert_array_equal(numbers(), numbers())
    # Batches of 64 or of 16, in any order: image 37 of the epoch is treated alike.
    parts = [numbers(first=first, count=16) for first in (48, 0, 32, 16)]
    np.testing.assert_array_equal(numbers(), np.vstack([parts[i] for i in (1, 3, 2, 0)]))
    for other in (numbers(epoch=1), numbers(seed=1), numbers(first=64)):
        assert np.mean(np.any(other != numbers(), axis=1)) > 0.95
    assert not (numbers(seed=0, epoch=1) == numbers(seed=1, epoch=0)).all()


def test_mirror_is_exact():
    np.testing.assert_array_equal(changed(Augmentation(mirror=1, padding=0, erasing=0)), IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(changed(NOTHING), IMAGES)


def test_padding_and_crop_equal_numpy():
    augmentation = Augmentation(mirror=0, padding=7, padding_color=(1, 2, 3), erasing=0)
    shift = draw(augmentation, (40, 20), 6, seed=0, epoch=0).shift
    assert (shift != 0).any(axis=0).all()
    for image, output, (down, right) in zip(IMAGES, changed(augmentation), shift):
        padded = np.empty((54, 34, 3), "uint8")
        padded[:] = (1, 2, 3)
        padded[7:47, 7:27] = image
        np.testing.assert_array_equal(output, padded[7 - down : 47 - down, 7 - right : 27 - right])


def test_all_changes_in_their_order_equal_numpy():
    """Mirror, crop from the padded image, gray patch, erased patch: another order gives other pixels."""
    augmentation = Augmentation(mirror=0.5, padding=5, padding_color=(200, 30, 60), gray_patch=1, erasing=1)
    images = np.random.default_rng(3).integers(0, 256, (40, 40, 20, 3), dtype="uint8")
    draws = draw(augmentation, (40, 20), 40, seed=0, epoch=0)
    outputs = changed(augmentation, images)
    assert 10 < draws.mirrored.sum() < 30
    for i, (image, (down, right)) in enumerate(zip(images, draws.shift)):
        image = image[:, ::-1] if draws.mirrored[i] else image
        padded = np.full((50, 30, 3), (200, 30, 60), "uint8")
        padded[5:45, 5:25] = image
        image = padded[5 - down : 45 - down, 5 - right : 25 - right].copy()
        t, s, b, e = draws.gray[i]
        image[t:b, s:e] = np.rint(image[t:b, s:e] @ np.array([0.299, 0.587, 0.114]))[..., np.newaxis]
        t, s, b, e = draws.erased[i]
        image[t:b, s:e] = (124, 116, 104)
        assert np.abs(outputs[i].astype(int) - image).max() <= 1


def test_defaults_are_those_of_the_publications():
    """Padding of 20 black pixels, a patch in the mean color of ImageNet's images, no gray patches."""
    np.testing.assert_array_equal(IMAGENET_MEAN, np.rint(255 * np.array([0.485, 0.456, 0.406])))
    shift = draw(Augmentation(), (H, W), 2000, seed=0, epoch=0).shift
    assert shift.min(axis=0).tolist() == [-20, -20] and shift.max(axis=0).tolist() == [20, 20]
    assert not draw(Augmentation(), (H, W), 200, seed=0, epoch=0).gray.any()
    shifted = changed(Augmentation(mirror=0, erasing=0), np.full((20, 64, 64, 3), 255, "uint8"))
    assert set(np.unique(shifted)) == {0, 255}
    erased = changed(Augmentation(mirror=0, padding=0, erasing=1), np.zeros((20, 64, 64, 3), "uint8"))
    assert {tuple(color) for color in np.unique(erased.reshape(-1, 3), axis=0).tolist()} == {(0, 0, 0), IMAGENET_MEAN}


@pytest.mark.parametrize("name", ["mirror", "gray_patch", "erasing"])
def test_what_has_no_probability_happens_to_no_image_and_to_all_at_one(name):
    off, on = (draw(Augmentation(**{name: p}), (H, W), 500, seed=0, epoch=0) for p in (0, 1))
    field = {"mirror": "mirrored", "gray_patch": "gray", "erasing": "erased"}[name]
    assert not getattr(off, field).any() and getattr(on, field).reshape(500, -1).any(axis=1).all()
    for other in {"mirrored", "shift", "gray", "erased"} - {field}:  # and nothing else changes with it
        np.testing.assert_array_equal(getattr(off, other), getattr(on, other))


def test_padding_wider_than_the_image():
    output = changed(Augmentation(mirror=0, padding=500, padding_color=(9, 8, 7), erasing=0))
    assert (output == (9, 8, 7)).all()


def test_erased_pixels_have_the_color_and_no_others_change():
    augmentation = Augmentation(mirror=0, padding=0, erasing=1, erasing_color=(5, 6, 7))
    for image, output, (t, s, b, e) in zip(
        IMAGES, changed(augmentation), draw(augmentation, (40, 20), 6, seed=0, epoch=0).erased
    ):
        expected = image.copy()
        expected[t:b, s:e] = (5, 6, 7)
        np.testing.assert_array_equal(output, expected)
        assert 0.01 < (b - t) * (e - s) / 800 < 0.42


def test_gray_patch_is_the_luma_of_itu_r_601():
    augmentation = Augmentation(mirror=0, padding=0, erasing=0, gray_patch=1)
    for image, output, (t, s, b, e) in zip(
        IMAGES, changed(augmentation), draw(augmentation, (40, 20), 6, seed=0, epoch=0).gray
    ):
        luma = image[t:b, s:e] @ np.array([0.299, 0.587, 0.114])
        patch = output[t:b, s:e].astype(float)
        assert (patch == patch[..., :1]).all() and np.abs(patch[..., 0] - luma).max() <= 0.51
        outside = np.ones((40, 20), bool)
        outside[t:b, s:e] = False
        np.testing.assert_array_equal(output[outside], image[outside])


def test_epochs_change_images_in_other_ways():
    first, second = changed(Augmentation()), changed(Augmentation(), epoch=1)
    np.testing.assert_array_equal(first, changed(Augmentation()))
    assert all((a != b).any() for a, b in zip(first, second))
    np.testing.assert_array_equal(first[3:], changed(Augmentation(), IMAGES[3:], first=3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mirror": 1.5}, "mirror is a probability, expected 0 to 1, got 1.5"),
        ({"erasing": -0.1}, "erasing is a probability"),
        ({"gray_patch": 1.01}, "gray_patch is a probability, expected 0 to 1, got 1.01"),
        ({"patch_area": (0.5, 1.01)}, "patch_area must be a range of positive numbers up to 1, got"),
        ({"padding": -1}, "padding must not be negative, got -1"),
        ({"patch_area": (0.4, 0.02)}, "patch_area must be a range of positive numbers up to 1"),
        ({"patch_aspect": (0, 1)}, "patch_aspect must be a range of positive numbers"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**wrong)


def test_bounds_of_settings_are_accepted():
    Augmentation(mirror=0, gray_patch=1, erasing=1, padding=0, patch_area=(0.3, 1), patch_aspect=(2, 2))


def test_wrong_images_are_refused():
    for images, got in (
        (IMAGES.astype("float32"), r"\(6, 40, 20, 3\) of float32"),
        (IMAGES[0], r"\(40, 20, 3\) of uint8"),
        (IMAGES[..., :1], r"\(6, 40, 20, 1\) of uint8"),
    ):
        with pytest.raises(ValueError, match=rf"Expected images \(B, H, W, 3\) of uint8, got {got}"):
            changed(Augmentation(), images)
