"""What the re-identification projects evaluate with: features in order, numbers, tables, the figure of ranked lists."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from common import distribution
from common.backbones import build_backbone
from common.datasets.augmentation import Augmentation
from common.experiments.reid import data as reid_data
from common.experiments.reid import network, report, scores
from common.experiments.reid import training as reid_training
from common.experiments.reid.config import ReIDConfig
from common.experiments.reid.periodic_evaluation import PeriodicEvaluation
from common.experiments.training import precision
from common.retrieval import Embeddings, score
from tests.common import known_people
from tests.common.recorded import batches_of, rates, recorded
from tests.common.report.test_page_parts import pixels


@pytest.fixture
def people(tmp_path):
    """Six images, each of one color: the red value is the identity, ten times the camera the green one."""
    rows = []
    for identity, camera in ((7, 1), (7, 2), (8, 1), (8, 2), (9, 1), (9, 2)):
        path = tmp_path / f"{identity}_{camera}.png"
        cv2.imwrite(str(path), np.full((8, 4, 3), (0, 10 * camera, identity), "uint8"))  # blue first
        rows.append((str(path), identity, camera))
    return pd.DataFrame(rows, columns=["path", "identity", "camera"])


def test_features_of_each_output_in_the_order_of_the_table(people):
    image = keras.Input((8, 4, 3), dtype="uint8")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(image))
    model = keras.Model(image, {"rgb": mean, "red": mean[:, :1]})
    table = people.iloc[[4, 0, 3]]
    outputs = scores.embed(model, table, (8, 4))
    np.testing.assert_allclose(outputs["rgb"].features, [[9, 10, 0], [7, 10, 0], [8, 20, 0]])
    np.testing.assert_allclose(outputs["red"].features, [[9], [7], [8]])
    assert outputs["red"].identities.tolist() == [9, 7, 8] and outputs["red"].cameras.tolist() == [1, 1, 2]


def on_circle(degrees, identities, cameras):
    radians = np.radians(degrees)
    features = np.stack([np.cos(radians), np.sin(radians)], 1).astype("float32")
    return Embeddings(features, np.array(identities), np.array(cameras))


# The match of the first query comes first (AP 1), that of the second one second (AP 1/2).
QUERY, GALLERY = on_circle([0, 90], [7, 8], [1, 1]), on_circle([10, 60, 80], [7, 8, 9], [2, 2, 2])


def test_numbers_of_a_ranking_by_hand():
    record = scores.score_record(score(QUERY, GALLERY), QUERY, "double_")
    assert record["double_mAP"] == pytest.approx(0.75) and record["double_rank1"] == pytest.approx(0.5)
    assert record["double_rank5"] == 1
    # Each identity has a quarter of the draws for itself, so the bounds are the scores of one of them alone.
    assert record["double_mAP_interval"] == pytest.approx([0.5, 1])
    assert record["double_mINP"] == pytest.approx(0.75) and record["double_rank10"] == 1 and len(record) == 8
    assert record["double_identity_AP"] == [1.0, 0.5] and record["identity_queries"] == [1, 1]
    assert scores.score_cells([record, {**record, "double_mAP": 0.85}], "double_")[:2] == ["80.0 ± 7.1", "50.0 ± 0.0"]
    assert scores.interval_cell({"mAP_interval": [0.5, 0.996]}) == "50.0 to 99.6"


def test_table_of_cameras_by_hand():
    gallery = on_circle([10, 60, 80, 90], [7, 8, 9, 8], [2, 2, 2, 3])
    (row,) = report.camera_table(QUERY, gallery).splitlines()[2:]
    # Against camera 3 the second query alone has a match.
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["1", "75.0", "100.0"]


def test_ranked_lists_leave_out_what_the_rules_leave_out(people, tmp_path, monkeypatch):
    """The image of the same identity and camera, the nearest one, is no match; then right, then wrong."""
    figure = {}
    monkeypatch.setattr(report.plots, "ranked_lists", lambda path, columns: figure.update(columns))
    query = on_circle([0], [7], [1])
    gallery = on_circle([0, 10, 20], [7, 7, 8], [1, 2, 1])
    data = SimpleNamespace(query=people.iloc[:1], gallery=people.iloc[:3])
    ranking = score(query, gallery, protocol=report.protocol_of(query))
    report.draw_ranked_lists(query, gallery, ranking, data, tmp_path / "lists.png", count=1, depth=2)
    for heading in ("typical queries", "queries with the lowest AP"):
        (ranked,) = figure[heading]
        assert [image[0, 0, :2].tolist() for image in ranked.images] == [[7, 10], [7, 20], [8, 10]]
        assert ranked.right.tolist() == [True, False] and ranked.title == "AP 100 %"
        np.testing.assert_allclose(ranked.distances, 1 - np.cos(np.deg2rad([10, 20])), atol=1e-6)


def test_lists_to_browse_are_of_the_same_rules_and_cut_to_boxes(people):
    """As above; the second query, whose list is the worse one, comes first. The gallery's images are cut to a half."""
    query, gallery = on_circle([0, 0], [7, 8], [1, 1]), on_circle([0, 10, 20], [7, 7, 8], [1, 2, 2])
    boxed = people.iloc[:3].assign(left=0, top=0, right=4, bottom=4)
    part = report.lists_to_browse("Lists", query, gallery, SimpleNamespace(query=people.iloc[:2], gallery=boxed))
    assert (part.failures, part.spread, part.figures) == ([1, 0], [0, 1], ["figures/ranked_lists.png"])
    marks = {i: [(near.name, near.right) for near in ranked.nearest] for i, ranked in part.lists.items()}
    assert marks == {0: [("7", True), ("8", False)], 1: [("7", False), ("7", False), ("8", True)]}
    shapes = [pixels(picture.source).shape for picture in (part.lists[1].query, part.lists[1].nearest[0])]
    assert shapes == [(128, 64, 3), (128, 128, 3)]
    assert part.lists[1].nearest[1].detail == f"{1 - np.cos(np.deg2rad(10)):.3f}\ncamera 2"


