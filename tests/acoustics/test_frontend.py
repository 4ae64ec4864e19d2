"""Features are Parakeet's own, and a clip's do not depend on what it is padded with."""

import pytest
import torch
from transformers import ParakeetFeatureExtractor

from posttrain.acoustics import frontend
from posttrain.model.encoders.parakeet import log_mel, settings

CLIPS = [torch.randn(n, generator=torch.Generator().manual_seed(n)) * 0.1 for n in (32_000, 27_345, 4_321)]


@pytest.mark.parametrize("mel_bins", [64, 80])
def test_features_equal_those_of_parakeets_extractor(mel_bins):
    extractor = ParakeetFeatureExtractor(feature_size=mel_bins)
    features, mask = log_mel(extractor)(*frontend.collate(CLIPS))
    theirs = extractor([clip.numpy() for clip in CLIPS], sampling_rate=16_000, return_tensors="pt")
    assert torch.equal(mask, theirs.attention_mask.bool())
    # measured 4e-5 on features of unit variance: torchaudio's and theirs differ in the order of float32 sums
    assert (features - theirs.input_features).abs().max() < 2e-4


def test_padding_does_not_change_a_clip():
    features_of = log_mel(settings(64))
    together, mask = features_of(*frontend.collate(CLIPS))
    for row, clip in enumerate(CLIPS):
        alone, own = features_of(*frontend.collate([clip]))
        frames = int(own.sum())
        assert int(mask[row].sum()) == frames == len(clip) // 160
        assert (together[row, :frames] - alone[0, :frames]).abs().max() < 1e-5
        assert torch.all(together[row, frames:] == 0)


def test_a_clip_has_mean_zero_and_deviation_one_in_every_bin():
    features, mask = log_mel(settings(64))(*frontend.collate(CLIPS))
    own = features[1, : int(mask[1].sum())]
    assert own.mean(0).abs().max() < 1e-4
    assert (own.std(0) - 1).abs().max() < 1e-2


def test_another_sample_rate_is_refused():
    extractor = settings(64)
    extractor.sampling_rate = 8_000
    with pytest.raises(ValueError, match="8000 Hz, expected 16000"):
        log_mel(extractor)


def test_silence_around_speech_does_not_change_the_features_of_a_tiny_encoder(tmp_path):
    settings(64).save_pretrained(tmp_path)
    features_of = log_mel(ParakeetFeatureExtractor.from_pretrained(tmp_path))
    speech = CLIPS[0] * torch.linspace(0.3, 1, len(CLIPS[0]))
    for pad in (torch.zeros(16_000), torch.randn(16_000) * 10 ** (-60 / 20)):
        alone, _ = features_of(*frontend.collate([speech]))
        padded, _ = features_of(*frontend.collate([torch.cat([pad, speech, pad])]))
        middle = padded[:, 100 : 100 + alone.shape[1]]
        # measured 0.08: frames at either edge see what is beyond it; over all frames it would be above 0.5, as below
        assert (middle - alone)[:, 5:-5].abs().mean() < 0.15
    pretrained = log_mel(ParakeetFeatureExtractor(feature_size=64))
    whole, _ = pretrained(*frontend.collate([torch.cat([torch.zeros(16_000), speech])]))
    assert (whole[:, 100:][:, 2:-2] - pretrained(*frontend.collate([speech]))[0][:, 2:-2]).abs().mean() > 0.5


def test_a_clip_of_zeros_has_features_of_zero():
    features, _ = log_mel(settings(64))(*frontend.collate([torch.zeros(16_000)]))
    assert features.std() < 0.05  # one value everywhere, of rounding alone
