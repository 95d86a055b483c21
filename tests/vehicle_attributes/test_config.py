"""Which trainings a config asks for, and which settings are refused."""

from dataclasses import replace

import pytest

from vehicle_attributes.config import PAPER, PRESETS, Trial, trials

OPEN = replace(PAPER, losses=("triplet", "arcface"), held_out=2, added=(1, 3), seeds=(0, 4))


def test_trainings_are_one_per_loss_and_seed_and_one_retrained_classifier_per_growth():
    seed = [Trial("triplet", 0), Trial("arcface", 0), Trial("cross_entropy", 0, 1), Trial("cross_entropy", 0, 3)]
    assert list(trials(OPEN)) == [*seed, *(replace(trial, seed=4) for trial in seed)]
    assert list(trials(replace(OPEN, held_out=0))) == [
        Trial(loss, s) for s in (0, 4) for loss in ("triplet", "arcface")
    ]
    assert [trial.name for trial in seed[1:3]] == ["arcface-seed0", "retrained1-cross_entropy-seed0"]


SMALL = {
    "backbone": "mobilenet_0.25",
    "losses": ("untrained", "cross_entropy", "triplet", "lifted_structured", "arcface"),
    "learning_rate": 1e-3,
    "warmup_epochs": 2,
    "evaluate_every": 5,
}
DEMO = {
    **SMALL,
    **{"dataset": "embedded", "image_size": (64, 64), "padding": 3, "erasing": 0.0},
    **{"classes_per_batch": 6, "images_per_class": 5, "epochs": 20, "drop_epochs": (13, 17)},
}
MOBILENET = {
    **SMALL,
    **{"dataset": "folders", "image_size": (96, 96), "padding": 4, "seeds": (0, 1, 2)},
    **{"classes_per_batch": 6, "images_per_class": 10, "epochs": 40, "drop_epochs": (24, 34)},
}
OPEN_SET = {"held_out": 2, "classes_per_batch": 4}
# Preset -> the fields that differ from the publication's presets. A change of these is one of published tables.
AT_A_CPU_S_SCALE = {
    "demo": DEMO,
    "demo_open_set": {
        **(DEMO | OPEN_SET),
        **{"images_per_class": 8, "added": (1, 5, 20, 80), "epochs": 24, "warmup_epochs": 3, "drop_epochs": (16, 21)},
    },
    "mobilenet": MOBILENET,
    "mobilenet_open_set": MOBILENET | OPEN_SET | {"images_per_class": 15, "epochs": 30, "drop_epochs": (18, 25)},
    "smoke": {
        **DEMO,
        **{"backbone": "small_resnet", "weights": "none", "image_size": (32, 32), "classes_per_batch": 4, "epochs": 2},
        **{"losses": ("cross_entropy", "lifted_structured"), "images_per_class": 3, "warmup_epochs": 1},
        **{"steps_per_epoch": 4, "draws": 2, "evaluate_every": 0},
    },
}


@pytest.mark.parametrize("name", AT_A_CPU_S_SCALE)
def test_presets_at_a_cpu_s_scale(name):
    assert PRESETS[name][1] == replace(PAPER, **AT_A_CPU_S_SCALE[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images_per_class": 1}, "must be two or more: metric learning needs a positive and a negative, got 8 and 1"),
        ({"classes_per_batch": 1}, "must be two or more: .*, got 1 and 8"),
        ({"label_smoothing": 1.0}, "label_smoothing must be from 0 to below 1, got 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be from 0 to below 1, got -0.1"),
        ({"image_size": (16, 32)}, "image_size must be at least 32"),
        ({"held_out": 1, "attributes": ("type", "make")}, "Classes are held out of one attribute .* got attributes"),
        ({"held_out": 1, "added": (0, 5)}, r"added with one exemplar or more, .* added \(0, 5\)"),
        ({"draws": 0}, "draws must be above zero, got 0"),
        ({"evaluate_every": -1}, "evaluate_every must be zero or more, got -1"),
        ({"exemplars": 0}, "exemplars must be above zero, got 0"),
        ({"l2_factor": -1e-4}, "l2_factor must be zero or more, got -0.0001"),
        ({"padding": -1}, "padding must be zero or more, got -1"),
        ({"held_out": -1}, "held_out must be zero or more, got -1"),
        ({"attributes": ("type", "type")}, "attributes must be one or more different ones"),
        ({"losses": ()}, "losses must be one or more different ones"),
        ({"added": (5, 5)}, "added must be one or more different ones"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(PAPER, **changes)


def test_the_least_settings_are_taken():
    least = {
        "label_smoothing": 0.0,
        "l2_factor": 0.0,
        "padding": 0,
        "erasing": 0.0,
        "exemplars": 1,
        "draws": 1,
        "added": (1,),
    }
    config = replace(PAPER, **least, images_per_class=2, classes_per_batch=2, held_out=1, image_size=(32, 32))
    assert {name: getattr(config, name) for name in least} == least
    replace(config, held_out=0, attributes=("type", "make"), added=(0,))  # nothing is added