def test_figures_are_published_of_synthetic_people_only(tmp_path, monkeypatch):
    copied = []
    (tmp_path / "untrained.json").write_text("{}")
    monkeypatch.setattr(report.tables, "copy_figures", lambda *arguments: copied.append(arguments))
    for dataset in ("market1501", "synthetic"):
        config = ReIDConfig(name=dataset, dataset=dataset)
        presets = {"market1501": ("", config)}
        report.publish(
            tmp_path, presets, SimpleNamespace(config=config, records=[{"mAP": 0.5}], run=tmp_path), {"a.png": "A."}
        )
    assert copied == [(tmp_path, tmp_path, {"a.png": "A."})]
    assert set(report.tables.published(tmp_path)) == {"market1501", "synthetic"}


def test_synthetic_people_are_as_many_as_the_settings_say(monkeypatch):
    monkeypatch.setattr(reid_data.person_reid, "read", lambda *arguments, **options: (arguments, options))
    config = ReIDConfig(dataset="synthetic", data_dir="folder", people=16)
    assert reid_data.read(config) == (("synthetic", "folder"), {"identities": 16})


def test_data_of_a_run(people_of_colors):
    """Three training identities held out leave two; junk is in what is read, and not in what is evaluated."""
    config = ReIDConfig(data_dir=people_of_colors)
    data = reid_data.read(config)
    assert reid_data.describe(config, data) == (
        "market1501, 17 images of 5 people, 12 queries, 43 in the gallery, 20 + 200 epochs"
    )
    assert len(data.without_junk().gallery) == 37 and -1 in set(data.gallery.identity)
    held_out = reid_data.read(replace(config, held_out=3))
    assert held_out.train.identity.nunique() == 2 and set(held_out.query.identity) == {2, 8, 14}


@pytest.fixture(scope="module")
def people_of_colors(tmp_path_factory):
    return known_people.draw(tmp_path_factory.mktemp("colors") / "people")


pytestmark = pytest.mark.filterwarnings("ignore:.*scores on it do not compare with published ones")
SCHEDULE = ReIDConfig(
    image_size=known_people.SIZE, epochs=5, frozen_epochs=2, steps_per_epoch=7, learning_rate=0.5, warmup_epochs=3,
    drop_epochs=(4,), identities_per_batch=3, images_per_identity=2, evaluate_every=2,
)  # fmt: skip


def stages(folder, people, config=SCHEDULE, seed=3):
    """The calls of `fit` in a training without augmentation, of a known backbone and one layer more; and the latter."""
    backbone = known_people.backbone()
    image = keras.Input(backbone.image_shape, dtype="uint8")
    maps = backbone.last_block(backbone.trunk(image))
    new = keras.layers.Dense(5, name="new")
    model = keras.Model(image, {"out": new(keras.layers.GlobalAveragePooling2D()(maps))})
    network = SimpleNamespace(training_model=model, frozen_blocks=backbone.blocks)
    with recorded() as calls:
        reid_training.train_two_stages(
            config, network, reid_data.read(replace(config, data_dir=people)), folder, seed=seed, embedder=model,
            losses={"out": "mse"}, targets=lambda labels: {"out": labels}, callbacks=["another"],
            augmentation=Augmentation(mirror=0, padding=0, erasing=0),
        )  # fmt: skip
    return calls, network


def test_stages_differ_in_what_is_trained_and_share_the_schedule(people_of_colors, tmp_path):
    """Warm-up of three epochs from a hundredth of 0.5 to 0.5, and a tenth of it from epoch 4 on."""
    calls, network = stages(tmp_path / "net", people_of_colors)
    new = {"new/kernel", "new/bias"}
    assert [call.trained for call in calls] == [new, {v.path for v in network.training_model.variables}]
    assert len(calls[1].trained) == 6
    assert [call.folder for call in calls] == [tmp_path / "net/frozen", tmp_path / "net"]
    assert [(call.epochs, call.steps_per_epoch, call.monitor, call.jit_compile) for call in calls] == [
        (2, 7, None, distribution.jit()), (5, 7, None, distribution.jit())
    ]  # fmt: skip
    for call in calls:
        np.testing.assert_allclose(rates(call, 5), [0.005, 0.2525, 0.5, 0.5, 0.05], rtol=1e-6)
        first, evaluation = call.callbacks
        assert first == "another" and type(evaluation) is PeriodicEvaluation and call.loss == {"out": "mse"}
        assert (evaluation.label, evaluation.epochs) == (call.folder.name, call.epochs)
        assert evaluation.embedder is network.training_model and len(evaluation.gallery) == 37


