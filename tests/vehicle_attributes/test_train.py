"""Training and resuming on a few photographs of vehicles, and what each setting changes of that."""

import json
import signal
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from common.datasets import pipeline
from common.datasets.augmentation import Augmentation, draw
from common.datasets.images import read_image
from common.experiments import training
from common.experiments.config import to_json
from tests.common.project_trainings import backbone
from tests.helpers import run_python, truncate
from tests.resuming import assert_same_checkpoints
from tests.vehicle_attributes import colors
from tests.vehicle_attributes.layouts import write_photographed_veri_wild
from vehicle_attributes import model, recognizer
from vehicle_attributes.config import LOSSES, PAPER, PRESETS, Trial
from vehicle_attributes.data import read
from vehicle_attributes.gallery.voting import choose_gallery
from vehicle_attributes.recognition import TEST_ACCURACY
from vehicle_attributes.train import PeriodicAccuracy, pass_steps, train

pytestmark = [
    pytest.mark.usefixtures("tiny_backbone"),
    pytest.mark.filterwarnings("ignore:.* the published set:UserWarning"),
]

SMOKE = replace(
    PRESETS["smoke"][1],
    name="run",
    dataset="veri_wild",
    losses=tuple(LOSSES),
    attributes=("type", "make"),
    steps_per_epoch=0,
    learning_rate=2e-3,
    warmup_epochs=0,
)


@pytest.fixture(scope="module")
def vehicles(tmp_path_factory):
    return write_photographed_veri_wild(tmp_path_factory.mktemp("vehicles"))


@pytest.fixture(scope="module")
def run(vehicles, tiny_backbone, tmp_path_factory):
    config = replace(SMOKE, data_dir=vehicles, runs_dir=tmp_path_factory.mktemp("runs"))
    return train(config), config


@pytest.fixture
def intended(vehicles, tmp_path, monkeypatch):
    """A function: config -> of each training that it asks for what `fit` gets, and nothing is trained."""

    def intend(config):
        trainings, build_batches = [], pipeline.training_batches
        with monkeypatch.context() as patch:
            # The last ones are those of the training at hand.
            arguments = {}
            patch.setattr(model, "build_backbone", lambda *options: arguments.update(backbone=options) or backbone())
            patch.setattr(
                pipeline,
                "training_batches",
                lambda table, **options: arguments.update(options, table=table) or build_batches(table, **options),
            )

            def fit(network, batches, *, folder, **options):
                first = next(iter(batches(0)))  # which calls `training_batches`
                trainings.append(
                    SimpleNamespace(name=folder.name, model=network, first=first, fit=options, **arguments)
                )

            patch.setattr(training, "fit", fit)
            patch.setattr(recognizer, "save", lambda saved, folder: vars(trainings[-1]).update(saved=saved))
            place = {"data_dir": vehicles, "runs_dir": tmp_path / str(len(list(tmp_path.iterdir())))}
            replace(train, check_pretrained=lambda config: None)(replace(config, **place))
        return trainings

    return intend


# Of the sixteen steps from seed 0: the training as a whole. A change of these is a change of results.
GOLDEN_LOSSES = {
    "tensorflow": {
        "cross_entropy": 3.16687, "triplet": 1.02843, "lifted_structured": 15.00042, "arcface": 31.78737,
    },
    "jax": {"cross_entropy": 3.16134, "triplet": 1.03798, "lifted_structured": 15.01717, "arcface": 34.62653},
    "torch": {"cross_entropy": 3.16021, "triplet": 1.05967, "lifted_structured": 15.02508, "arcface": 31.42000},
}[keras.backend.backend()]  # fmt: skip


def test_golden_training_log(run):
    losses = {loss: pd.read_csv(run[0] / f"{loss}-seed0/log.csv")["loss"].iloc[-1] for loss in LOSSES}
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=5e-3)


@pytest.mark.parametrize(
    ("config", "images", "steps"),
    [
        (PAPER, 277_797, 4341),  # VERI-Wild in batches of 64: 4340.6
        (PRESETS["compcars_model_triplet"][1], 16_016, 251),  # 250.25
        (PRESETS["demo"][1], 480, 16),
        (PAPER, 1, 1),
    ],
)
def test_an_epoch_draws_as_many_images_as_there_are(config, images, steps):
    assert config.steps_per_epoch == 0 and pass_steps(config, images) == steps


