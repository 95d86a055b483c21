"""People of four colors each on disk, a small network whose function is written out in NumPy, and scores of rankings.

What a project's `evaluate` says of such people can be derived without any code of the library.
"""

import contextlib
import importlib
import warnings
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import keras
import numpy as np
from PIL import Image
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score

from common.backbones import Backbone
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.identity import identity_of
from common.experiments.reid import study
from common.experiments.reid.data import read
from common.experiments.run_folder import open_run
from tests.common.retrieval import test_metrics, test_reranking

SIZE = (32, 32)  # that images are resized to; on disk they are twice as large
SCALE = 0.8  # of features
TRAINED = 5  # identities of the training set
REGIONS = ("upper", "lower")
RECORD = ("mAP", "rank1", "rank5", "rank10", "mINP")


def backbone():
    """Two blocks, linear up to the bias, whose maps (2, 2, 16) depend on which side of the image a color is on."""
    image, features = keras.Input((*SIZE, 3)), keras.Input((2, 2, 6))
    colors = keras.layers.AveragePooling2D(16)(keras.layers.Rescaling(1 / 255)(image))
    first = keras.Model(image, keras.layers.Conv2D(6, 1, name="mix")(colors), name="block1")
    maps = keras.layers.Conv2D(16, 2, padding="same", name="neighbors")(features)
    return Backbone((first, keras.Model(features, maps, name="block2")), SCALE)


def set_weights(model, seed):
    """Gives every weight of a model a random value, of a size that brings features to both bounds of the clip."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name == "power":
            variable.assign(rng.uniform(1.5, 4))
        elif variable.name == "theta":
            variable.assign(rng.normal(-1, 1.5, variable.shape))
        elif "moving_variance" not in variable.path and "seed" not in variable.path:
            variable.assign(rng.normal(0.05, 0.4, variable.shape))


@contextlib.contextmanager
def few_people():
    """Inside, a set of fewer people than were published is read without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*scores on it do not compare with published ones")
        yield


@contextlib.contextmanager
def known_networks(project):
    """Inside, the networks of a project have `backbone`, and data sets may be as small as these."""
    model = importlib.import_module(f"{project}.model")
    with (
        mock.patch.object(model, "build_backbone", lambda *_: backbone()),
        mock.patch.object(study, "build_backbone", lambda *_: backbone()),
        few_people(),
    ):
        yield


def write_trainings(config, project, folder):
    """Draws people into a folder, and writes a run of trainings of known weights next to them; in `known_networks`.

    Args:
        config: of the run, but for where its data and its folder lie.
        project: name of its package.
        folder: for both.

    Returns:
        The run folder, and each trial and its network.
    """
    build, trials = (
        getattr(importlib.import_module(f"{project}.{module}"), name)
        for module, name in (("model", "build"), ("config", "trials"))
    )
    config = replace(config, data_dir=draw(folder / "people"), runs_dir=folder)
    run = open_run(config, project, identity_of(config, read(config)))
    networks = [(trial, build(config, trial, TRAINED)) for trial in trials(config)]
    for seed, (trial, model) in enumerate(networks):
        set_weights(model.training_model, seed)
        (run / trial.name).mkdir()
        model.training_model.save_weights(run / trial.name / BEST_WEIGHTS)
    return run, networks


def layers_of(model, graph):
    """Name as of `embedding` -> the layer, of a network whose `graph` has the reductions of the regional branches."""
    names = (("mix", "mix"), ("neighbors", "neighbors"), ("regional", "neighbors"))
    layers = {name: block.get_layer(own) for block, (name, own) in zip(model.frozen_blocks, names, strict=True)}
    return layers | {f"{region}_reduced": graph.get_layer(f"{region}_reduced") for region in REGIONS}


