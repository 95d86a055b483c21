"""A trained codec for the tests: tiny networks with random weights."""

import pytest

from neural_compression.networks.codec_file import load
from tests.neural_compression.small_codec import save_codec


@pytest.fixture(scope="module")
def codec_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "codec.npz"
    save_codec(path)
    return path


@pytest.fixture(scope="module")
def codec(codec_path):
    return load(codec_path)