def test_rates_are_those_of_the_recipe(intended):
    """Luo et al. 2019: from a tenth of the peak to all of it in ten epochs, and a tenth of it from 40 and 70 on."""
    (one,) = intended(replace(PAPER, image_size=(32, 32), classes_per_batch=6))
    assert one.fit == {
        "epochs": 120,
        "steps_per_epoch": 2,  # 90 images in batches of 48
        **{"monitor": None, "mode": "max", "monitor_every": 1, "callbacks": ()},  # the last weights are kept
    }
    expected = {0: 3.5e-5, 9: 3.5e-4, 10: 3.5e-4, 39: 3.5e-4, 40: 3.5e-5, 69: 3.5e-5, 70: 3.5e-6, 119: 3.5e-6}
    for epoch, rate in expected.items():
        for step in (2 * epoch, 2 * epoch + 1):
            assert float(one.model.optimizer._learning_rate(step)) == pytest.approx(rate, rel=1e-5), epoch
    assert type(one.model.optimizer).__name__ == "Adam"
    assert one.model.optimizer.get_config().items() >= {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}.items()
    assert one.augmentation == Augmentation(
        **{"mirror": 0.5, "padding": 10, "padding_color": (0, 0, 0), "gray_patch": 0.0},
        **{"erasing": 0.5, "erasing_color": (124, 116, 104), "patch_area": (0.02, 0.4), "patch_aspect": (0.3, 1 / 0.3)},
    )
    assert one.backbone == ("resnet50", (32, 32), "imagenet") and one.balance == "identities"


# Other values than the defaults in every field, so that none of them can be what reaches the training.
OTHERS = replace(
    SMOKE,
    backbone="mobilenet",
    weights=__file__,
    image_size=(32, 40),
    classes_per_batch=3,
    images_per_class=5,
    steps_per_epoch=7,
    epochs=9,
    learning_rate=0.5,
    warmup_epochs=3,
    drop_epochs=(4, 6),
    label_smoothing=0.3,
    l2_factor=0.125,
    padding=2,
    erasing=0.25,
    evaluate_every=3,
)


# Loss -> its class and settings.
TERMS = {
    "cross_entropy": ("CategoricalCrossentropy", {"label_smoothing": 0.3, "from_logits": True}),
    "triplet": ("BatchHardTriplet", {"margin": 0.3}),
    "lifted_structured": ("LiftedStructured", {"margin": 1.0}),
    "arcface": ("ArcFace", {"margin": 0.5, "scale": 30.0}),
}


def test_each_setting_reaches_the_training(intended):
    trainings = intended(OTHERS)
    assert [one.name for one in trainings] == [f"{loss}-seed0" for loss in LOSSES]
    for loss, one in zip(LOSSES, trainings):
        kind = "logits" if loss in ("cross_entropy", "arcface") else "embedding"
        assert one.model.loss.keys() == {f"type_{kind}", f"make_{kind}"}
        for term in one.model.loss.values():
            name, settings = TERMS[loss]
            assert type(term).__name__ == name and settings.items() <= term.get_config().items()
        images, targets = one.first
        assert images.shape == (15, 32, 40, 3)
        assert targets[f"type_{kind}"].shape == ((15, 6) if loss == "cross_entropy" else (15,))
        assert one.backbone == ("mobilenet", (32, 40), __file__)
        assert one.augmentation == Augmentation(mirror=0.5, padding=2, erasing=0.25)
        assert (one.fit["epochs"], one.fit["steps_per_epoch"], one.seed) == (9, 7, 0)
        assert [type(callback) for callback in one.fit["callbacks"]] == [PeriodicAccuracy]
        rates = [float(one.model.optimizer._learning_rate(7 * epoch)) for epoch in range(8)]
        assert rates == pytest.approx([0.05, 0.275, 0.5, 0.5, 0.05, 0.05, 0.005, 0.005])
        regularizer = one.model.get_layer("regularizer")
        assert (regularizer.amplitude, type(regularizer).__name__) == (0.125, "ConstantL2")
        assert one.saved.network.output.keys() == {"embedding"} | (set(one.model.output) if kind == "logits" else set())
        assert one.saved.classes == {"type": sorted(set(one.table["type"])), "make": [f"make {i}" for i in range(4)]}


def test_batches_are_balanced_by_the_last_attribute_and_images_are_mirrored_and_erased(intended):
    """All of a box of the mean color, and else the image of a file of that class or its mirror."""
    (one,) = intended(replace(OTHERS, losses=("triplet",), image_size=(32, 32), padding=0, erasing=1.0))
    images, targets = one.first
    assert sorted(np.unique(targets["make_embedding"], return_counts=True)[1]) == [5, 5, 5]
    sources = np.stack([read_image(path, (32, 32)) for path in one.table["path"]])
    mirrored = []
    for i, image in enumerate(np.asarray(images)):
        erased = (image == (124, 116, 104)).all(axis=-1)
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        assert erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9
        same = [((flip == image).all(axis=-1) | erased).all(axis=(1, 2)) for flip in (sources, sources[:, :, ::-1])]
        (row,) = np.flatnonzero(same[0] | same[1])
        mirrored.append(bool(same[1][row]))
        for attribute in ("type", "make"):
            index = int(targets[f"{attribute}_embedding"][i])
            assert one.saved.classes[attribute][index] == one.table[attribute].iloc[row]
    assert 0 < sum(mirrored) < 15


