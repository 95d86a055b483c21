import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.experiments.config import (
    ImageTrainingConfig,
    RunConfig,
    SeededTrial,
    from_json,
    parse,
    run_command,
    to_json,
)
from common.experiments.reid.config import ReIDConfig
from tests.helpers import start_python


@dataclass(frozen=True)
class Example(RunConfig):
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    span: tuple[int, int] = (0, 1)

    def __post_init__(self):
        super().__post_init__()
        if self.rate <= 0:
            raise ValueError(f"rate must be above zero, got {self.rate}.")


PRESETS = {"demo": ("the default", Example()), "other": ("another", Example(rate=2.0))}


def test_preset_and_overrides(tmp_path):
    config = parse(PRESETS, ["other", "--kind", "b", "--seeds", "3", "4", "--data-dir", str(tmp_path)])
    assert config == Example(name="other", rate=2.0, kind="b", seeds=(3, 4), data_dir=tmp_path)
    assert parse(PRESETS, ["demo", "--name", "mine"]).name == "mine"
    assert parse({"demo": ("named", Example(name="own"))}, ["demo"]).name == "own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--rat", "1"], "Unrecognized options: --rat"),
        (["dem"], "There is no preset 'dem'; did you mean demo?"),
        (["demo", "--rate", "fast"], "could not convert string to float: 'fast'"),
        (["demo", "--kind", "c"], "c"),
        (["demo", "--rate", "-1"], "rate must be above zero, got -1.0"),
        (["demo", "--seeds", "1", "1"], "different integers from 0 to 2^31 - 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(PRESETS, arguments)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert message in " ".join((printed.out + printed.err).replace("│", " ").split())


@given(
    st.floats(min_value=1e-300, allow_infinity=False),
    st.lists(st.text()),
    st.one_of(st.none(), st.just(Path("a/b"))),
    st.sets(st.integers(0, 2**31 - 1), min_size=1),
)
def test_json_round_trip_is_exact(rate, names, data_dir, seeds):
    config = Example(rate=rate, names=tuple(names), data_dir=data_dir, seeds=tuple(seeds))
    assert from_json(json.loads(json.dumps(to_json(config))), Example) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": "fast"}, r"must be float, got 'fast' @ \$.rate"),
        ({"kind": "c"}, r"c not in literal .*'a', 'b'.* @ \$.kind"),
        ({"span": [1]}, r"Not enough values in \[1\] .* @ \$.span"),
        ({"seeds": [True]}, r"must be int, got True @ \$.seeds\[0\]"),
        ({"seeds": [1.5]}, r"must be int, got 1.5 @ \$.seeds\[0\]"),
        ({"names": [1]}, r"must be str, got 1 @ \$.names\[0\]"),
        ({"data_dir": 1}, r"@ \$.data_dir"),
        ({"extra": 1}, r"Example has no fields \['extra'\]"),
    ],
)
def test_wrong_json_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        from_json({**to_json(Example()), **change}, Example)


def test_missing_fields_have_their_defaults():
    assert from_json({"rate": 2}, Example) == Example(rate=2.0)


def test_errors_of_this_repository_are_sentences(tmp_path):
    """Of `common` and of projects, wherever these lie; errors of libraries keep their traceback."""
    with pytest.raises(SystemExit, match="^ValueError: Example has no fields"):
        run_command(lambda: from_json({"extra": 1}, Example))
    namespace = {}
    for name, is_project in (("my_idea", True), ("library", False)):
        package = tmp_path / "site-packages" / name / "part"
        package.mkdir(parents=True)
        for folder in (package, package.parent):
            (folder / "__init__.py").touch()
        if is_project:
            (package.parent / "train.py").touch()
        for kind in (ValueError, ArithmeticError, MemoryError, KeyError):
            source = f"def refuse():\n    raise {kind.__name__}('unfit')\n"
            exec(compile(source, str(package / "module.py"), "exec"), namespace)
            shown = is_project and kind is not KeyError  # a mistake in the program
            error, message = (SystemExit, f"^{kind.__name__}: unfit$") if shown else (kind, "^'?unfit'?$")
            with pytest.raises(error, match=message):
                run_command(namespace["refuse"])


def test_output_that_nobody_reads_ends_a_program_in_silence():
    """As of `| head -1`: no traceback, and the status that a shell gives such an end."""
    code = (
        "from common.experiments.config import run_command; run_command(lambda: print('line\\n' * 10**6, flush=True))"
    )
    process = start_python("-c", code)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 128 + 13


@dataclass(frozen=True)
class ExampleTrial(SeededTrial):
    loss: str
    seed: int
    weight: float
    size: int


def test_name_of_a_trial_is_its_fields_and_then_its_seed():
    assert ExampleTrial("triplet", 7, 0.060, 12).name == "triplet-0.06-12-seed7"


@pytest.mark.parametrize("kind", [ImageTrainingConfig, ReIDConfig])
def test_bounds_are_accepted_and_what_is_beyond_them_is_not(kind):
    bounds = {"epochs": 1, "warmup_epochs": 0, "image_size": (32, 32), "learning_rate": 1e-9, "seeds": (0,)}
    beyond = [
        ({"epochs": 0}, "epochs must be above zero, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above zero, got 0.0"),
        ({"warmup_epochs": -1}, "warmup_epochs must be zero or more, got -1"),
        ({"image_size": (31, 64)}, r"image_size must be at least 32 × 32 pixels, got \(31, 64\)"),
        ({"image_size": (64, 31)}, "image_size must be at least 32 × 32"),
        ({"seeds": ()}, r"seeds must be one or more different integers from 0 to 2.31 - 1, got \(\)"),
        ({"seeds": (2, 2)}, "seeds must be one or more different"),
        ({"seeds": (2**31,)}, r"from 0 to 2.31 - 1, got \(2147483648,\)"),
        ({"seeds": (0, -1)}, "seeds must be one or more different"),
    ]
    if kind is ReIDConfig:
        bounds |= {"held_out": 0, "frozen_epochs": 0, "evaluate_every": 0, "choose_epoch": "last"}
        bounds |= {"identities_per_batch": 2, "images_per_identity": 2, "steps_per_epoch": 1}
        beyond += [
            ({"held_out": -1}, "held_out must be zero or more, got -1"),
            ({"frozen_epochs": -1}, "frozen_epochs must be zero or more, got -1"),
            ({"evaluate_every": -1}, "evaluate_every must be zero or more, got -1"),
            ({"identities_per_batch": 1}, "must be two or more: .* got 1 and 2"),
            ({"images_per_identity": 1}, "must be two or more: .* got 2 and 1"),
            ({"choose_epoch": "best_test"}, "choose_epoch best_test needs evaluate_every to be above zero, got 0"),
        ]
        kind(**bounds | {"choose_epoch": "best_test", "evaluate_every": 1})
    kind(**bounds)
    for change, message in beyond:
        with pytest.raises(ValueError, match=message):
            kind(**bounds | change)


def test_only_where_an_epoch_may_be_a_pass_are_no_steps_accepted():
    assert ImageTrainingConfig(steps_per_epoch=0).steps_per_epoch == 0
    with pytest.raises(ValueError, match="steps_per_epoch must be zero or more, got -1"):
        ImageTrainingConfig(steps_per_epoch=-1)
    with pytest.raises(ValueError, match="steps_per_epoch must be above zero, got 0"):
        ReIDConfig(steps_per_epoch=0)
