"""A set of drawn vehicles in the layout and the names of VERI-Wild.

It stands in for a real set where there is none: in tests, demonstrations and continuous integration. Eight types of
different outline and frequency; twelve makes that differ in small things; colours that tell neither; six cameras with
their own light, colours, sharpness and viewpoints. Scores on it compare methods with each other, not with published
numbers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.datasets.drawn import draw_once
from common.datasets.vehicle_bodies import TYPES
from common.datasets.vehicle_cameras import CAMERAS, photograph
from common.datasets.vehicle_drawing import COLOR_SHARES, COLORS, Vehicle, random_vehicle
from common.datasets.vehicle_makes import MAKES

_VERSION = 1  # of the drawing: part of the folder's name, so that a set of another version is not taken for this one
_FEWEST = 48  # vehicles: four of each make
_FEWEST_OF_TYPE = 5  # two on a side and one more
_HEADER = "id/image;Camera ID;Time;Model;Type;Color"
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Plan:
    """What a vehicle is and which side it is on."""

    type: str
    make: str
    color: str
    train: bool


def draw_vehicles(
    root: Path | None = None, *, vehicles: int = 240, cameras: int = 6, images_per_camera: int = 2, seed: int = 0
) -> Path:
    """Draws a set, or finds it drawn, and returns its folder, which `read_veri_wild` reads.

    Half of the vehicles are for training, half for testing: of these an image per camera is a query and the others
    are in the gallery. Each type and each make has at least two vehicles on each side. The column Model holds the
    make. The set is a function of the arguments, on one version of OpenCV. The folder's name tells the arguments, so
    sets with other arguments stand side by side, and it appears when all images are written.

    Args:
        root: where the set's folder is or will be; None is a folder in the user's cache.
        vehicles: to tell apart, at least 48.
        cameras: 2 to 6.
        images_per_camera: of each vehicle, at least 2.
        seed: of everything.

    Raises:
        ValueError: a number is out of its range.
    """
    if vehicles < _FEWEST or not 2 <= cameras <= len(CAMERAS) or images_per_camera < 2:
        raise ValueError(
            f"Expected at least {_FEWEST} vehicles, 2 to {len(CAMERAS)} cameras and at least 2 images per camera, "
            f"got {vehicles}, {cameras} and {images_per_camera}."
        )
    name = f"vehicles-v{_VERSION}-{vehicles}x{cameras}x{images_per_camera}-seed{seed}"
    return draw_once(root, name, lambda folder: _draw_into(folder, vehicles, cameras, images_per_camera, seed))


def plan(vehicles: int, seed: int) -> list[Plan]:
    """What is drawn, in no order: each type has its share of the vehicles, or a few at least.

    Makes take turns in a row of all vehicles, which is sorted by type; each make's vehicles go to alternate sides.
    Colours follow the multiples of the golden ratio, whose fractions are spread evenly in any stretch of the row and
    of a make's vehicles, so that a colour tells neither the type nor the make.
    """
    rng = np.random.default_rng([seed, 0])
    counts = _counts([form.share for form in TYPES.values()], vehicles)
    types = [kind for kind, count in zip(TYPES, counts) for _ in range(count)]
    makes = rng.permutation(list(MAKES)).tolist()
    start, edges = rng.random(), np.cumsum(COLOR_SHARES[:-1])
    colors = [list(COLORS)[np.searchsorted(edges, (start + _GOLDEN * i) % 1, "right")] for i in range(vehicles)]
    turn = len(makes)
    plans = [Plan(types[i], makes[i % turn], colors[i], (i + i // turn) % 2 == 0) for i in range(vehicles)]
    return [plans[i] for i in rng.permutation(vehicles)]


def _counts(shares: list[float], total: int) -> list[int]:
    """Whole numbers that add up to a total, near to shares of it, and none below the fewest of a type."""
    counts = [max(_FEWEST_OF_TYPE, int(share * total)) for share in shares]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        # Up where most is missing to the share, down where most is beyond it.
        costs = [
            np.inf if count + step < _FEWEST_OF_TYPE else step * (count - share * total)
            for count, share in zip(counts, shares)
        ]
        counts[int(np.argmin(costs))] += step
    return counts


def _draw_into(folder: Path, vehicles: int, cameras: int, images_per_camera: int, seed: int) -> None:
    plans, rng = plan(vehicles, seed), np.random.default_rng([seed, 1])
    everything = [random_vehicle(rng, one.type, one.make, one.color) for one in plans]
    info, lists = [_HEADER], {"train_list": [], "test_10000": [], "test_10000_query": []}

    def draw(identity: int, vehicle: Vehicle, camera: int, number: int, path: Path) -> str:
        own = np.random.default_rng([seed, 2, identity, camera, number])
        passing = everything[own.integers(len(everything))]
        seen_by = CAMERAS[camera - 1]
        seen_by.write(path, photograph(vehicle, seen_by, own, passing))
        day, second = own.integers((0, 0), (30, 4 * 3600)).tolist()
        second += (8 if seen_by.daylight > 0.6 else 19) * 3600
        clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        return f"{camera};2018-03-{1 + day:02d} {clock};{vehicle.make};{vehicle.type};{vehicle.color}"

    # In one thread: the strokes are so short that more of them would wait for each other.
    for identity, (one, vehicle) in enumerate(tqdm(list(zip(plans, everything)), "drawing vehicles"), 1):
        (folder / "images" / f"{identity:05d}").mkdir(parents=True)
        for camera in range(1, cameras + 1):
            for number in range(images_per_camera):
                image = f"{identity:05d}/{len(info):06d}"
                path = folder / "images" / f"{image}.jpg"
                info.append(f"{image};{draw(identity, vehicle, camera, number, path)}")
                side = "train_list" if one.train else "test_10000_query" if number == 0 else "test_10000"
                lists[side].append(image)
    (folder / "train_test_split").mkdir()
    for name, lines in {"vehicle_info": info, **lists}.items():
        (folder / "train_test_split" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
