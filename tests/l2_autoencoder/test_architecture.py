from l2_autoencoder.architecture import ARROWS, BOXES
from l2_autoencoder.model import UNITS, build_autoencoder
from tests.diagrams import assert_diagram, layer_names


def test_picture_names_layers_of_the_autoencoder():
    model = build_autoencoder((28, 28, 1)).training_model
    assert_diagram("l2_autoencoder", BOXES, ARROWS, layer_names(model))
    assert model.get_layer("embedding").units == 10 and "10 numbers" in BOXES["embedding"].text
    assert ", ".join(map(str, UNITS)) in BOXES["encoder"].text.replace("\n", " ")
