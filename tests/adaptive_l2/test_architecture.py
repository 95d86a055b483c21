from adaptive_l2.architecture import ARROWS, BOXES
from adaptive_l2.model import build_model
from tests.common import known_people
from tests.diagrams import assert_diagram, layer_names


def test_picture_names_layers_of_the_network():
    model = build_model(known_people.backbone(), 5)
    names = layer_names(model.training_model, model.inference_model)
    theta = [variable.name for variable in model.regularizer.trainable_variables if variable.name == "theta"]
    assert_diagram("adaptive_l2", BOXES, ARROWS, names | set(theta))
    embedding = model.inference_model.get_layer("embedding").output
    pooled = sum(model.inference_model.get_layer(f"{branch}_pooled").output.shape[1] for branch in
                 ("global", "upper", "lower"))  # fmt: skip
    assert embedding.shape[1] == pooled == 2 * model.inference_model.get_layer("global_pooled").output.shape[1]
