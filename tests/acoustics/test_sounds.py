"""Sounds that are not speech: made from a seed, of level one, and the test's kinds are not in training."""

import itertools

import numpy as np
import pytest

from posttrain.acoustics import scenes, sounds


@pytest.mark.parametrize("kind", sorted(set().union(*sounds.KINDS.values())))
@pytest.mark.parametrize("samples", [2_000, 40_000])
def test_every_kind_has_level_one_and_follows_its_seed(kind, samples):
    made = [sounds.sound(kind, samples, np.random.default_rng(5)) for _ in range(2)]
    assert made[0].shape == (samples,) and made[0].dtype == np.float32
    assert np.isfinite(made[0]).all() and scenes.rms(made[0]) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(*made)


def test_no_kind_is_in_two_splits_and_none_is_a_kind_of_noise():
    for one, other in itertools.combinations(("train", "valid", "test"), 2):
        assert not set(sounds.KINDS[one]) & set(sounds.KINDS[other])
    assert not set().union(*sounds.KINDS.values()) & set().union(*map(set, scenes.KINDS.values()))


def test_a_scene_without_speech_names_the_sound_of_its_split():
    for seed in range(10):
        scene, kind = scenes.compose(np.zeros(0, np.float32), "sound", "test", np.random.default_rng(seed))
        assert kind in sounds.KINDS["test"] and 16_000 <= len(scene) <= 12 * 16_000
