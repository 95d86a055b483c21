"""The settings of every paper preset, field by field, against a table transcribed from the publications."""

import importlib
import tomllib
from fnmatch import fnmatch

import pytest

from common.experiments.config import to_json
from tests.children import PROJECTS, ROOT

SETTINGS = tomllib.loads((ROOT / "tests/golden/published_settings.toml").read_text(encoding="utf-8"))
# Fields that change no number: names, devices, the size of the drawn set, which these presets do not read, and where
# files lie, unless the presets name one; and what becomes of damaged pictures of one's own.
ELSEWHERE = {
    "name", "strategy", "worker_wait", "people", "runs_dir", "data_dir", "test_dir", "perceptual_weights",
    "skip_damaged",
}  # fmt: skip


def presets(project):
    return importlib.import_module(f"{project}.config").PRESETS


def test_each_project_has_its_settings_and_each_section_a_preset():
    assert sorted(SETTINGS) == PROJECTS
    for project, sections in SETTINGS.items():
        names = list(presets(project))
        patterns = [pattern for pattern in sections if pattern != "left_out"] + sections["left_out"]
        assert [p for p in patterns if not any(fnmatch(name, p) for name in names)] == [], project


@pytest.mark.parametrize("project", SETTINGS)
def test_paper_presets_have_the_published_settings(project):
    sections = {pattern: values for pattern, values in SETTINGS[project].items() if pattern != "left_out"}
    for name, (_, config) in presets(project).items():
        if not any(fnmatch(name, pattern) for pattern in SETTINGS[project]["left_out"]):
            expected = {}
            for pattern, values in sections.items():
                expected |= values if fnmatch(name, pattern) else {}
            assert {field: v for field, v in to_json(config).items() if field not in ELSEWHERE} == expected, name
