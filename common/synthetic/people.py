"""A set of synthetic people in the layout, the names and the attribute file of Market-1501.

It replaces a real set in tests, demonstrations and continuous integration. Six cameras have their own light, colors,
sharpness and viewpoints; poses vary, people are occluded, boxes are off, and people share the colors of their clothes.
Scores on it compare methods with each other, not with published numbers.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import scipy.io
from tqdm import tqdm

from common.files import temporary_name
from common.synthetic.cameras import CAMERAS, photograph
from common.synthetic.drawing import Person, random_person

_VERSION = 1  # of the drawing: part of the folder's name, so that a set of another version is not taken for this one


def draw_people(
    root: Path | None = None, *, identities: int = 200, cameras: int = 6, images_per_camera: int = 3, seed: int = 0
) -> Path:
    """Draws a set unless it exists, and returns its folder, which `read_market1501` reads.

    Half of the identities are for training, half for testing: of these an image per camera is a query and the
    others are in the gallery, among distractors (identity 0) and junk (identity -1). The set is a function of the
    arguments, on one version of OpenCV. The folder's name holds the arguments, so each set has a folder of its own.
    The folder appears when all images are written.

    Args:
        root: folder of the set's folder; None is a folder in the user's cache.
        identities: people to tell apart.
        cameras: 2 to 6.
        images_per_camera: of each identity, at least 2.
        seed: of everything.

    Raises:
        ValueError: a number is out of its range.
    """
    if identities < 4 or not 2 <= cameras <= len(CAMERAS) or images_per_camera < 2:
        raise ValueError(
            f"Expected at least 4 identities, 2 to {len(CAMERAS)} cameras and at least 2 images per camera, "
            f"got {identities}, {cameras} and {images_per_camera}."
        )
    root = root or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "image_embeddings"
    folder = Path(root) / f"people-v{_VERSION}-{identities}x{cameras}x{images_per_camera}-seed{seed}"
    if folder.is_dir():
        return folder
    temporary = temporary_name(folder)
    temporary.mkdir(parents=True)
    try:
        _draw_into(temporary, identities, cameras, images_per_camera, seed)
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster; its set is the same
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _draw_into(folder: Path, identities: int, cameras: int, images_per_camera: int, seed: int) -> None:
    rng = np.random.default_rng([seed, 0])
    people = {identity: random_person(rng) for identity in range(1, identities + 1)}
    train, test = (np.sort(part) for part in np.split(rng.permutation(identities) + 1, [identities // 2]))
    strangers = [random_person(rng) for _ in range(identities // 2)]
    jobs: list[tuple[str, int, int, int, Person]] = []  # folder, identity, camera, number, who
    for camera in range(1, cameras + 1):
        for number in range(images_per_camera):
            jobs += [("bounding_box_train", i, camera, number, people[i]) for i in train]
            jobs += [("query" if number == 0 else "bounding_box_test", i, camera, number, people[i]) for i in test]
        jobs += [("bounding_box_test", 0, camera, n, person) for n, person in enumerate(strangers)]
        jobs += [("bounding_box_test", -1, camera, n, people[i]) for n, i in enumerate(test[: len(test) // 4])]
    for name in {job[0] for job in jobs}:
        (folder / name).mkdir()
    everybody = [*people.values(), *strangers]
    # In one thread: the strokes are so short that more of them would wait for each other.
    for split, identity, camera, number, person in tqdm(jobs, "drawing people", unit="image"):
        random = np.random.default_rng([seed, 1, identity + 1, camera, number])
        passer_by = everybody[random.integers(len(everybody))]
        # Junk is what a detector boxes by mistake: a part of a person.
        miss = random.uniform(0.35, 0.5) if identity == -1 else 0.0
        image = photograph(person, CAMERAS[camera - 1], random, passer_by, miss=miss)
        label = "-1" if identity == -1 else f"{identity:04d}"
        CAMERAS[camera - 1].write(folder / split / f"{label}_c{camera}s1_{number:06d}_00.jpg", image)
    splits = {name: _attributes(people, part) for name, part in (("train", train), ("test", test))}
    scipy.io.savemat(folder / "market_attribute.mat", {"market_attribute": splits})


def _attributes(people: dict[int, Person], part: np.ndarray) -> dict[str, np.ndarray]:
    """The struct of a split in `market_attribute.mat`: fields of (1, N) uint8 and the identities as text."""
    rows = [people[i].attributes() for i in part]
    fields = {name: np.array([[row[name] for row in rows]], "uint8") for name in rows[0]}
    return {**fields, "image_index": np.array([[f"{i:04d}" for i in part]], object)}
