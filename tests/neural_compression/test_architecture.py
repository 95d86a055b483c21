from neural_compression.architecture import ARROWS, BOXES
from neural_compression.config import PAPER
from neural_compression.model import build_autoencoder, build_deblocking
from tests.diagrams import assert_diagram, layer_names


def test_picture_names_layers_of_the_networks():
    network = build_autoencoder(8, width=2)
    names = layer_names(network.training_model, network.encoder, network.decoder)
    assert_diagram("neural_compression", BOXES, ARROWS, names | {build_deblocking().name})
    lengths = [f"network{length}" for length in PAPER.code_lengths]
    assert [name for name in BOXES if name.startswith("network") and name != "networks"] == lengths
