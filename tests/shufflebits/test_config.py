"""Settings that do not go together, and how long a training is."""

from dataclasses import replace

import pytest

from shufflebits.config import PRESETS, RECONSTRUCTIONS, Trial, epochs_of


def test_bad_settings():
    smoke = PRESETS["smoke"][1]
    with pytest.raises(ValueError, match="victim 'bot' and features None do not go together: pass --features"):
        replace(smoke, victim="bot")
    with pytest.raises(ValueError, match="reconstruction_size must be multiples of 32 pixels, .* got \\(48, 32\\)"):
        replace(smoke, reconstruction_size=(48, 32))
    with pytest.raises(ValueError, match="validation_share must be between 0 and 1, got 1.0"):
        replace(smoke, validation_share=1.0)
    with pytest.raises(ValueError, match="generator_momentum must be between 0 and 1, got 1.0"):
        replace(smoke, generator_momentum=1.0)
    with pytest.raises(ValueError, match="attacks must be one or more different ones"):
        replace(smoke, attacks=("pixel", "pixel"))
    with pytest.raises(ValueError, match="reconstruction_batch must be two or more, got 1"):
        replace(smoke, reconstruction_batch=1)
    with pytest.raises(ValueError, match="image_size must be at least 32"):
        replace(smoke, image_size=(16, 32))


def test_iterations_are_rounded_up_to_whole_passes():
    """10 batches for 200 images: 25 take 3 passes; for two networks 5 steps of two batches: 3 passes too."""
    config = replace(PRESETS["smoke"][1], iterations=25, reconstruction_batch=20)
    assert [epochs_of(config, Trial(attack, 0), 200) for attack in RECONSTRUCTIONS] == [3, 3, 3]
    assert epochs_of(config, Trial("attributes", 0), 200) == config.classifier_epochs


def test_presets_of_the_publication_have_its_settings():
    """60,000 batches are the author's 300 epochs of 200; others scale down and say so."""
    for name, (_, config) in PRESETS.items():
        paper = name.startswith(("market1501_", "duke_"))
        assert (config.generator_momentum, config.iterations) == (0.99, 300 * 200) or not paper
        assert config.choose_best_on == "validation" and not config.spectral_normalization
        assert paper or config.generator_momentum == 0.9
