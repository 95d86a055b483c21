"""What may go wrong with a run: each is refused in one sentence, or mended; and nothing is lost."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_l2.config import PRESETS as ADAPTIVE
from adaptive_l2.train import train as train_adaptive
from common.datasets import digits
from common.experiments import identity
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.config import run_command
from common.experiments.run_folder import LOCK, locked, open_run, refuse_another
from common.files import write_json
from common.report.tables import Report
from l2_autoencoder import evaluate as l2_evaluate
from l2_autoencoder.config import PRESETS
from l2_autoencoder.evaluate import evaluate as full_evaluation
from l2_autoencoder.train import train
from neural_compression.config import PRESETS as NEURAL
from shufflebits.config import PRESETS as SHUFFLEBITS
from shufflebits.train import train as train_shufflebits
from tests.children import PROJECTS
from tests.helpers import run_python, start_python
from tests.resuming import assert_same_checkpoints

A, B = "none-seed0", "l2-seed0"
STATE = "checkpoint/state.npz"
CONFIG = replace(PRESETS["smoke"][1], name="run", normalizations=("none", "l2"), kmeans_restarts=1)
EMBEDDED = digits.read_embedded()
FEW = digits.Digits(
    EMBEDDED.train_images[:200], EMBEDDED.train_labels[:200], EMBEDDED.test_images[:20], EMBEDDED.test_labels[:20]
)
evaluate = replace(full_evaluation, report=lambda results: Report("numbers", {}, {}))


@pytest.fixture(scope="module", autouse=True)
def few_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "read", lambda dataset, data_dir: FEW)
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A run of two finished trainings, and its numbers."""
    run = train(replace(CONFIG, runs_dir=tmp_path_factory.mktemp("sound")))
    return run, evaluate(run)


@pytest.fixture
def run(sound, tmp_path):
    """A copy of it somewhere else."""
    copied = shutil.copytree(sound[0], tmp_path / "elsewhere/l2_autoencoder/run")
    edit("config.json", runs_dir=str(tmp_path / "elsewhere"))(copied)
    return copied


