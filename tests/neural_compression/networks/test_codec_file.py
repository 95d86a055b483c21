"""The file of a trained codec: what is stored, and that it tells codecs apart."""

from dataclasses import replace

import numpy as np
import pytest

from common.experiments.training import precision
from neural_compression.networks import codec_file
from neural_compression.networks.codec_file import load
from tests.helpers import process_state
from tests.neural_compression.mean_codec import LENGTHS, networks, save_codec


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "codec.npz"
    return save_codec(path), path


def test_weights_are_stored_with_sixteen_bits_and_shared_ones_once(saved):
    codec, path = saved
    with np.load(path) as file:
        arrays = dict(file)
    assert arrays.keys() == codec.arrays.keys()
    floats = {name: array for name, array in arrays.items() if not name.startswith(("bits", "settings"))}
    assert {array.dtype for array in floats.values()} == {np.dtype("float16")}
    shared = [name for name, array in floats.items() if array.shape == (3, 3, 12, 24)]
    assert shared == ["analysis/9", "synthesis/3"]  # the fourth convolution, the second deconvolution
    assert {array.dtype for name, array in arrays.items() if name.startswith("bits")} == {np.dtype("int16")}
    np.testing.assert_array_equal(
        arrays["analysis/9"][:2, :2], np.tile(np.eye(12, 24) * (np.arange(24) < 3) / 2, (2, 2, 1, 1))
    )
    assert arrays["encoder2/0"].shape == (48, LENGTHS[2]) and arrays["decoder2/0"].shape == (LENGTHS[2], 48)


def test_one_network_has_its_convolutions_too(tmp_path, saved, monkeypatch):
    monkeypatch.setattr(codec_file, "load", lambda path: dict(np.load(path)))
    codec, parts = saved[0], networks()
    arrays = codec_file.save(
        tmp_path / "a.npz", codec.settings, [(parts[0].encoder, parts[0].decoder)], codec.bit_models, None
    )
    np.testing.assert_array_equal(arrays["synthesis/3"], codec.arrays["synthesis/3"])
    assert not any(name.startswith(("deblocking", "encoder1", "bits1")) for name in arrays)


def test_a_loaded_codec_is_frozen_and_has_its_settings(saved):
    codec, _ = saved
    assert codec.code_lengths == LENGTHS and [model.length for model in codec.bit_models] == list(LENGTHS)
    assert codec.settings == {
        "code_lengths": list(LENGTHS),
        "closed_form": True,
        "width": 3,
        "normalization": "l2",
        "growing": "upsampling",
        "deblocking_width": 2,
    }
    keras = codec.in_keras
    for network in (*keras.encoders, *keras.decoders, keras.deblocking):
        assert network.weights and not network.trainable_variables


def test_a_codec_computes_in_float32_whatever_the_policy(saved):
    with precision("mixed_bfloat16"):
        codec = load(saved[1]).in_keras
    for network in (*codec.encoders, *codec.decoders, codec.deblocking):
        assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_loading_leaves_the_process_as_it_was(saved):
    before = process_state()
    load(saved[1])
    assert process_state() == before


def test_the_fingerprint_is_of_all_numbers(saved):
    codec, path = saved
    assert load(path).fingerprint == codec.fingerprint
    for name in ("analysis/0", "encoder2/1", "decoder0/0", "deblocking/1", "bits1/bias", "settings"):
        changed = replace(
            codec, arrays={**codec.arrays, name: codec.arrays[name] + np.ones(1, codec.arrays[name].dtype)}
        )
        assert changed.fingerprint != codec.fingerprint


def test_the_order_of_settings_makes_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr(codec_file, "load", lambda path: dict(np.load(path)))
    settings = {"width": 2, "closed_form": False, "code_lengths": (8,)}
    first, second = (
        codec_file.save(tmp_path / "a.npz", given, [], [], None)["settings"].tobytes()
        for given in (settings, dict(reversed(settings.items())))
    )
    assert first == second == b'{"closed_form": false, "code_lengths": [8], "version": 3, "width": 2}'
