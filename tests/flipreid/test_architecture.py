from flipreid.architecture import ARROWS, BOXES
from flipreid.model import build_model
from tests.common import known_people
from tests.diagrams import assert_diagram, layer_names


def test_picture_names_layers_of_the_network():
    model = build_model(known_people.backbone(), 5)
    graphs = (model.training_model, model.single, model.double)
    assert_diagram("flipreid", BOXES, ARROWS, layer_names(*graphs) | {"single", "double"})
    assert [graph.name for graph in graphs[1:]] == ["single", "double"]
