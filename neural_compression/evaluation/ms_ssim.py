"""MS-SSIM, multi-scale structural similarity (Wang, Simoncelli and Bovik, Asilomar 2003), next to PSNR."""

import numpy as np

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from the image itself to a sixteenth of it
WINDOW = 11  # pixels of the window's side, a Gaussian
_DEVIATION = 1.5  # of the Gaussian
_LUMINANCE, _CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # what keeps dark and flat parts from 0 / 0


def ms_ssim(image: np.ndarray, decoded: np.ndarray) -> float | None:
    """How alike two images are, up to 1: the mean over red, green and blue.

    Args:
        image: (H, W, 3) uint8.
        decoded: likewise.

    Returns:
        None for images with a side of less than 161 pixels, of which the smallest scale is less than a window.

    Example:
        >>> ms_ssim(np.zeros((161, 200, 3), "uint8"), np.zeros((161, 200, 3), "uint8"))
        1.0
    """
    first, second = image.astype(np.float64), decoded.astype(np.float64)
    if -(-min(image.shape[:2]) // 2 ** (len(WEIGHTS) - 1)) < WINDOW:
        return None
    product = np.ones(3)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            first, second = _halved(first), _halved(second)
        luminance, structure = _similarities(first, second)
        last = scale == len(WEIGHTS) - 1
        product *= np.maximum((luminance * structure if last else structure).mean((0, 1)), 0) ** weight
    return float(product.mean())


def _similarities(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of luminance, and of contrast and structure, in all windows that lie within the images: (h, w, 3) each."""
    means = _windowed(first), _windowed(second)
    products, squares = means[0] * means[1], means[0] ** 2 + means[1] ** 2
    covariance, variances = _windowed(first * second) - products, _windowed(first**2 + second**2) - squares
    luminance = (2 * products + _LUMINANCE) / (squares + _LUMINANCE)
    return luminance, (2 * covariance + _CONTRAST) / (variances + _CONTRAST)


def _windowed(image: np.ndarray) -> np.ndarray:
    import cv2  # takes a while to load, which coding an image need not

    border = WINDOW // 2
    return cv2.GaussianBlur(image, (WINDOW, WINDOW), _DEVIATION)[border:-border, border:-border]


def _halved(image: np.ndarray) -> np.ndarray:
    """The means of 2×2 pixels, (⌈H/2⌉, ⌈W/2⌉, 3); an odd side is longer by its last pixels."""
    height, width = (size + size % 2 for size in image.shape[:2])
    padded = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), mode="edge")
    return padded.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
