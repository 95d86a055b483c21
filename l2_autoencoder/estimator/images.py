"""Images as the users of scikit-learn have them: stacks, rows of pixels, lists, tables."""

import math
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

Images = Any  # arrays (N, H, W), (N, H, W, C) or (N, pixels), lists of these, data frames of pixels


def validated_images(estimator: BaseEstimator, X: Images, fitting: bool) -> np.ndarray:
    """Images (N, H, W, C), float32; where they are those to fit, their shape and range become the estimator's.

    Raises:
        ValueError: no images, of other shapes than `image_shape` or those of fit, or values that are not finite.
    """
    if isinstance(X, (list, tuple)):
        X = _stacked(X)
    ndim, shape = getattr(X, "ndim", 2), None
    if ndim in (3, 4):
        X = np.asarray(X)
        shape = tuple(X.shape[1:]) if ndim == 4 else (*X.shape[1:], 1)
        X = X.reshape(len(X), math.prod(shape))
    X = validate_data(estimator, X, reset=fitting, dtype="float32")
    expected = _checked_shape(estimator.image_shape) if fitting else estimator.image_shape_
    if shape is None:
        shape = expected or (X.shape[1], 1, 1)
        if math.prod(shape) != X.shape[1]:
            raise ValueError(f"image_shape {shape} does not fit rows of {X.shape[1]} pixels.")
    elif expected is not None and shape != expected:
        source = "image_shape says" if fitting else "in fit"
        raise ValueError(f"Expected images of shape {expected} as {source}, got {shape}.")
    low, high = float(X.min()), float(X.max())
    if fitting:
        estimator.image_shape_, estimator.pixel_range_ = shape, (low, high)
        _warn_of_range(low, high)
        _warn_of_width(shape, estimator.architecture)
    elif _is_unit(*estimator.pixel_range_):  # others have been warned of in fit
        _warn_of_range(low, high)
    return X.reshape(-1, *shape)


def _stacked(images: list[Any] | tuple[Any, ...]) -> Any:
    """Images of one shape as one array; rows of numbers are left to scikit-learn."""
    if not images or np.ndim(images[0]) < 2:
        return images
    shapes = {np.shape(image) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"Expected images of one shape, got {sorted(shapes, key=str)}; resize them.")
    return np.stack([np.asarray(image) for image in images])


def _checked_shape(shape: Any) -> tuple[int, int, int] | None:
    if shape is None:
        return None
    sizes = np.asarray(shape)
    if sizes.shape != (3,) or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError(f"image_shape must be (height, width, channels), three integers from 1 on, got {shape}.")
    return tuple(int(size) for size in sizes)


def _is_unit(low: float, high: float) -> bool:
    return low >= -1e-5 and high <= 1 + 1e-5


def _warn_of_range(low: float, high: float) -> None:
    if _is_unit(low, high):
        return
    remedy = f"divide them by {255 if high > 16 else 16 if high > 1.5 else high:g}" if low >= 0 else "scale them"
    _warn(f"Pixels are expected from 0 to 1, got {low:g} to {high:g}; {remedy}.")


def _warn_of_width(shape: tuple[int, int, int], architecture: str) -> None:
    height, width, channels = shape
    if architecture != "convolutional" or min(height, width) > 1 or max(height, width) == 1:
        return
    side = math.isqrt(height * width)
    example = f" such as ({side}, {side}, {channels})" if side * side == height * width else ""
    _warn(
        f"Images of {height}×{width} pixels are convolved along one axis; pass image_shape=(height, width, "
        f'channels){example}, or choose architecture="dense".'
    )


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
