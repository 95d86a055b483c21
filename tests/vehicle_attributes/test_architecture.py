from tests.diagrams import assert_diagram, layer_names
from tests.vehicle_attributes.test_model import small
from vehicle_attributes.architecture.__main__ import ARROWS, BOXES
from vehicle_attributes.config import PRESETS


def test_picture_names_layers_of_the_network():
    names = layer_names(*vars(small("cross_entropy", {"ATTRIBUTE": 2})).values())
    assert_diagram("vehicle_attributes", BOXES, ARROWS, names)
    assert f"{PRESETS['veri_wild_type_triplet'][1].exemplars} of each class" in BOXES["exemplars"].text.replace(
        "\n", " "
    )