def convolved(maps, layer):
    """Maps (H, W, C) with the kernel (h, w, C, D) and the bias of a layer, padded by zeros to (H, W, D)."""
    kernel, bias = (np.asarray(weight, "float64") for weight in layer.get_weights())
    (h, w), (height, width) = kernel.shape[:2], maps.shape[:2]
    padded = np.pad(maps, (((h - 1) // 2, h // 2), ((w - 1) // 2, w // 2), (0, 0)))
    windows = [padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(h) for j in range(w)]
    return np.sum(windows, axis=0) + bias


def embedding(image, layer, pool):
    """The three branches' embeddings, concatenated (32,), of an image (32, 32, 3) from 0 to 255.

    Args:
        image: see above.
        layer: name -> the layer; "regional" is the copy of "neighbors" in the regional branches.
        pool: branch, maps (H, W, C) -> (C,).
    """
    colors = np.asarray(image, "float64").reshape(2, 16, 2, 16, 3).mean(axis=(1, 3)) / 255
    features = convolved(colors, layer("mix"))
    regional = convolved(features, layer("regional"))
    halves = {region: convolved(regional[i : i + 1], layer(f"{region}_reduced")) for i, region in enumerate(REGIONS)}
    maps = {"global": convolved(features, layer("neighbors"))}
    maps |= {region: np.maximum(half, 0) for region, half in halves.items()}
    return np.concatenate([np.clip(SCALE * pool(branch, part), 0, 1) for branch, part in maps.items()])


def draw(folder):
    """Writes a set in Market-1501's layout, losslessly, and returns its folder.

    Training: four identities with four images each and one with a single image. Test: twelve queries; each has two
    matches and an image of its own camera in the gallery, but the last one has only the latter. Three distractors, and
    six images of junk, which look much like queries.
    """
    rng = np.random.default_rng(5)
    looks = rng.integers(0, 256, (20, 2, 2, 3))

    def write(split, identity, camera, number, look, spread):
        colors = np.clip(look + rng.normal(0, spread, look.shape), 0, 255).astype("uint8")
        name = f"{identity if identity < 0 else f'{identity:04d}'}_c{camera}s1_{number:06d}_00.jpg"
        # PNG under another name, as readers go by the contents: no loss.
        Image.fromarray(np.kron(colors, np.ones((32, 32, 1), "uint8"))).save(folder / split / name, "png")

    for split in ("bounding_box_train", "query", "bounding_box_test"):
        (folder / split).mkdir(parents=True)
    for identity in range(TRAINED):
        for number in range(4 if identity < TRAINED - 1 else 1):
            write("bounding_box_train", 3 * identity + 2, 1 + number % 2, number, looks[identity], 20)
    for i in range(12):
        look, identity, camera = looks[5 + i], 20 + i, 1 + i % 3
        write("query", identity, camera, 0, look, 30)
        write("bounding_box_test", identity, camera, 1, look, 10)
        for other in {1, 2, 3} - {camera} if i < 11 else ():
            write("bounding_box_test", identity, other, 2, look, 50)
        if i < 6:
            write("bounding_box_test", -1, 1 + (i + 1) % 3, i, look, 25)
    for i in range(3):
        write("bounding_box_test", 0, 1 + i, i, looks[17 + i], 40)
    return folder


def pictures(folder, split):
    """The images of a split as (N, 32, 32, 3), with identities and cameras, in the order of their file names."""
    paths = sorted((folder / split).iterdir(), key=lambda path: path.name)
    fields = [path.name.replace("_c", "s").split("s") for path in paths]
    images = np.stack([np.asarray(Image.open(path))[::2, ::2] for path in paths])
    return images, np.array([int(each[0]) for each in fields]), np.array([int(each[1]) for each in fields])


def embedded(folder, split, function):
    """Embeddings (N, D) float64 of a split without junk, by a function of one image, with identities and cameras."""
    images, identities, cameras = pictures(folder, split)
    good = identities != -1
    features = np.array([function(image) for image in images[good]])
    return SimpleNamespace(features=features, identities=identities[good], cameras=cameras[good])


def scores(query, gallery, distances=None):
    """The numbers of a ranking by cosine distance, or by given distances, and the average precision of each query."""
    if distances is None:
        distances = cdist(query.features, gallery.features, "cosine")
    ranks = (1, 5, 10)
    mean, cmc, penalty, each, valid, _ = test_metrics.textbook(distances, query, gallery, ranks, False)
    return SimpleNamespace(record=dict(zip(RECORD, (mean, *(cmc[k] for k in ranks), penalty))), each=each, valid=valid)


def reranked(query, gallery):
    """Distances after re-ranking with k1 = 20, k2 = 6 and λ = 0.3."""
    features = np.concatenate([query.features, gallery.features])
    return test_reranking.textbook(features, len(query.features), 20, 6, 0.3, "cosine")


def assert_record(record, expected, prefix=""):
    """A record has the expected scores; its interval is that of SciPy's bootstrap, as each query is an identity."""
    for name, value in expected.record.items():
        np.testing.assert_allclose(record[prefix + name], value, rtol=0, atol=1e-6, err_msg=prefix + name)
    bounds = stats.bootstrap((expected.each,), np.mean, method="percentile", rng=1).confidence_interval
    # Of eleven values few means are possible near a bound.
    np.testing.assert_allclose(record[f"{prefix}mAP_interval"], bounds, rtol=0, atol=0.4 * stats.sem(expected.each))


def percent(value):
    return f"{100 * value:.1f}"


def cells(text, first):
    """The cells of each row of a report's tables that begins with one of the given words."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] in first]


def camera_rows(query, gallery):
    """The rows of the table of mAP per pair of cameras: the query's, and the gallery's in the columns."""
    rows = []
    for own in (1, 2, 3):
        row = [str(own)]
        for other in (1, 2, 3):
            parts = [
                SimpleNamespace(**{name: value[part.cameras == camera] for name, value in vars(part).items()})
                for part, camera in ((query, own), (gallery, other))
            ]
            row.append("–" if own == other else percent(scores(*parts).record["mAP"]))
        rows.append(row)
    return rows


def assert_lists(columns, query, gallery):
    """Three queries of middle AP and three of the lowest, of different people, with the five nearest images each."""
    distances = cdist(query.features, gallery.features, "cosine")
    valid, precisions, ranked = [], [], []
    for i, identity in enumerate(query.identities):
        same = gallery.identities == identity
        order = [j for j in np.argsort(distances[i]) if not (same[j] and gallery.cameras[j] == query.cameras[i])]
        right = np.array([same[j] for j in order])
        ranked.append((right, order))
        if right.any():
            valid.append(i)
            precisions.append(average_precision_score(right, -np.arange(len(right))))
    assert list(columns) == ["typical queries", "queries with the lowest AP"]
    shown = {heading: [float(each.title.split()[1]) / 100 for each in lists] for heading, lists in columns.items()}
    lowest, low = {}, sorted(zip(precisions, valid))
    for precision, i in low:
        lowest.setdefault(query.identities[i], precision)
    places = [round(share * (len(low) - 1)) for share in (0.25, 0.5, 0.75)]
    np.testing.assert_allclose(shown["typical queries"], [low[place][0] for place in places], atol=0.0051)
    np.testing.assert_allclose(shown["queries with the lowest AP"], list(lowest.values())[:3], atol=0.0051)
    for each in (each for lists in columns.values() for each in lists):
        assert len(each.images) == 6 and all(image.shape == (128, 64, 3) for image in each.images)
        near = [sorted(distances[i][order])[:5] for i, (_, order) in enumerate(ranked)]
        (i,) = [i for i, row in enumerate(near) if np.allclose(row, each.distances, rtol=0, atol=1e-6)]
        assert list(each.right) == [gallery.identities[j] == query.identities[i] for j in ranked[i][1][:5]]
