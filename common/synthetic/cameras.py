"""Six cameras that look at synthetic people: each has its own place, light, colors, sharpness and viewpoint."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from common.synthetic.drawing import HEIGHT, WIDTH, ZOOM, Body, Color, Person

VIEWS = ("front", "back", "left", "right")
_W, _H = WIDTH * ZOOM, HEIGHT * ZOOM
_SCENE = (_H + 48, 4 * _W, 3)  # a camera's field of view, of which a box shows a part
_HORIZON = 190


def _plaza(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:] = (164, 160, 154)
    for i in range(-4, 18):
        cv2.line(scene, (i * 40 - 60, _SCENE[0]), (i * 28 + 40, 0), (138, 134, 128), 2, cv2.LINE_AA)
    for i in range(7):
        cv2.line(scene, (0, i * i * 8), (_SCENE[1], i * i * 8), (138, 134, 128), 2)


def _lawn(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:_HORIZON] = (112, 128, 88)
    scene[_HORIZON:] = (150, 140, 118)
    for x, y, radius in rng.integers((0, 0, 18), (_SCENE[1], 110, 46), (18, 3)).tolist():
        cv2.circle(scene, (x, y), radius, (74, 94 + radius // 2, 66), -1, cv2.LINE_AA)


def _street(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:] = (122, 124, 128)
    scene[:70] = (138, 126, 116)
    for x in range(60, 400, 46):
        corners = np.array([[x, 280], [x + 22, 280], [300 + (x - 256) // 2, 130], [290 + (x - 256) // 2, 130]])
        cv2.fillPoly(scene, [corners], (186, 186, 180), cv2.LINE_AA)


def _corridor(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:_HORIZON] = (184, 178, 164)
    scene[_HORIZON:] = (120, 100, 84)
    for x in range(30, _SCENE[1], 130):
        cv2.rectangle(scene, (x, 40), (x + 60, _HORIZON), (134, 102, 76), -1)
    cv2.rectangle(scene, (0, _HORIZON - 8), (_SCENE[1], _HORIZON), (84, 74, 66), -1)


def _bricks(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:] = (146, 108, 92)
    for y in range(0, _HORIZON, 14):
        cv2.line(scene, (0, y), (_SCENE[1], y), (172, 152, 138), 2)
        for x in range(y % 28, _SCENE[1], 28):
            cv2.line(scene, (x, y), (x, y + 14), (172, 152, 138), 2)
    scene[_HORIZON + 20 :] = (126, 126, 124)


def _shops(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:] = (156, 150, 158)
    for x in range(0, _SCENE[1], 44):
        cv2.rectangle(scene, (x, 24), (x + 38, int(rng.integers(130, 180))), rng.integers(90, 200, 3).tolist(), -1)
    scene[_HORIZON:] = (112, 108, 118)


@dataclass(frozen=True)
class Camera:
    """What stays the same from picture to picture of a camera."""

    cast: Color  # factor of red, green and blue
    gain: float
    gamma: float
    light: float  # the picture's right half is brighter by this share than its left
    detail: float  # share of the picture's pixels that the camera resolved, along a side
    blur: float  # pixels, standard deviation
    noise: float  # gray levels, standard deviation
    quality: int  # of JPEG
    draw_scene: Callable[[np.ndarray, np.random.Generator], None]
    views: tuple[float, float, float, float]  # how often it sees the front, the back, people heading left and right
    flattening: float  # how much it looks down
    size: float  # a person's height in that of the box

    @functools.cached_property
    def scene(self) -> np.ndarray:
        """What the camera looks at, without people, (H, W, 3) uint8; it does not move."""
        scene = np.empty(_SCENE, "uint8")
        self.draw_scene(scene, np.random.default_rng(0))
        return scene

    def develop(self, canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Lens, sensor and white balance: (128, 64, 3) uint8 of a larger canvas."""
        image = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        resolved = (round(WIDTH * self.detail), round(HEIGHT * self.detail))
        image = cv2.resize(cv2.resize(image, resolved), (WIDTH, HEIGHT))
        image = cv2.GaussianBlur(image, (0, 0), self.blur * rng.uniform(0.6, 1.6))
        light = 1 + self.light * np.linspace(-0.5, 0.5, WIDTH, dtype="float32")[:, np.newaxis]
        noise = self.noise * rng.standard_normal((HEIGHT, WIDTH, 1), "float32")
        image = np.clip(image * light + noise, 0, 255).astype("uint8")
        factors = self.gain * rng.uniform(0.85, 1.15) * np.array(self.cast) * rng.normal(1, 0.02, 3)
        curve = 255 * (np.arange(256)[:, np.newaxis] / 255 * factors) ** self.gamma
        return cv2.LUT(image, np.clip(curve, 0, 255).astype("uint8")[np.newaxis])

    def write(self, path: Path, image: np.ndarray) -> None:
        """As JPEG of the camera's quality; (H, W, 3) uint8, RGB."""
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        # Unlike imwrite, it raises when the disk is full.
        path.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes())


