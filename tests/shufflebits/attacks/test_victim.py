"""How the victim model is trained: what each setting changes in what reaches it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.experiments.identity import IDENTITY, identity_of
from common.files import write_json
from common.losses import BatchHardTriplet
from shufflebits.attacks import victim
from shufflebits.config import PRESETS
from shufflebits.data import Parts
from tests.common.project_trainings import backbone

SMOKE = PRESETS["smoke"][1]
# Any setting differs from its default, and from the others.
SETTINGS = replace(
    SMOKE,
    image_size=(96, 32),
    victim_epochs=24,
    steps_per_epoch=7,
    victim_rate=0.03,
    identities_per_batch=5,
    images_per_identity=3,
)
PEOPLE = pd.DataFrame({"path": list("abcd"), "identity": [9, 2, 9, 5]})


@pytest.fixture
def built(monkeypatch):
    """Names, sizes and weights of the backbones that are built, small ones instead."""
    calls = []
    monkeypatch.setattr(victim, "build_backbone", lambda *arguments: calls.append(arguments) or backbone())
    return calls


def test_settings_of_the_training_arrive(tmp_path, monkeypatch, built):
    taken = {}

    def fit(schedule, model, table, labels, folder, **options):
        taken.update(schedule=schedule, model=model, table=table, labels=labels, folder=folder, **options)

    monkeypatch.setattr(victim, "fit_on_images", fit)
    config = replace(SETTINGS, backbone="resnet50", weights="a file")
    victim.train(config, Parts(PEOPLE, None, None), victim.distribution.strategy("one"), tmp_path)
    schedule, augmentation, model = (taken.pop(name) for name in ("schedule", "augmentation", "model"))
    # Of 24 epochs the first 4 are the warm-up; the rate is a tenth of it from 16 on, and a hundredth from 22 on.
    assert (schedule.warmup_epochs, schedule.drop_epochs, schedule.learning_rate) == (4, (16, 22), 0.03)
    assert (schedule.image_size, schedule.steps_per_epoch) == ((96, 32), 7)
    assert (augmentation.mirror, augmentation.padding, augmentation.erasing) == (0.5, 0.05, 0.5)
    assert built == [("resnet50", (96, 32), "a file")]
    assert model.output["logits"].shape == (None, 3)  # three people, numbered anew
    assert taken.pop("table") is PEOPLE and taken.pop("labels").tolist() == [2, 0, 2, 1]
    assert taken.pop("targets")("labels") == {"logits": "labels", "embedding": "labels"}
    losses = taken.pop("losses")
    assert type(losses["embedding"]) is BatchHardTriplet and losses["embedding"].margin == "soft"
    labels, logits = np.array([1, 0]), np.log(np.float32([[1, 3], [1, 1]]))
    assert float(losses["logits"](labels, logits)) == pytest.approx(-np.log([0.75, 0.5]).mean(), rel=1e-6)
    assert taken == {
        "folder": tmp_path / "victim",
        "classes_per_batch": 5,
        "images_per_class": 3,
        "epochs": 24,
        "seed": 0,
    }


def test_without_epochs_the_backbone_stays_as_it_comes(tmp_path, monkeypatch, built):
    monkeypatch.setattr(victim, "fit_on_images", lambda *_, **__: (tmp_path / "victim").mkdir())
    config = replace(SMOKE, victim_epochs=0)
    victim.train(config, Parts(PEOPLE, None, None), victim.distribution.strategy("one"), tmp_path)
    expected = victim.build(config, 3).training_model
    loaded = victim.build(config, 3).training_model
    loaded.set_weights([np.zeros_like(each) for each in loaded.get_weights()])
    loaded.load_weights(tmp_path / "victim/best.weights.h5")
    for a, b in zip(loaded.get_weights(), expected.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_restored_without_the_pretrained_weights(tmp_path, monkeypatch, built):
    """A trained model alone is restored, with all its epochs and its people."""
    config, epochs = replace(SMOKE, victim_epochs=2), 2
    monkeypatch.setattr(victim, "load_config", lambda run, _: config)
    monkeypatch.setattr(victim, "epochs_done", lambda folder: epochs if folder == tmp_path / "victim" else 0)
    write_json(tmp_path / IDENTITY, identity_of(config, Parts(PEOPLE, None, None)))
    trained = victim.build(config, 3, pretrained=False)
    trained.training_model.set_weights([each + 0.25 for each in trained.training_model.get_weights()])
    (tmp_path / "victim").mkdir()
    trained.training_model.save_weights(tmp_path / "victim/best.weights.h5")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    restored = victim.restore_embedder(tmp_path)
    np.testing.assert_array_equal(restored(images), trained.embedder(images))
    assert built == [("small_resnet", (64, 32), None)] * 2
    epochs = 1
    with pytest.raises(ValueError, match="has no trained victim model; train a preset with one, such as demo"):
        victim.restore_embedder(tmp_path)
    config, epochs = replace(config, victim="bot", features=tmp_path), 2
    with pytest.raises(ValueError, match="has no trained victim model"):
        victim.restore_embedder(tmp_path)