def content(run):
    """Relative path -> bytes and time of each file, without those of the lock."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != LOCK]
    return {path.relative_to(run).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def train_again(run, **changes):
    return train(replace(CONFIG, **{"name": run.name, "runs_dir": run.parents[1], **changes}))


def truncate(name, length=100):
    def cut(run):
        path = run / name
        path.write_bytes(path.read_bytes()[:length])

    return cut


def copy(name, other):
    def put(run):
        target = run / other
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        (shutil.copytree if (run / name).is_dir() else shutil.copy)(run / name, target)

    return put


def remove(name):
    return lambda run: (run / name).unlink()


def edit(name, **values):
    return lambda run: write_json(run / name, {**json.loads((run / name).read_text()), **values})


def no_change(run):
    pass


TRAIN, EVALUATE = train_again, lambda run: evaluate(run)
# What has happened to a run, what is done with it then, and how that is refused.
REFUSED: dict[str, tuple[Callable[[Path], None], Callable[[Path], object], str]] = {
    "checkpoint of another training": (
        copy(f"{A}/{STATE}", f"{B}/{STATE}"), TRAIN, f"{B}/{STATE} was not trained here: it is of the training '{A}'",
    ),
    "checkpoint of another training, evaluated": (
        copy(f"{A}/{STATE}", f"{B}/{STATE}"), EVALUATE, f"{B}/{STATE} was not trained here: it is of the",
    ),
    "folder of another training": (copy(A, B), EVALUATE, f"it is of the training '{A}'. Put the right file back"),
    "truncated checkpoint": (truncate(f"{B}/{STATE}"), TRAIN, "state.npz is damaged.*start that training over"),
    "checkpoint that is gone": (remove(f"{B}/{STATE}"), TRAIN, "has a log and weights of 2 epochs, but no checkpoint"),
    "weights of another training": (
        copy(f"{A}/{BEST_WEIGHTS}", f"{B}/{BEST_WEIGHTS}"), EVALUATE, f"{B}/{BEST_WEIGHTS} is not the file that",
    ),
    "truncated weights": (truncate(f"{B}/{BEST_WEIGHTS}"), EVALUATE, "is not the file that its training wrote. Put"),
    "edited setting": (edit("config.json", batch_size=128), EVALUATE, "with .batch_size was 256 and is now 128.. Put"),
    "edited identity": (edit("identity.json", settings={}), TRAIN, "holds another run .dataset was 'mnist'"),
    "edited epochs": (edit("config.json", epochs=1), EVALUATE, "not what was trained with .epochs was 2 and is now 1"),
    "edited seeds": (edit("config.json", seeds=[0, 1]), EVALUATE, "what was trained with .seeds or epochs were added"),
    "unknown setting": (edit("config.json", bathc_size=1), EVALUATE, "Config has no fields .'bathc_size'"),
    "truncated config": (truncate("config.json"), EVALUATE, "config.json cannot be read as a config"),
    "truncated identity": (truncate("identity.json"), TRAIN, "identity.json is damaged .*Remove .* or put the file"),
    "identity without data": (edit("identity.json", data={}), EVALUATE, "is of the training .* of another run. Put"),
    "no identity": (remove("identity.json"), EVALUATE, "has lost its identity.json; the command that trained"),
    "another setting": (no_change, lambda run: train_again(run, batch_size=128), "batch_size was 256 and is now 128"),
    "another architecture": (no_change, lambda run: train_again(run, architecture="dense"), "architecture was 'conv"),
    "seeds taken away": (no_change, lambda run: train_again(run, seeds=(1,)), r"seeds was \[0\] and is now \[1\]"),
    "fewer epochs": (no_change, lambda run: train_again(run, epochs=1), "epochs was 2 and is now 1.*epochs raised"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence_and_nothing_is_touched(name, run):
    corrupt, act, sentence = REFUSED[name]
    corrupt(run)
    before = content(run)
    with pytest.raises(SystemExit, match=f"^ValueError: .*{sentence}"):
        run_command(lambda: act(run))
    assert content(run) == before


@pytest.mark.parametrize("act", [TRAIN, EVALUATE], ids=["train", "evaluate"])
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (replace(FEW, train_images=FEW.train_images[1:]), "data train_images were 200 samples and are now 199"),
        (replace(FEW, test_labels=FEW.test_labels[::-1]), "the content of data test_labels differs"),
    ],
    ids=["fewer images", "other labels"],
)
def test_other_data_are_refused(data, sentence, act, run, monkeypatch):
    monkeypatch.setattr(digits, "read", lambda dataset, data_dir: data)
    before = content(run)
    with pytest.raises(ValueError, match=sentence):
        act(run)
    assert content(run) == before


@pytest.mark.parametrize(
    "corrupt",
    {
        "numbers of another training": copy(f"{A}/metrics.json", f"{B}/metrics.json"),
        "truncated numbers": truncate(f"{B}/metrics.json"),
        "truncated embeddings": truncate(f"{B}/outputs.npz"),
        "embeddings of another training": copy(f"{A}/outputs.npz", f"{B}/outputs.npz"),
        "embeddings that are gone": remove(f"{B}/outputs.npz"),
    }.items(),
    ids=lambda item: item[0],
)
def test_numbers_are_computed_anew(corrupt, run, sound):
    corrupt[1](run)
    assert evaluate(run) == sound[1]
    for name in (f"{B}/metrics.json", f"{B}/outputs.npz"):
        assert (run / name).read_bytes() == (sound[0] / name).read_bytes()


def test_numbers_are_computed_anew_by_other_code(run, monkeypatch):
    """Of any module that the evaluation imports; a start with that code says so once it trains."""
    monkeypatch.setattr(identity, "code_of", lambda module: {"common.metrics": "changed"})
    monkeypatch.setattr(l2_evaluate, "clustering_record", lambda *_: ({"accuracy": 2.0}, np.zeros(220)))
    assert [record["accuracy"] for record in evaluate(run)] == [2, 2]


def test_a_start_that_trains_nothing_changes_nothing(run, sound):
    """Also where a killed process has left its lock, and a run was renamed, but for its name."""
    (run / LOCK).write_text("1")
    before = content(run)
    assert train_again(run) == run and content(run) == before
    renamed = run.rename(run.with_name("renamed"))
    assert train_again(renamed) == renamed
    after = content(renamed)
    assert {name for name in before if before[name] != after[name]} == {"config.json"}
    assert evaluate(renamed) == sound[1]


def test_lost_files_next_to_the_weights_are_written_again(run, sound):
    for name in (f"{B}/log.csv", f"{B}/tensorboard/events.out.tfevents.0", "identity.json", "config.json"):
        (run / name).unlink()
    truncate("environment.json")(run)
    with pytest.raises(ValueError, match="not empty and has no config.json"):
        train_again(run)
    shutil.copy(sound[0] / "config.json", run)
    train_again(run)
    for name in (f"{B}/log.csv", "identity.json"):
        assert (run / name).read_bytes() == (sound[0] / name).read_bytes()
    assert evaluate(run) == sound[1]


def test_more_epochs_go_on_where_the_others_ended(run, tmp_path):
    """As if there had been as many from the beginning; the numbers are anew, and the environment has both starts."""
    one = {"normalizations": ("l2",), "runs_dir": tmp_path}
    whole, part = (train(replace(CONFIG, name=name, epochs=n, **one)) for name, n in (("whole", 2), ("part", 1)))
    first = evaluate(part)
    assert train(replace(CONFIG, name="part", epochs=2, **one)) == part
    assert_same_checkpoints(part, whole, "l2-seed0")
    (record,), (expected,) = evaluate(part), evaluate(whole)
    assert record.pop("made_from") != expected.pop("made_from") and record == expected
    assert record["reconstruction_error"] != first[0]["reconstruction_error"]
    epochs = [entry["epochs"] for entry in json.loads((part / "environment.json").read_text())]
    assert epochs == [{"l2-seed0": [1, 1]}, {"l2-seed0": [2, 2]}]


@pytest.mark.parametrize(
    ("config", "field", "sentence"),
    [
        (NEURAL["smoke"][1], "epochs", "epochs was 1 and is now 2.*schedule ends with its epochs, so it cannot"),
        (SHUFFLEBITS["smoke"][1], "victim_epochs", "victim_epochs was 1 and is now 2.*only seeds may be added"),
        (SHUFFLEBITS["smoke"][1], "classifier_epochs", "classifier_epochs was 2 and is now 3.*only seeds may be added"),
    ],
)
def test_a_schedule_that_ends_with_its_epochs_is_not_extended(config, field, sentence, tmp_path):
    config = replace(config, name="run", runs_dir=tmp_path)
    run = open_run(config, "project")
    with pytest.raises(ValueError, match=sentence):
        refuse_another(run, replace(config, **{field: getattr(config, field) + 1}))


@pytest.mark.parametrize(
    ("train_one", "config", "sentence"),
    [
        (
            train_adaptive,
            replace(ADAPTIVE["smoke"][1], backbone="mobilenet_0.25", weights="none.h5"),
            "no weights file",
        ),
        (train_adaptive, replace(ADAPTIVE["smoke"][1], weights="imagenet"), "small_resnet has no pretrained weights"),
        (train_shufflebits, replace(SHUFFLEBITS["smoke"][1], perceptual_weights="x.h5"), "has no pretrained weights"),
        (train_shufflebits, replace(SHUFFLEBITS["smoke"][1], victim="bot", features=Path("none.npz")), "There is no f"),
    ],
    ids=["weights", "weights of another", "perceptual weights", "features"],
)
def test_nothing_is_written_before_all_is_there(train_one, config, sentence, people, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        train_one(replace(config, name="run", data_dir=people, runs_dir=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_weights_count_by_their_content(tmp_path):
    paths = [tmp_path / name for name in ("a.h5", "b.h5", "c.h5")]
    for path, text in zip(paths, "xxy"):
        path.write_text(text)
    a, b, c = (replace(ADAPTIVE["smoke"][1], name="run", weights=str(path), runs_dir=tmp_path) for path in paths)
    assert open_run(a, "adaptive_l2") == open_run(b, "adaptive_l2")
    with pytest.raises(ValueError, match="the content of weights is another"):
        open_run(c, "adaptive_l2")
    with pytest.raises(ValueError, match="weights was .* and is now none"):
        open_run(replace(a, weights="none"), "adaptive_l2")


HOLD = """
import pathlib, sys, time
from common.experiments.run_folder import locked
with locked(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_two_processes_end_in_one_training_and_one_refusal(run, monkeypatch):
    """By hand, or two tasks of SLURM that do not train together."""
    other = start_python("-c", HOLD, str(run))
    assert other.stdout.readline() == "locked\n"
    before = content(run)
    sentence = rf"^ValueError: {run} is being trained by process \d+ on \S+ since .*Wait for it, stop it there, or"
    with pytest.raises(SystemExit, match=sentence):
        run_command(lambda: train_again(run))
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(ValueError, match="This is one of 2 tasks of SLURM that train apart: ask for --ntasks=1"):
        train_again(run)
    assert content(run) == before
    other.kill()
    other.communicate()
    with locked(run):  # the operating system has let go of it
        pass


READ_ALONE = """
import contextlib, io, json, resource, runpy, sys
used, said = 0, []
for command in json.loads(sys.argv[1]):
    sys.argv[:] = command.split()
    with contextlib.redirect_stdout(text := io.StringIO()), contextlib.redirect_stderr(text):
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        except SystemExit as stop:
            print(stop.code)
    before, usage = used, resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    said.append((text.getvalue(), used - before))
assert not {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
print(json.dumps(said))
"""
# Programs of the projects besides training and evaluation, and those of `common`.
PROGRAMS = [
    "adaptive_l2.digit_classifier", "common.datasets", "common.retrieval", "flipreid.embed", "flipreid.export",
    "l2_autoencoder.export", "neural_compression.codec", "neural_compression.evaluation.compare",
    "shufflebits.compare", "shufflebits.cryptanalysis", "shufflebits.service", "shufflebits.service.server",
    "vehicle_attributes.embed", "vehicle_attributes.export", "vehicle_attributes.gallery",
]  # fmt: skip
# Whose help takes a second more, for pandas and Numba.
SLOWER = {"common.datasets", "common.retrieval", "shufflebits.cryptanalysis", "vehicle_attributes.gallery"}
# Command line -> what it prints.
READ = {f"{program} --help": "usage:" for program in PROGRAMS}
for _project in PROJECTS:
    READ |= {
        f"{_project} --help": "demo",
        f"{_project} dmeo": "There is no preset 'dmeo'; did you mean demo",
        f"{_project}.evaluate --help": "usage:",
        f"{_project}.evaluate --pulbish": "--publish",
    }
READ |= {
    "flipreid demo --epochs -1": "epochs must be above zero, got -1",
    "flipreid demo --eposch 3": "--epochs INT",
    f"flipreid demo --seeds {2**32 - 1}": "different integers from 0 to 2^31 - 1",
}


@pytest.mark.parametrize("part", ["common", *PROJECTS])
def test_command_line_is_read_before_a_framework_is_imported(part):
    """Help, a typo and a bad value: below a second of the processor's time, and TensorFlow has not been heard of."""
    commands = [command for command in READ if re.match(rf"{part}\b", command)]
    out, _ = run_python("-c", READ_ALONE, json.dumps(commands), fresh=True)
    for command, (said, seconds) in zip(commands, json.loads(out), strict=True):
        text = " ".join(said.replace("│", " ").split())
        assert READ[command] in text and "Traceback" not in text, command
        assert seconds < (3 if command.split()[0] in SLOWER else 1), command


def test_seeds_of_all_starts_of_k_means_fit():
    with pytest.raises(ValueError, match="must be below 2.32, got seeds .2000000000,. and 3 restarts"):
        replace(CONFIG, kmeans_restarts=3, seeds=(2_000_000_000,))


def test_interrupted_evaluation_ends_in_a_sentence(run, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    (run / f"{B}/metrics.json").unlink()
    monkeypatch.setattr(l2_evaluate, "restore", interrupt)
    with pytest.raises(SystemExit) as stopped:
        run_command(lambda: evaluate(run))
    assert stopped.value.code == 130 and "the same command goes on from there" in capsys.readouterr().err
