"""What the drawn sets share: the cache of whole sets, and a camera's lens, sensor and white balance."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.files import beside

Color = tuple[float, float, float]  # red, green and blue


def draw_once(root: Path | None, name: str, draw: Callable[[Path], None]) -> Path:
    """The folder `name` in `root`, which `draw` fills unless it is there; it appears when all is written.

    `name` tells all that the set depends on, so sets of other arguments stand side by side. `root` None is a folder
    in the user's cache.
    """
    if root is None:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "image_embeddings"
    folder = Path(root) / name
    if folder.is_dir():
        return folder
    temporary = beside(folder)
    temporary.mkdir(parents=True)
    try:
        draw(temporary)
        _rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:  # another process was faster; its set is the same
        if not folder.is_dir():
            raise


@dataclass(frozen=True)
class Sensor:
    """What a camera does to every picture, whatever it looks at."""

    cast: Color  # factor of red, green and blue
    gain: float
    gamma: float
    light: float  # the picture's right half is brighter by this share than its left
    detail: float  # share of the picture's pixels that the camera resolved, along a side
    blur: float  # pixels, standard deviation
    noise: float  # grey levels, standard deviation
    quality: int  # of JPEG

    def develop(self, canvas: np.ndarray, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        """Lens, sensor and white balance: (height, width, 3) uint8 of a larger canvas."""
        image = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        resolved = (round(width * self.detail), round(height * self.detail))
        image = cv2.resize(cv2.resize(image, resolved), (width, height))
        image = cv2.GaussianBlur(image, (0, 0), self.blur * rng.uniform(0.6, 1.6))
        light = 1 + self.light * np.linspace(-0.5, 0.5, width, dtype="float32")[:, np.newaxis]
        noise = self.noise * rng.standard_normal((height, width, 1), "float32")
        image = np.clip(image * light + noise, 0, 255).astype("uint8")
        factors = self.gain * rng.uniform(0.85, 1.15) * np.array(self.cast) * rng.normal(1, 0.02, 3)
        curve = 255 * (np.arange(256)[:, np.newaxis] / 255 * factors) ** self.gamma
        return cv2.LUT(image, np.clip(curve, 0, 255).astype("uint8")[np.newaxis])

    def write(self, path: Path, image: np.ndarray) -> None:
        """As JPEG of the camera's quality; (H, W, 3) uint8, RGB."""
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        # Unlike imwrite, it raises when the disk is full.
        path.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1])