def test_the_best_epoch_is_chosen_in_the_second_stage_alone(people_of_colors, tmp_path):
    calls, _ = stages(tmp_path, people_of_colors, replace(SCHEDULE, choose_epoch="best_test"))
    assert [(call.monitor, call.mode, call.monitor_every) for call in calls] == [
        (None, "max", 2),
        ("test_mAP", "max", 2),
    ]


def test_batches_are_classes_from_zero_with_their_images(people_of_colors, tmp_path):
    images, identities, _ = known_people.pictures(people_of_colors, "bounding_box_train")
    classes = {image.tobytes(): (identity - 2) // 3 for image, identity in zip(images, identities)}
    calls, _ = stages(tmp_path, people_of_colors)
    again, other = (stages(tmp_path, people_of_colors, seed=seed)[0][0] for seed in (3, 4))
    taken = batches_of(calls[0], 14)
    assert taken[0][0].shape == (6, 32, 32, 3) and taken[0][0].dtype == "uint8"
    for pictures, targets in taken:
        labels = targets["out"]
        assert [classes[picture.tobytes()] for picture in pictures] == labels.tolist()
        assert (labels[::2] == labels[1::2]).all() and len(set(labels)) == 3
    for equal in (batches_of(calls[1], 14), batches_of(again, 14), taken[:7] + batches_of(again, 7, first_epoch=1)):
        assert all((a[0] == b[0]).all() for a, b in zip(equal, taken, strict=True))
    assert any((a[0] != b[0]).any() for a, b in zip(batches_of(other, 7), taken))


@pytest.mark.parametrize(("balance", "has_single"), [("images", False), ("identities", True)])
def test_identities_of_one_image_are_seen_where_identities_are_balanced(
    people_of_colors, tmp_path, balance, has_single
):
    (call, _), _ = stages(tmp_path, people_of_colors, replace(SCHEDULE, balance=balance))
    assert any(4 in targets["out"] for _, targets in batches_of(call, 14)) == has_single


@pytest.mark.parametrize("regional", [True, False])
def test_branches_of_a_backbone(regional):
    backbone = build_backbone("small_resnet", (64, 32), None)
    maps, blocks = network.branch_maps(backbone, keras.Input(backbone.image_shape), regional)
    widths = {"global": (None, 4, 2, 96), "upper": (None, 2, 2, 48), "lower": (None, 2, 2, 48)}
    assert {branch: part.shape for branch, part in maps.items()} == (
        widths if regional else {"global": widths["global"]}
    )
    assert blocks[:5] == backbone.blocks and [block.name for block in blocks[5:]] == ["regional_block"] * regional
    for region in ("upper", "lower") if regional else ():
        layer = maps[region]._keras_history.operation
        assert (layer.name, layer.kernel_size, layer.strides) == (f"{region}_reduced", (3, 3), (1, 1))
        assert layer.activation is keras.activations.relu and layer.padding == "same" and layer.use_bias


def test_classifier_is_a_batch_normalization_and_a_dense_layer_without_bias():
    """From the pixels: (x - mean) / √(variance + 2e-5), in training and, with Keras' momentum of 0.99, after a step."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    model = keras.Model(inputs, network.identity_logits("upper", inputs, 500))
    normalization, dense = model.layers[1:]
    assert (normalization.name, dense.name, dense.use_bias) == ("upper_bn", "upper_logits", False)
    kernel = keras.ops.convert_to_numpy(dense.kernel)
    # 32,000 numbers: three standard errors of the deviation are 1.2 %.
    assert kernel.std() == pytest.approx(0.001, rel=0.012) and abs(kernel.mean()) < 2e-5
    assert normalization.center and normalization.scale
    with precision("mixed_bfloat16"):
        assert network.identity_logits("lower", inputs, 5).dtype == "float32"
    x = np.random.default_rng(0).normal(0.02, 0.005, (10, 64)).astype("float32")  # variances of about 2e-5
    mean, variance = x.mean(axis=0, dtype="float64"), x.var(axis=0, dtype="float64")
    expected = (x - mean) / np.sqrt(variance + 2e-5) @ kernel
    np.testing.assert_allclose(model(x, training=True), expected, atol=1e-5)
    np.testing.assert_allclose(normalization.moving_mean, 0.01 * mean, rtol=1e-4)
    np.testing.assert_allclose(normalization.moving_variance, 0.99 + 0.01 * variance, rtol=1e-6)
