from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import config as run_config
from common.config import RunConfig, from_json, load_config, newest_run, open_run, parse, to_json
from common.files import write_json


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--rat", "1"], "Unrecognized options: --rat"),
        (["dem"], "Available subcommands: demo, other"),
        (["demo", "--rate", "fast"], "could not convert string to float: 'fast'"),
        (["demo", "--kind", "c"], "c"),
        (["demo", "--rate", "-1"], "rate must be above zero, got -1.0"),
        (["demo", "--seeds", "1", "1"], "different integers from 0 on"),
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
    st.sets(st.integers(0, 2**40), min_size=1),
)
def test_json_round_trip_is_exact(rate, names, data_dir, seeds):
    import json

    config = Example(rate=rate, names=tuple(names), data_dir=data_dir, seeds=tuple(seeds))
    assert from_json(json.loads(json.dumps(to_json(config))), Example) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": "fast"}, "Field 'rate' must be <class 'float'>, got 'fast'"),
        ({"kind": "c"}, "Field 'kind' must be"),
        ({"span": [1]}, "Field 'span' must be"),
        ({"seeds": [1.5]}, "Field 'seeds' must be <class 'int'>, got 1.5"),
        ({"extra": 1}, "unknown \\['extra'\\], missing \\[\\]"),
    ],
)
def test_wrong_json_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        from_json({**to_json(Example()), **change}, Example)


def test_run_folder_opens_again_only_with_the_same_config(tmp_path):
    config = Example(name="run", runs_dir=tmp_path)
    run = open_run(config, "project")
    assert run == tmp_path / "project" / "run"
    assert open_run(replace(config, data_dir=Path("moved"), strategy="one"), "project") == run
    with pytest.raises(ValueError, match="rate was 0.5 and is now 0.25.*Choose another --name"):
        open_run(replace(config, rate=0.25), "project")
    assert load_config(run, Example).rate == 0.5


def test_run_folder_takes_more_seeds_and_gives_none_up(tmp_path):
    config = Example(name="run", runs_dir=tmp_path, seeds=(0, 3))
    run = open_run(config, "project")
    with pytest.raises(ValueError, match=r"seeds was \[0, 3\] and is now \[0, 1\].*only seeds may be added"):
        open_run(replace(config, seeds=(0, 1)), "project")
    assert load_config(run, Example).seeds == (0, 3)
    assert open_run(replace(config, seeds=(0, 1, 3)), "project") == run
    assert load_config(run, Example).seeds == (0, 1, 3)


def test_folder_with_other_content_is_not_touched(tmp_path):
    (tmp_path / "project/run").mkdir(parents=True)
    (tmp_path / "project/run/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty and has no config.json"):
        open_run(Example(name="run", runs_dir=tmp_path), "project")
    assert [path.name for path in (tmp_path / "project/run").iterdir()] == ["thesis.txt"]


def test_folder_that_was_killed_before_its_config_is_opened(tmp_path):
    (tmp_path / "project/run").mkdir(parents=True)
    (tmp_path / "project/run/.host.1.config.json").write_text('{"name":')
    assert load_config(open_run(Example(name="run", runs_dir=tmp_path), "project"), Example).rate == 0.5


def test_not_a_run_folder(tmp_path):
    with pytest.raises(ValueError, match="is not a run folder: it has no config.json"):
        load_config(tmp_path, Example)
    (tmp_path / "config.json").write_text('{"rate": 1')
    with pytest.raises(ValueError, match="config.json cannot be read as a config"):
        load_config(tmp_path, Example)


def test_newest_run(tmp_path):
    import os

    with pytest.raises(ValueError, match="Train first: make train-project"):
        newest_run(tmp_path, "project")
    for age, name in enumerate(["b", "a"]):
        run = open_run(Example(name=name, runs_dir=tmp_path), "project")
        write_json(run / "environment.json", {})
        os.utime(run / "environment.json", (1000 - age, 1000 - age))
    assert run_config.newest_run(tmp_path, "project").name == "b"
