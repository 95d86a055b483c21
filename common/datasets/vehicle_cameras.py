"""Six cameras that look at drawn vehicles: each has its own place, light, colours, sharpness and viewpoint."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from common.datasets.drawn import Sensor
from common.datasets.vehicle_drawing import HEIGHT, WIDTH, ZOOM, Vehicle, fitted

# Where a vehicle heads, in radians as in `Solids.project`.
VIEWS = {"front": 0.0, "rear": math.pi, "left": -math.pi / 2, "right": math.pi / 2}
_SPREAD = 0.45  # radians that it may head elsewhere
_W, _H = WIDTH * ZOOM, HEIGHT * ZOOM
_SCENE = (_H + 48, 4 * _W, 3)  # a camera's field of view, of which a box shows a part
_HORIZON = 96

Box = tuple[float, float, float, float]  # left, top, right and bottom


def _road(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:_HORIZON] = (124, 138, 104)
    scene[:40] = (176, 190, 206)
    scene[_HORIZON:] = (118, 118, 122)
    cv2.rectangle(scene, (0, _HORIZON - 8), (_SCENE[1], _HORIZON), (160, 160, 158), -1)
    for y, thick in ((112, 2), (150, 4), (214, 6)):
        for x in range(-(y % 40), _SCENE[1], 90):
            cv2.line(scene, (x, y), (x + 46, y), (214, 214, 206), thick)


def _bridge(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:_HORIZON] = (170, 182, 196)
    scene[_HORIZON:] = (142, 140, 136)
    for x in range(0, _SCENE[1], 26):
        cv2.rectangle(scene, (x, 44), (x + 6, _HORIZON), (104, 110, 118), -1)
    for y in (40, 66, 90):
        cv2.rectangle(scene, (0, y), (_SCENE[1], y + 6), (92, 98, 106), -1)
    for x in range(0, _SCENE[1], 256):
        cv2.line(scene, (x, 0), (x + 90, _HORIZON), (84, 88, 96), 8, cv2.LINE_AA)


def _parking(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:] = (112, 112, 112)
    scene[:60] = (150, 122, 104)
    for x in range(-200, _SCENE[1] + 200, 96):
        cv2.line(scene, (x, 66), (x + (x - 512) // 3, _SCENE[0]), (206, 204, 190), 4, cv2.LINE_AA)
    for x, y, radius in rng.integers((0, 90, 8), (_SCENE[1], _SCENE[0], 26), (26, 3)).tolist():
        cv2.ellipse(scene, (x, y), (radius, radius // 3), 0, 0, 360, (92, 92, 94), -1, cv2.LINE_AA)


def _night(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:] = (26, 28, 38)
    scene[_HORIZON:] = (46, 44, 46)
    for x in range(20, _SCENE[1], 74):
        shop = np.array((150, 120, 70)) * rng.uniform(0.4, 1.3) + rng.uniform(-30, 30, 3)
        cv2.rectangle(scene, (x, 30), (x + int(rng.integers(24, 60)), 84), shop.clip(0, 255).tolist(), -1)
    for x in range(60, _SCENE[1], 190):
        cv2.ellipse(scene, (x, 170), (80, 30), 0, 0, 360, (84, 78, 62), -1, cv2.LINE_AA)
        cv2.circle(scene, (x, 14), 8, (255, 240, 190), -1, cv2.LINE_AA)


def _avenue(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:_HORIZON] = (98, 118, 78)
    scene[_HORIZON:] = (128, 122, 116)
    for x, y, radius in rng.integers((0, 0, 16), (_SCENE[1], 70, 44), (60, 3)).tolist():
        cv2.circle(scene, (x, y), radius, (62 + radius, 90 + radius, 54), -1, cv2.LINE_AA)
    for x in range(40, _SCENE[1], 120):
        cv2.rectangle(scene, (x, 56), (x + 14, _HORIZON + 6), (88, 70, 54), -1)
    # The trees' shadows.
    for x, y, radius in rng.integers((0, 110, 14), (_SCENE[1], _SCENE[0], 46), (34, 3)).tolist():
        cv2.ellipse(scene, (x, y), (radius, radius // 3), 0, 0, 360, (92, 90, 90), -1, cv2.LINE_AA)


def _tunnel(scene: np.ndarray, rng: np.random.Generator) -> None:
    scene[:] = (176, 164, 132)
    scene[_HORIZON:] = (98, 92, 84)
    cv2.rectangle(scene, (0, 20), (_SCENE[1], 28), (255, 246, 214), -1)
    for x in range(0, _SCENE[1], 64):
        cv2.line(scene, (x, 28), (x, _HORIZON), (146, 134, 106), 2)
    for x in range(0, _SCENE[1], 32):
        cv2.rectangle(scene, (x, _HORIZON - 12), (x + 16, _HORIZON), (190, 150, 40), -1)


@dataclass(frozen=True)
class Camera(Sensor):
    """What stays the same from picture to picture of a camera."""

    draw_scene: Callable[[np.ndarray, np.random.Generator], None]
    views: tuple[float, float, float, float]  # how often it sees the front, the rear, vehicles heading left and right
    pitch: float  # radians that it looks down
    daylight: float  # on vehicles

    @functools.cached_property
    def scene(self) -> np.ndarray:
        """What the camera looks at, without vehicles; it does not move."""
        scene = np.empty(_SCENE, "uint8")
        self.draw_scene(scene, np.random.default_rng(0))
        return scene


CAMERAS = (
    Camera((1.03, 1.0, 0.95), 1.05, 0.95, 0.1, 1.0, 0.4, 3, 92, _road, (0.5, 0.2, 0.15, 0.15), 0.16, 1.0),
    Camera((0.92, 1.0, 1.08), 0.95, 1.05, -0.2, 0.8, 0.5, 4, 85, _bridge, (0.2, 0.5, 0.15, 0.15), 0.22, 1.0),
    Camera((1.0, 1.02, 0.96), 0.85, 1.0, 0.25, 0.9, 0.5, 4, 80, _parking, (0.35, 0.35, 0.15, 0.15), 0.3, 0.95),
    Camera((1.12, 0.98, 0.84), 1.05, 0.85, -0.2, 0.7, 0.6, 7, 80, _night, (0.4, 0.3, 0.15, 0.15), 0.14, 0.5),
    Camera((0.95, 1.05, 0.92), 0.9, 1.1, -0.3, 0.75, 0.5, 5, 75, _avenue, (0.2, 0.2, 0.3, 0.3), 0.1, 0.9),
    Camera((1.14, 1.0, 0.78), 0.95, 0.95, 0.2, 0.65, 0.5, 5, 75, _tunnel, (0.3, 0.4, 0.15, 0.15), 0.2, 0.8),
)  # fmt: skip


def photograph(vehicle: Vehicle, camera: Camera, rng: np.random.Generator, passing: Vehicle) -> np.ndarray:
    """The box of a vehicle, as a camera and a detector give it: (H, W, 3) uint8, RGB, at most 96 × 128 pixels.

    Args:
        vehicle: what the box is about.
        camera: where.
        rng: of viewpoint, background, occlusion and the like.
        passing: what may cover a part of the vehicle or stand behind.
    """
    y, x = rng.integers((_SCENE[0] - _H, _SCENE[1] - _W))
    canvas = camera.scene[y : y + _H, x : x + _W].copy()
    around = rng.random()
    if around < 0.25:
        _draw(canvas, passing, camera, rng, beside=-1)
    box = _draw(canvas, vehicle, camera, rng)
    if around > 0.92:
        _draw(canvas, passing, camera, rng, beside=1)
    elif around > 0.8:
        _obstacle(canvas, box, rng, camera.daylight)
    left, top, right, bottom = _detected(box, rng)
    width, height = (right - left) // ZOOM, (bottom - top) // ZOOM
    return camera.develop(canvas[top:bottom, left:right], width, height, rng)


def _draw(canvas: np.ndarray, vehicle: Vehicle, camera: Camera, rng: np.random.Generator, *, beside: int = 0) -> Box:
    """Draws the picture's vehicle, or another one: -1 behind it, 1 before it. Where it is."""
    # rng.choice(p=…) is a hundred times slower.
    view = list(VIEWS.values())[np.searchsorted(np.cumsum(camera.views[:3]), rng.random())]
    yaw, pitch = view + rng.uniform(-_SPREAD, _SPREAD), camera.pitch + rng.uniform(-0.04, 0.04)
    center, bottom = 0.5 * _W, 0.95 * _H
    if beside:
        center += _W * rng.choice([-1, 1]) * rng.uniform(0.55, 0.75)
        bottom += _H * beside * rng.uniform(0.05, 0.25)
    solids = vehicle.solids
    points = fitted(solids.project(yaw, pitch, vehicle.size), center, bottom, 0.92 * _W, 0.88 * _H)
    shadow = (canvas[-1, 0] * 0.6).tolist()
    solids.draw(canvas, points, yaw, light=camera.daylight * rng.uniform(0.9, 1.1), lamps=1.0, shadow=shadow)
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def _detected(box: Box, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The box that a detector gives: a little off on each side, and seldom without a part of the vehicle."""
    left, top, right, bottom = box
    margins = rng.uniform(-0.02, 0.08, 4) * [right - left, bottom - top, right - left, bottom - top]
    if rng.random() < 0.1:
        margins[2 * rng.integers(2)] = -rng.uniform(0.08, 0.2) * (right - left)
    left, top = max(0, int(left - margins[0])), max(0, int(top - margins[1]))
    return left, top, min(_W, int(right + margins[2])), min(_H, int(bottom + margins[3]))


def _obstacle(image: np.ndarray, box: Box, rng: np.random.Generator, light: float) -> None:
    """A pole, or something low such as a barrier or a hedge, which hides the foot of a vehicle."""
    color = (light * (rng.integers(50, 160) * np.array([1, 1, 1]) + rng.integers(-20, 20, 3))).tolist()
    if rng.random() < 0.6:
        x = int(box[0] + rng.uniform(0.05, 0.85) * (box[2] - box[0]))
        cv2.rectangle(image, (x, 0), (x + int(rng.integers(12, 28)), _H), color, -1)
    else:
        cv2.rectangle(image, (0, int(box[1] + (box[3] - box[1]) * rng.uniform(0.65, 0.85))), (_W, _H), color, -1)
