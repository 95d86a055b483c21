"""The three parts of a data set."""

from dataclasses import replace

import pytest

from shufflebits.config import PRESETS
from shufflebits.data import is_validation, read


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return replace(PRESETS["smoke"][1], name="run", users=0, data_dir=tmp_path_factory.mktemp("people"))


def test_parts_share_no_person(config):
    parts = read(config)
    sets = [set(table.identity) - {0} for table in (parts.victim, parts.local, parts.users)]
    assert [len(s) for s in sets] == [6, 6, 12] and len(set.union(*sets)) == 24
    assert (parts.users.identity >= 0).all() and len(parts.users) == 12 * 18 + 12 * 6  # with distractors, without junk
    assert "upred" in parts.local
    for a, b in zip(vars(parts).values(), vars(read(config)).values()):
        assert a.equals(b)


def test_users_are_spread_evenly(config):
    every, some = (read(replace(config, users=count)).users for count in (0, 4))
    assert some.path.tolist() == every.path.iloc[[0, 95, 191, 287]].tolist()


def test_features_of_another_model_leave_all_training_people_to_the_adversary(config):
    parts = read(replace(config, victim="bot", features="features.npz"))
    assert len(parts.victim) == 0 and parts.local.identity.nunique() == 12


def test_batches_that_the_local_set_cannot_fill(config):
    """108 images: one batch of 55 for the discriminator and one for the generator are too many."""
    with pytest.raises(
        ValueError, match="local set must have 110 images or more, got 108; lower --reconstruction-batch"
    ):
        read(replace(config, reconstruction_batch=55))
    read(replace(config, reconstruction_batch=54))
    read(replace(config, reconstruction_batch=108, attacks=("attributes", "pixel")))
    read(replace(config, reconstruction_batch=500, attacks=("attributes",)))


def test_validation_is_apart_by_person(config):
    local = read(config).local
    chosen = is_validation(local, 0.34)
    assert local.identity[chosen].nunique() == 2
    assert not set(local.identity[chosen]) & set(local.identity[~chosen])
