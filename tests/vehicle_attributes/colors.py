"""Cars that are colors, a network that is a known function of these, and what it must recognize, computed apart."""

import cv2
import keras
import numpy as np
from keras import layers

from tests.vehicle_attributes.layouts import column, write_compcars
from vehicle_attributes.config import Config
from vehicle_attributes.recognizer import Recognizer

TYPES, MAKES = ["bus", "car", "van"], ["Audi", "BMW", "Kia", "Seat", "Zastava"]
# The order of a classifier's outputs is that of its file. The colors that it takes for the classes, in degrees.
CLASSES = {"type": ["van", "bus", "car"], "make": ["Seat", "Audi", "Kia", "BMW"]}
CENTERS = {"van": 110, "bus": 5, "car": 70, "Seat": 130, "Audi": 0, "Kia": 90, "BMW": 40}
SHIFT = {
    "untrained": 0.8,
    "cross_entropy": 0.0,
    "triplet": -1.5,
    "arcface": 0.3,
}  # so that each loss has neighbors of its own
SIZE = (32, 48)
CONFIG = Config(
    name="run",
    dataset="compcars",
    attributes=("type", "make"),
    image_size=SIZE,
    losses=("cross_entropy", "triplet"),
    seeds=(2,),
    exemplars=13,
)


def color(angle):
    """RGB of an angle in degrees: red and green go around a circle, blue says nothing."""
    return tuple(int(round(128 + 100 * part)) for part in (np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0))


def write_cars(root):
    """CompCars, with a color in each box and the opposite one around it; a make is in the test alone."""
    random = np.random.default_rng(5)
    lists, images, labels = {"train": [], "test": []}, {}, {}
    angles = random.permutation(np.linspace(-30, 150, 86) + random.uniform(-0.8, 0.8, 86))  # no two of one color
    for i, angle in enumerate(angles):
        split = "train" if i < 60 else "test"
        kind = 1 + np.argmin(np.abs(np.array([5, 70, 110]) - angle - random.normal(0, 25)))
        make = 1 + np.argmin(np.abs(np.array([0, 40, 90, 130]) - angle - random.normal(0, 20)))
        line = f"{5 if i == 85 else make}/{kind}/2010/{i:02}.png"
        left, top = random.integers(0, 9, 2)
        picture = np.full((30, 40, 3), color(angle + 180), "uint8")
        picture[top : top + 20, left : left + 30] = color(angle)
        lists[split].append(line)
        images[line] = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
        labels[line] = f"1\n1\n{left + 1} {top + 1} {left + 30} {top + 20}\n"
    names = {"make_names": column(*MAKES), "model_names": column("1", "2", "3")}
    return write_compcars(root, lists, images, labels, "model_id type\n1 1\n2 2\n3 3\n", TYPES, names)


def trained(loss, classes):
    """Embedding: the largest red and green, shifted; logits are cosines to the centers' colors."""
    image = keras.Input((*SIZE, 3), dtype="uint8")
    colors = layers.GlobalMaxPooling2D()(layers.Rescaling(1 / 100, offset=-1.28)(image))
    embed = layers.Dense(3, name="embedding")
    outputs = {"embedding": embed(colors)}
    embed.set_weights([np.diag([1, 1, 0]), np.array([SHIFT[loss], 0, 0])])
    for name, names in classes.items() if loss == "cross_entropy" else ():
        dense = layers.Dense(len(names), use_bias=False, name=f"{name}_logits")
        outputs[f"{name}_logits"] = dense(colors)
        angles = np.radians([CENTERS[label] for label in names])
        dense.kernel.assign(np.stack([np.cos(angles), np.sin(angles), 0 * angles]))
    return Recognizer(keras.Model(image, outputs), classes)


def points(table, shift):
    """(N,) complex: what the network makes of the colors in the boxes, read here from the middle of these."""
    values = []
    for path, left, top in zip(table["path"], table["left"], table["top"]):
        _, green, red = cv2.imread(path)[top + 10, left + 15].astype(float) - 128
        values.append(red + 100 * shift + 1j * green)
    return np.array(values)


def neighbors_of(queries, gallery, k):
    """Distances and places of the nearest, of equal ones the first: 1 - cos φ = 2 sin² φ/2."""
    distances = 2 * np.sin(np.angle(queries[:, np.newaxis] * gallery.conj()) / 2) ** 2
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def by_means(queries, gallery, labels):
    names = np.unique(labels)
    means = np.array([(gallery / abs(gallery))[labels == name].mean() for name in names])
    return names[np.argmax((queries[:, np.newaxis] * means.conj()).real / abs(means), axis=1)]


def by_logits(table, names):
    """The class whose center's color is nearest to the image's own."""
    centers = np.exp(1j * np.radians([CENTERS[name] for name in names]))
    return np.array(names)[np.argmax((points(table, 0)[:, np.newaxis] * centers.conj()).real, axis=1)]


def share(true, predicted):
    return float(sum(a == b for a, b in zip(true, predicted)) / len(true)) if len(true) else None


def rows_of(text, heading, first=2):
    """The cells of the table below a heading; from line 0 on with the names of its columns, and the line below them."""
    lines = text.partition(f"## {heading}\n\n")[2].partition("\n\n")[0].splitlines()[first:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
