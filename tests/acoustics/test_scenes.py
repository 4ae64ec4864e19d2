"""One function mixes; kinds of noise are split; rooms keep the speech in its place."""

import numpy as np
import pytest

from posttrain.acoustics import scenes

RNG = np.random.default_rng(0)
SPEECH = (RNG.standard_normal(32_000) * np.repeat(RNG.random(100) > 0.4, 320) * 0.1).astype(np.float32)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_mixing_gives_the_snr_asked_for_over_the_active_speech(snr_db):
    noise = RNG.standard_normal(32_000).astype(np.float32) * 3
    mixed = scenes.mix(SPEECH, noise, snr_db)
    added = mixed - SPEECH
    assert 20 * np.log10(scenes.active_rms(SPEECH) / scenes.rms(added)) == pytest.approx(snr_db, abs=1e-3)


def test_pauses_do_not_count_as_speech():
    padded = np.concatenate([SPEECH, np.zeros(64_000, np.float32)])
    assert scenes.active_rms(padded) == pytest.approx(scenes.active_rms(SPEECH), rel=1e-6)


@pytest.mark.parametrize(
    ("speech", "noise"), [(SPEECH, np.zeros(32_000)), (np.zeros(32_000), SPEECH), (SPEECH, SPEECH[:100])]
)
def test_mixing_with_silence_or_another_length_is_refused(speech, noise):
    with pytest.raises(ValueError, match="expected"):
        scenes.mix(speech, noise, 0)


@pytest.mark.parametrize("kind", sorted(set().union(*scenes.KINDS.values())))
@pytest.mark.parametrize("samples", [2_000, 40_000])
def test_every_kind_of_noise_has_level_one_and_follows_its_seed(kind, samples):
    made = [scenes.noise(kind, samples, np.random.default_rng(5), [SPEECH]) for _ in range(2)]
    assert made[0].shape == (samples,) and made[0].dtype == np.float32
    assert np.isfinite(made[0]).all() and scenes.rms(made[0]) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(*made)


def test_no_kind_of_noise_is_in_two_splits_but_for_babble_of_other_voices():
    for one, other in (("train", "test"), ("train", "valid"), ("valid", "test")):
        assert set(scenes.KINDS[one]) & set(scenes.KINDS[other]) == {"babble"}


@pytest.mark.parametrize("condition", ["clean", "snr20", "snr0", "noise", "silence"])
def test_a_scene_is_int16_and_names_its_noise(condition):
    for seed in range(10):
        scene, kind = scenes.compose(SPEECH, condition, "test", np.random.default_rng(seed), [SPEECH])
        assert scene.dtype == np.int16 and np.abs(scene.astype(int)).max() < 32_767
        assert (kind in scenes.TEST_KINDS) == (condition not in ("clean", "silence"))
        if condition == "silence":
            assert scenes.rms(scene / 32_768) < 2e-3


def test_a_talker_who_says_nothing_is_left_out_of_the_babble():
    for seed in range(20):
        scene, _ = scenes.compose(np.zeros(0, np.float32), "noise", "test", np.random.default_rng(seed), [SPEECH[:0]])
        assert np.abs(scene.astype(int)).max() > 0


def test_rooms_start_with_the_direct_sound_and_ring_on():
    responses = scenes.rooms("train", 3)
    for response in responses:
        assert np.abs(response[0]) >= 0.5 and np.abs(response).max() == pytest.approx(1, abs=1e-5)
        assert np.abs(response[800:]).max() > 1e-4
    wet = scenes.reverberate(SPEECH, responses[0])
    assert len(wet) == len(SPEECH) + 2_400
    assert np.array_equal(responses[0], scenes.rooms("train", 3)[0])
    assert not np.array_equal(responses[0], scenes.rooms("test", 3)[0])


def test_padded_speech_keeps_its_words_and_has_zeros_or_faint_noise_around():
    lengths, levels = set(), []
    for seed in range(40):
        plain, _ = scenes.compose(SPEECH, "clean", "test", np.random.default_rng(seed), [SPEECH])
        padded, kind = scenes.compose(SPEECH, "clean", "test", np.random.default_rng(seed), [SPEECH], padded=True)
        assert kind is None and 0 <= len(padded) - len(plain) <= 2 * 2.0 * 16_000 + 1
        lengths.add(len(padded))
        levels.append(20 * np.log10(scenes.rms(padded[:160] / 32_768) + 1e-7))
    assert len(lengths) == 40
    assert min(levels) < -100 and -70 < max(levels) < -40  # of the first hundredth of a second: zeros, and faint noise


def test_padding_of_noisy_speech_is_in_its_noise():
    scene, kind = scenes.compose(SPEECH, "snr5", "test", np.random.default_rng(1), [SPEECH], padded=True)
    plain, _ = scenes.compose(SPEECH, "snr5", "test", np.random.default_rng(1), [SPEECH])
    assert kind in scenes.TEST_KINDS and len(scene) > len(plain) + 8_000
    assert scenes.rms(scene[:1_600]) > 0.1 * scenes.rms(scene)


def test_utterances_in_a_row_have_a_pause_between_them():
    row = scenes.in_a_row([SPEECH, SPEECH, SPEECH], np.random.default_rng(0))
    assert 3 * len(SPEECH) + 2 * 0.3 * 16_000 <= len(row) <= 3 * len(SPEECH) + 2 * 0.9 * 16_000
    assert np.array_equal(row[: len(SPEECH)], SPEECH) and np.array_equal(row[-len(SPEECH) :], SPEECH)