CAMERAS = (
    Camera((1.04, 1.0, 0.94), 1.1, 0.95, 0.1, 1.0, 0.5, 4, 92, _plaza, (0.55, 0.15, 0.15, 0.15), 0.0, 0.95),
    Camera((0.93, 1.03, 0.92), 0.9, 1.05, -0.2, 0.8, 0.6, 5, 85, _lawn, (0.15, 0.55, 0.15, 0.15), 0.08, 0.92),
    Camera((0.92, 0.98, 1.1), 0.95, 1.1, 0.2, 0.65, 0.5, 6, 75, _street, (0.15, 0.15, 0.55, 0.15), 0.15, 0.98),
    Camera((1.1, 1.0, 0.86), 0.9, 1.0, -0.1, 0.9, 0.8, 7, 80, _corridor, (0.4, 0.4, 0.1, 0.1), 0.22, 0.9),
    Camera((1.0, 0.97, 1.02), 0.75, 1.05, 0.3, 0.75, 0.6, 8, 70, _bricks, (0.15, 0.15, 0.15, 0.55), 0.04, 0.94),
    Camera((1.04, 0.96, 1.06), 1.2, 0.85, -0.3, 0.55, 0.4, 6, 65, _shops, (0.25, 0.25, 0.25, 0.25), 0.12, 1.0),
)  # fmt: skip


def photograph(
    person: Person, camera: Camera, rng: np.random.Generator, passer_by: Person, *, miss: float = 0.0
) -> np.ndarray:
    """The box of a person, as a camera and a detector give it: (128, 64, 3) uint8, RGB.

    Args:
        person: who stands in the box.
        camera: where.
        rng: of pose, background, occlusion and the like.
        passer_by: who may cover a part of the person or stand behind.
        miss: how far the box is off, in its own width and height.
    """
    y, x = rng.integers((_SCENE[0] - _H, _SCENE[1] - _W))
    canvas = camera.scene[y : y + _H, x : x + _W].copy()
    around = rng.random()
    if around < 0.25:
        _body(canvas, passer_by, camera, rng, aside=True).draw()
    body = _body(canvas, person, camera, rng, miss=miss)
    feet = (round(body.x), round(body.top + body.size))
    cv2.ellipse(canvas, feet, (36, 9), 0, 0, 360, (canvas[-1, 0] * 0.6).tolist(), -1)
    body.draw()
    if around > 0.9:
        _body(canvas, passer_by, camera, rng, aside=True).draw()
    elif around > 0.78:
        _obstacle(canvas, rng)
    return camera.develop(canvas, rng)


def _body(
    canvas: np.ndarray,
    person: Person,
    camera: Camera,
    rng: np.random.Generator,
    *,
    aside: bool = False,
    miss: float = 0,
) -> Body:
    size = _H * camera.size * person.stature * rng.uniform(0.92, 1.1)
    x, feet = _W * rng.normal(0.5, 0.05), _H * rng.normal(0.97, 0.02)
    if aside:
        x += _W * rng.choice([-1, 1]) * rng.uniform(0.35, 0.6)
    x, feet = x + _W * miss * rng.choice([-1, 1]), feet + _H * miss * rng.choice([-1, 1])
    # rng.choice(p=…) is a hundred times slower.
    view = VIEWS[np.searchsorted(np.cumsum(camera.views[:3]), rng.random())]
    return Body(canvas, person, view, rng.uniform(-1, 1), x, feet - size, size, camera.flattening)


def _obstacle(image: np.ndarray, rng: np.random.Generator) -> None:
    """A pole, or something low such as a bench or a bush."""
    color = (rng.integers(40, 150) * np.array([1, 1, 1]) + rng.integers(-20, 20, 3)).tolist()
    if rng.random() < 0.5:
        x = int(rng.integers(10, _W - 30))
        cv2.rectangle(image, (x, 0), (x + int(rng.integers(10, 24)), _H), color, -1)
    else:
        cv2.rectangle(image, (0, int(_H * rng.uniform(0.62, 0.8))), (_W, _H), color, -1)
