"""Made speech: voices are disjoint, one plan is one audio, and scenes are what their condition says."""

import numpy as np
import pytest
import yaml

from posttrain.acoustics import scenes, sounds
from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import build, speech
from posttrain.corpus.speech import Utterance
from posttrain.tasks.plan import plan

SMALL = CorpusConfig(train_clips=24, rl_clips=6, valid_clips=6, test_sentences=2, probe_items=2, spoken_items=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return build.build(plan(SMALL, 0), SMALL, 0, tmp_path_factory.mktemp("run") / "corpus", progress=False)


def test_no_voice_variant_is_in_two_splits():
    variants = {split: {v.split("+")[1] for v in speech.voices(split)} for split in ("train", "valid", "test")}
    assert len(variants["test"]) >= 12
    assert not variants["train"] & variants["valid"] | variants["train"] & variants["test"]
    assert not variants["valid"] & variants["test"]


def test_the_card_tells_the_voices_and_noises_of_each_split():
    card = yaml.safe_load(assets.path("data", "espeak-ng").read_text())
    for split, told in card["splits"].items():
        voices = speech.voices(split)
        assert told["voices"] == len(voices)
        assert told["variants"] == len({voice.split("+")[1] for voice in voices})
        assert told["accents_each"] == speech.ACCENTS_EACH[split]
        assert set(card["noises"][split]) == set(scenes.KINDS[split])
        assert set(card["sounds"][split]) == set(sounds.KINDS[split])


def test_every_voice_speaks():
    espeak = speech.Espeak()
    for split in speech.ACCENTS_EACH:
        for voice in speech.voices(split):
            said = espeak.say("turn it up", voice, 170, 50, 50)
            assert 0.3 < len(said) / 16_000 < 2.5, voice
            assert np.abs(said).max() > 0.01, voice


def test_a_voice_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="voice is no-such-language"):
        speech.Espeak().say("turn it up", "no-such-language", 170, 50, 50)


def test_one_plan_and_seed_give_one_audio_and_another_seed_another(corpus, tmp_path):
    again = build.build(plan(SMALL, 0), SMALL, 0, tmp_path / "again", progress=False)
    assert again.fingerprint == corpus.fingerprint
    other = build.build(plan(SMALL, 1), SMALL, 1, tmp_path / "other", progress=False)
    assert other.fingerprint != corpus.fingerprint
    for clip in corpus.clips.values():  # whatever the seed, runs are measured on the same test clips
        if clip.split == "test":
            assert np.array_equal(corpus.audio(clip.id), other.audio(clip.id))


def test_the_corpus_has_the_clips_that_its_examples_name(corpus):
    named = [e.clip for e in [*corpus.examples, *corpus.items, *corpus.pairs] if e.clip]
    assert len(named) > 40 and set(named) <= corpus.clips.keys()
    assert {e.split for e in corpus.examples} == {"train", "rl", "valid"}
    assert {e.split for e in corpus.items} == {"test"}
    for clip in corpus.clips.values():
        assert clip.speaker in speech.voices(clip.split)
        assert 0.2 < clip.samples / 16_000 < 20


def test_the_four_snrs_of_a_test_sentence_are_one_utterance_in_one_noise(corpus):
    by_probe = {e.id: corpus.clips[e.clip] for e in corpus.items if e.probe and e.probe.startswith("wer/")}
    clean, noisy = by_probe["wer/clean/0000"], by_probe["wer/snr0/0000"]
    assert clean.speaker == noisy.speaker and clean.samples == noisy.samples and clean.text == noisy.text
    assert clean.noise is None and noisy.noise is not None
    quiet, loud = (float(np.square(corpus.audio(c.id)).mean()) for c in (clean, noisy))
    assert loud > 1.3 * quiet


def test_padded_speech_is_the_same_utterance_with_up_to_two_seconds_more_on_either_side(corpus):
    by_probe = {e.id: corpus.clips[e.clip] for e in corpus.items if e.probe and e.probe.startswith("wer/")}
    longer = [by_probe[i.replace("clean", "padded")].samples - c.samples for i, c in by_probe.items() if "clean" in i]
    assert len(longer) > 1 and all(0 < samples <= 4 * 16_000 for samples in longer)
    assert {c.condition for i, c in by_probe.items() if "padded" in i} == {"padded"}


def test_sentences_in_a_row_have_pauses_between_them(corpus):
    joined = [clip for clip in corpus.clips.values() if clip.condition == "joined"]
    assert joined
    for clip in joined:
        frames = corpus.audio(clip.id)[: clip.samples // 320 * 320].reshape(-1, 320)
        quiet = "".join("_" if level < 1e-3 else "s" for level in frames.square().mean(1).sqrt().tolist())
        assert "s" + "_" * 14 in quiet.strip("_")  # 0.3 s, give or take a frame


def test_a_shard_that_fails_says_why(tmp_path):
    bad = Utterance("hello", "no-such-language", 170, 50, 50, "train", "clean", False, 0)
    with pytest.raises(RuntimeError, match="voice is no-such-language"):
        list(speech.synthesise([[bad]], tmp_path))
