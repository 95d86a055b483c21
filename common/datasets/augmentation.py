"""Random changes of training images, each a function of (seed, epoch, index): mirror, crop, gray patch, erasing."""

from dataclasses import dataclass

import cv2
import numpy as np

_TRIES = 16  # random sizes of a patch, of which the first that fits is taken
_PATCH_WORDS = 4 + 2 * _TRIES
# Random numbers of an image; Philox makes four at a time, so a multiple of four lets any image be computed alone.
_WORDS = 4 + 2 * _PATCH_WORDS

Color = tuple[int, int, int]
IMAGENET_MEAN: Color = (124, 116, 104)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to an image, in this order; a probability of 0 leaves it out."""

    mirror: float = 0.5  # probability
    padding: float = 20  # pixels on each side, or below 1 a share of height and width; then a random crop back
    padding_color: Color = (0, 0, 0)
    gray_patch: float = 0.0  # probability that a patch loses its colors (Gong et al., 2021)
    erasing: float = 0.5  # probability that a patch is filled with one color (Zhong et al., 2020)
    erasing_color: Color = IMAGENET_MEAN
    patch_area: tuple[float, float] = (0.02, 0.4)  # s_l and s_h: share of the image, uniform
    patch_aspect: tuple[float, float] = (0.3, 1 / 0.3)  # r_1 and r_2: height over width, uniform

    def __post_init__(self) -> None:
        for name in ("mirror", "gray_patch", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, expected 0 to 1, got {getattr(self, name)}.")
        if self.padding < 0:
            raise ValueError(f"padding must not be negative, got {self.padding}.")
        for name, limit in (("patch_area", 1), ("patch_aspect", np.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= limit:
                raise ValueError(f"{name} must be a range of positive numbers up to {limit}, got {(low, high)}.")


@dataclass(frozen=True)
class Draws:
    """What happens to each of B images."""

    mirrored: np.ndarray  # (B,) bool
    shift: np.ndarray  # (B, 2) int: pixels down and to the right
    gray: np.ndarray  # (B, 4) int: top, left, bottom, right of the patch; all 0 without one
    erased: np.ndarray  # (B, 4) int


def draw(
    augmentation: Augmentation, image_size: tuple[int, int], count: int, *, seed: int, epoch: int, first: int = 0
) -> Draws:
    """The draws for images `first` to `first + count - 1` of an epoch, of image_size (H, W).

    Image i of an epoch has the same draws whichever batch it is in.
    """
    height, width = image_size
    generator = np.random.Philox(np.random.SeedSequence([seed, epoch])).advance(first * _WORDS // 4)
    u = np.random.Generator(generator).random((count, _WORDS))
    sides = augmentation.padding * np.array([height, width]) if augmentation.padding < 1 else augmentation.padding
    sides = np.broadcast_to(np.round(sides).astype(int), 2)
    shift = (u[:, 1:3] * (2 * sides + 1)).astype(int) - sides
    patches = [
        _patches(u[:, start : start + _PATCH_WORDS], probability, augmentation, image_size)
        for start, probability in ((4, augmentation.gray_patch), (4 + _PATCH_WORDS, augmentation.erasing))
    ]
    return Draws(u[:, 0] < augmentation.mirror, shift, *patches)


def _patches(u: np.ndarray, probability: float, augmentation: Augmentation, image_size: tuple[int, int]) -> np.ndarray:
    """(B, 4) patches from random numbers (B, 4 + 2·tries).

    Area and aspect are random until the patch is smaller than the image, at most 16 times: with the published ranges
    fewer than one image in 10⁹ stays without its patch, so more tries would change nothing (the author's programs of
    Publications I and II have 100). Its place is uniform among those where it fits.

    NOTE(paper): Algorithm 1 of Zhong et al. chooses the place before it looks whether the patch fits, and then
    starts over with the area, which makes large patches rare; their program, which this function follows, does not.
    """
    (height, width), tries = image_size, u[:, 4:].reshape(len(u), 2, _TRIES)
    (s_l, s_h), (r_1, r_2) = augmentation.patch_area, augmentation.patch_aspect
    area = (s_l + (s_h - s_l) * tries[:, 0]) * height * width
    aspect = r_1 + (r_2 - r_1) * tries[:, 1]
    sizes = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)])  # (2, B, tries)
    sizes = np.round(sizes).astype(int)
    fits = (sizes[0] < height) & (sizes[1] < width)
    h, w = sizes[:, np.arange(len(u)), np.argmax(fits, axis=1)]
    top, left = (u[:, 1] * (height - h + 1)).astype(int), (u[:, 2] * (width - w + 1)).astype(int)
    happens = (u[:, 0] < probability) & fits.any(axis=1)
    return np.where(happens[:, np.newaxis], np.stack([top, left, top + h, left + w], axis=1), 0)


def augment(images: np.ndarray, augmentation: Augmentation, *, seed: int, epoch: int, first: int = 0) -> None:
    """Changes images in place.

    Args:
        images: (B, H, W, 3) uint8, RGB.
        augmentation: what may happen.
        seed: of everything.
        epoch: the same image is changed in another way in each.
        first: index of images[0] in the epoch; batches may come in any order.

    Raises:
        ValueError: images of another shape or type.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"Expected images (B, H, W, 3) of uint8, got {images.shape} of {images.dtype}.")
    draws = draw(augmentation, images.shape[1:3], len(images), seed=seed, epoch=epoch, first=first)
    # Whole images of one color: copying parts of them is many times faster than filling parts with three numbers.
    colors = (augmentation.padding_color, augmentation.erasing_color)
    border, eraser = (np.full(images.shape[1:], color, "uint8") for color in colors)
    for i, image in enumerate(images):
        if draws.mirrored[i]:
            image[:] = cv2.flip(image, 1)
        down, right = draws.shift[i].tolist()
        _shift(image, down, right, border)
        top, left, bottom, right = draws.gray[i].tolist()
        if bottom:
            patch = image[top:bottom, left:right]
            patch[:] = cv2.cvtColor(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        top, left, bottom, right = draws.erased[i].tolist()
        image[top:bottom, left:right] = eraser[top:bottom, left:right]


def _shift(image: np.ndarray, down: int, right: int, border: np.ndarray) -> None:
    """Padding and a crop back to the size before are a shift within a border, (H, W, 3)."""
    if not (down or right):
        return
    height, width = image.shape[:2]
    down, right = (max(min(value, size), -size) for value, size in ((down, height), (right, width)))
    top, bottom, start, end = max(down, 0), height + min(down, 0), max(right, 0), width + min(right, 0)
    visible = image[top - down : bottom - down, start - right : end - right].copy()
    image[:] = border
    image[top:bottom, start:end] = visible
