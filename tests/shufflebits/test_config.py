"""Settings that do not go together, and how long a training is."""

from dataclasses import replace
from pathlib import Path

import pytest

from shufflebits.config import DATA, PRESETS, RECONSTRUCTIONS, Trial, epochs_of, trials


def test_bad_settings():
    smoke = PRESETS["smoke"][1]
    with pytest.raises(ValueError, match="victim 'bot' and features None do not go together: pass --features"):
        replace(smoke, victim="bot")
    with pytest.raises(ValueError, match="reconstruction_size must be multiples of 32 pixels, .* got \\(48, 32\\)"):
        replace(smoke, reconstruction_size=(48, 32))
    for size in ((31, 64), (64, 31)):
        with pytest.raises(ValueError, match="image_size must be at least 32 × 32 pixels, got"):
            replace(smoke, image_size=size)
    replace(smoke, image_size=(32, 32), reconstruction_batch=2, victim_epochs=0, adversarial_weight=0.0)
    with pytest.raises(ValueError, match="reconstruction_size must be multiples of 32 pixels, .* got \\(0, 32\\)"):
        replace(smoke, reconstruction_size=(0, 32))
    with pytest.raises(ValueError, match="victim 'trained' and features .*f.npz do not go together: pass --features"):
        replace(smoke, features=Path("f.npz"))
    with pytest.raises(ValueError, match="attacks must be one or more different ones"):
        replace(smoke, attacks=("pixel", "pixel"))
    for name in ("identities_per_batch", "images_per_identity"):
        assert getattr(replace(smoke, **{name: 2}), name) == 2
        with pytest.raises(ValueError, match="and images_per_identity must be two or more: the triplet loss"):
            replace(smoke, **{name: 1})
    with pytest.raises(ValueError, match="reconstruction_batch must be two or more, got 1"):
        replace(smoke, reconstruction_batch=1)


@pytest.mark.parametrize("bad", [0, 1, -0.5])
@pytest.mark.parametrize("name", ["victim_share", "validation_share", "generator_momentum"])
def test_shares_are_between_none_and_all(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 1, got {bad}"):
        replace(PRESETS["smoke"][1], **{name: bad})


POSITIVE = ("steps_per_epoch", "victim_rate", "classifier_epochs", "classifier_batch", "classifier_rate", "cipher_keys")


@pytest.mark.parametrize("name", [*POSITIVE, "generator_width", "iterations", "reconstruction_rate"])
def test_sizes_and_rates_are_above_zero(name):
    with pytest.raises(ValueError, match=f"{name} must be above zero, got 0"):
        replace(PRESETS["smoke"][1], **{name: 0})


@pytest.mark.parametrize("name", ["users", "victim_epochs", "adversarial_weight", "division"])
def test_what_may_be_left_out_is_not_negative(name):
    with pytest.raises(ValueError, match=f"{name} must be zero or more, got -1"):
        replace(PRESETS["smoke"][1], **{name: -1})


def test_trainings_of_a_run_by_seeds():
    """Whoever stops early has whole seeds; the folders tell the trainings apart."""
    config = replace(PRESETS["smoke"][1], attacks=("attributes", "pixel"), seeds=(4, 2))
    names = ["attributes-seed4", "pixel-seed4", "attributes-seed2", "pixel-seed2"]
    assert [trial.name for trial in trials(config)] == names


def test_iterations_are_rounded_up_to_whole_passes():
    """10 batches for 200 images: 25 take 3 passes; for two networks 5 steps of two batches: 3 passes too."""
    config = replace(PRESETS["smoke"][1], iterations=25, reconstruction_batch=20)
    assert [epochs_of(config, Trial(attack, 0), 200) for attack in RECONSTRUCTIONS] == [3, 3, 3]
    assert epochs_of(config, Trial("attributes", 0), 200) == config.classifier_epochs
    # 199 images are 9 batches of 20, or 4 steps of two: 40 iterations take 5 passes both ways, 36 take 4 and 5.
    for iterations, passes in ((40, [5, 5, 5]), (36, [4, 4, 5])):
        config = replace(config, iterations=iterations)
        assert [epochs_of(config, Trial(attack, 0), 199) for attack in RECONSTRUCTIONS] == passes
    assert epochs_of(config, Trial("adversarial", 0), 10) == 18  # at least a step of two batches in a pass
    # Of the generator alone: 36 steps, of 9 or of 4 in a pass.
    config = replace(config, equal_updates=True)
    assert [epochs_of(config, Trial(attack, 0), 199) for attack in RECONSTRUCTIONS] == [4, 4, 9]


def test_presets_of_the_publication_have_its_settings():
    """60,000 batches are the author's 300 epochs of 200; others scale down and say so."""
    for name, (_, config) in PRESETS.items():
        paper = name.startswith(("market1501_", "duke_"))
        assert (config.generator_momentum, config.iterations) == (0.99, 300 * 200) or not paper
        assert config.choose_best_on == "validation" and not config.spectral_normalization
        assert paper or config.generator_momentum == 0.9


def test_smoke_takes_seconds():
    """Two trainings of a few batches, on a few images, and one key of each kind."""
    smoke = PRESETS["smoke"][1]
    assert (smoke.attacks, smoke.seeds, smoke.cipher_keys) == (("attributes", "adversarial"), (0,), 1)
    assert smoke.victim_epochs * smoke.steps_per_epoch == 3 and smoke.iterations == 4 and smoke.classifier_epochs == 2


def test_each_cell_of_the_publication_has_its_files():
    assert DATA["duke_agw"] == {"data_dir": "DukeMTMC-reID", "features": "agw_duke.npz"}
    assert DATA["market1501_bot"] == {"data_dir": "Market-1501-v15.09.15", "features": "bot_market1501.npz"}
    assert DATA["mobilenet"] == {"data_dir": "Market-1501-v15.09.15"} and DATA["demo"] == {} and len(DATA) == 8
    assert PRESETS["duke_agw"][1].features == Path("features.npz")
