"""Whisper: features and frames are Whisper's own, and so is the transcript of a clip of half a minute."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

from posttrain.acoustics.frontend import collate
from posttrain.corpus.normalise import normalise
from posttrain.errors import InputError
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import run
from tests import tiny_encoders

RATE = 16_000


def clips(*samples: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=generator) * 0.1 for n in samples]


@pytest.fixture(scope="module", params=[False, True], ids=["english", "multilingual"])
def folder(request, tmp_path_factory):
    return tiny_encoders.whisper(tmp_path_factory.mktemp("whisper"), multilingual=request.param)


@pytest.fixture(scope="module")
def encoder(folder):
    return encoders.load(folder)


def test_features_are_those_of_whispers_own_extractor_for_the_clip_and_its_silence(encoder, folder):
    waveforms = clips(16_000, 23_456, 8_000)
    features, mask = encoder.features(*collate(waveforms))
    assert mask.sum(-1).tolist() == [100, 146, 50]
    theirs = WhisperFeatureExtractor.from_pretrained(folder)
    for waveform, ours, mel in zip(waveforms, features, (150, 200, 100), strict=True):
        padded = np.pad(waveform.numpy(), (0, mel * 160 - len(waveform)))
        expected = theirs(padded, sampling_rate=RATE, padding=False, return_tensors="pt").input_features[0].T
        # measured 5e-7; with another window, or floor, or without it, 1e-2 and more
        assert (ours[:mel] - expected).abs().max() < 1e-5


def test_at_full_length_frames_and_words_are_those_of_whispers_own_forward_and_generate(encoder, folder):
    (waveform,) = clips(encoder.longest_samples)
    theirs = WhisperForConditionalGeneration.from_pretrained(folder)
    features = WhisperFeatureExtractor.from_pretrained(folder)(
        waveform.numpy(), sampling_rate=RATE, return_tensors="pt"
    )
    language = {"language": "en", "task": "transcribe"} if theirs.generation_config.is_multilingual else {}
    with torch.no_grad():
        expected = theirs.model.encoder(features.input_features).last_hidden_state[0]
        written = theirs.generate(features.input_features, max_new_tokens=40 - len(encoder.prompt), **language)
    ((frames, words),) = encoder.transcribe(waveform[None], torch.tensor([len(waveform)]))
    assert frames.shape == (1475, 32)
    assert (frames - expected[:1475]).abs().max() < 1e-4 * expected.abs().max()
    said = WhisperTokenizer.from_pretrained(folder).decode(written[0], skip_special_tokens=True)
    assert words == normalise(said) and len(words) > 1


def test_the_transcript_avoids_what_the_folder_suppresses_and_ends(encoder):
    (waveform,) = clips(RATE)
    ((_, words),) = run(encoder, [waveform])
    assert 0 < len(words) <= 8 + 10 * 1.5 and set(words) <= set(tiny_encoders.LETTERS)


def test_clips_whose_words_nobody_needs_are_not_decoded(encoder, monkeypatch):
    waveforms, lengths = collate(clips(16_000, 17_000, 30_000))
    everything = encoder.transcribe(waveforms, lengths)
    decoded = []
    said = type(encoder).said
    monkeypatch.setattr(type(encoder), "said", lambda self, frames: decoded.append(len(frames)) or said(self, frames))
    some = encoder.transcribe(waveforms, lengths, [True, False, False])
    assert decoded == [1] and [words for _, words in some] == [everything[0][1], "", ""]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(some, everything, strict=True))


def test_a_clip_beyond_half_a_minute_less_the_silence_is_refused(encoder):
    assert encoder.longest_samples == 29.5 * RATE
    with pytest.raises(ValueError, match=r"has 29\.6 s of sound, expected at most 29\.5 s"):
        run(encoder, clips(int(29.6 * RATE)))


def test_a_folder_whose_tokenizer_or_prompt_is_not_its_own_is_refused(tmp_path):
    folder = tiny_encoders.whisper(tmp_path / "whisper")
    WhisperTokenizer().save_pretrained(folder)
    with pytest.raises(InputError, match=r"its tokenizer has \d+ tokens, expected over 261"):
        encoders.load(folder)
    tiny_encoders.whisper(folder)
    (folder / "generation_config.json").write_text('{"is_multilingual": true, "decoder_start_token_id": 257}')
    with pytest.raises(InputError, match=r"generation_config.json has no 'lang_to_id'"):
        encoders.load(folder)