def test_seeds_decide_weights_and_batches(intended):
    config = replace(OTHERS, losses=("triplet",), attributes=("type",))
    trainings = [*intended(replace(config, seeds=(0, 1))), *intended(replace(config, seeds=(1,)))]
    weights = [np.concatenate([np.ravel(weight) for weight in one.model.get_weights()]) for one in trainings]
    images = [np.asarray(one.first[0]) for one in trainings]
    for values in (weights, images):
        assert (values[1] == values[2]).all() and (values[0] != values[1]).mean() > 0.5
    assert [one.seed for one in trainings] == [0, 1, 1]


def test_crops_are_shifted_by_up_to_ten_pixels_each_way():
    shifts = draw(Augmentation(padding=PAPER.padding), PAPER.image_size, 2000, seed=0, epoch=0).shift
    assert (shifts.min(), shifts.max()) == (-10, 10)


def test_log_has_the_loss_of_each_attribute(run):
    folder, config = run
    for loss, output in (("cross_entropy", "logits"), ("triplet", "embedding")):
        log = pd.read_csv(folder / f"{loss}-seed0/log.csv")
        assert len(log) == config.epochs
        assert {f"type_{output}_loss", f"make_{output}_loss"} <= set(log.columns)


def test_accuracy_of_the_nearest_exemplar_is_logged_every_so_many_epochs(tmp_path):
    """Of the last attribute, with the gallery of the evaluation, and after the last epoch."""
    config = replace(colors.CONFIG, data_dir=colors.write_cars(tmp_path), epochs=5, evaluate_every=2)
    data, seen = read(config), {}
    look = PeriodicAccuracy(colors.trained("triplet", colors.CLASSES), config, Trial("triplet", 2), data)
    for epoch in range(5):
        logs = {"loss": 1.0}
        look.on_epoch_end(epoch, logs)
        seen[epoch] = logs.get(TEST_ACCURACY)
    labels, true = (table["make"].to_numpy() for table in (data.train, data.test))
    rows = choose_gallery(labels, 13, 2)
    queries, gallery = (colors.points(t, colors.SHIFT["triplet"]) for t in (data.test, data.train.iloc[rows]))
    accuracy = colors.share(true, labels[rows][colors.neighbors_of(queries, gallery, 1)[1][:, 0]])
    assert seen == {0: None, 1: accuracy, 2: None, 3: accuracy, 4: accuracy}


KILLED_IN_THE_SECOND_EPOCH = """
import json, os, sys
from common.experiments.checkpoint import Checkpoint
from common.experiments.config import from_json
from tests.common.project_trainings import backbone
from vehicle_attributes import model, train
from vehicle_attributes.config import Config

model.build_backbone = lambda *_: backbone()
Checkpoint.on_train_batch_end = lambda self, batch, logs=None: self.epoch == batch == 1 and os.kill(os.getpid(), 9)
train.train(from_json(json.loads(sys.argv[1]), Config))
"""


def test_killed_in_an_epoch_it_ends_with_the_same_weights(run, tmp_path):
    whole, config = run
    config, name = replace(config, losses=("lifted_structured",), runs_dir=tmp_path), "lifted_structured-seed0"
    run_python("-c", KILLED_IN_THE_SECOND_EPOCH, json.dumps(to_json(config)), status=-signal.SIGKILL)
    folder = tmp_path / "vehicle_attributes/run"
    first = (whole / name / "log.csv").read_text().splitlines()[:2]
    assert (folder / name / "log.csv").read_text().splitlines() == first  # the header and an epoch
    assert not (folder / name / recognizer.NETWORK).exists()
    assert train(config) == folder
    assert_same_checkpoints(folder, whole, name)
    assert (folder / name / "log.csv").read_text() == (whole / name / "log.csv").read_text()
    trained = recognizer.load(folder / name)
    assert trained.fingerprint == recognizer.load(whole / name).fingerprint
    with np.load(folder / name / "checkpoint/state.npz") as state:
        last = [state[array] for array in state.files]
    for weight in trained.network.get_weights():
        assert any(np.array_equal(weight, array) for array in last)


def test_more_epochs_go_on_where_the_others_ended(run, tmp_path):
    """The network of fewer epochs is replaced, and all is as if there had been as many from the beginning."""
    whole, config = run
    config, name = replace(config, losses=("triplet",), runs_dir=tmp_path), "triplet-seed0"
    folder = train(replace(config, epochs=1))
    fewer = recognizer.load(folder / name).fingerprint
    assert train(config) == folder
    assert_same_checkpoints(folder, whole, name)
    assert recognizer.load(folder / name).fingerprint == recognizer.load(whole / name).fingerprint != fewer


def test_finished_trainings_are_not_done_again(run, monkeypatch):
    folder, config = run
    monkeypatch.setattr(training, "fit", None)
    monkeypatch.setattr(recognizer, "save", None)
    assert train(config) == folder


def test_a_damaged_image_ends_the_training_with_its_name(tmp_path):
    config = replace(SMOKE, losses=("triplet",), attributes=("type",), runs_dir=tmp_path / "runs")
    config = replace(config, data_dir=write_photographed_veri_wild(tmp_path / "vehicles"))
    truncate(read(config).train["path"])
    with pytest.raises(ValueError, match="The image .*jpg cannot be read; it is missing or damaged"):
        train(config)
