"""A trained codec for the tests: tiny networks with random weights."""

import pytest

from neural_compression.evaluation import classical
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


@pytest.fixture(scope="module")
def one_classical_codec():
    """Evaluations measure one of the classical codecs, which have tests of their own; it reaches the lowest rates."""
    codecs = {"JPEG 2000": classical.installed()[0]["JPEG 2000"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classical, "installed", lambda: (codecs, []))
        yield
