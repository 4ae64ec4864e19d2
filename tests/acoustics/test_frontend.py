"""Features are Parakeet's own, and a clip's do not depend on what it is padded with."""

import pytest
import torch

from posttrain.acoustics import frontend

CLIPS = [torch.randn(n, generator=torch.Generator().manual_seed(n)) * 0.1 for n in (32_000, 27_345, 4_321)]


@pytest.mark.parametrize("mel_bins", [64, 80])
def test_features_equal_those_of_parakeets_extractor(mel_bins):
    extractor = frontend.settings(mel_bins)
    features, mask = frontend.LogMel(extractor)(*frontend.collate(CLIPS))
    theirs = extractor([clip.numpy() for clip in CLIPS], sampling_rate=16_000, return_tensors="pt")
    assert torch.equal(mask, theirs.attention_mask.bool())
    # measured 4e-5 on features of unit variance: torchaudio's and theirs differ in the order of float32 sums
    assert (features - theirs.input_features).abs().max() < 2e-4


def test_padding_does_not_change_a_clip():
    log_mel = frontend.LogMel(frontend.settings(64))
    together, mask = log_mel(*frontend.collate(CLIPS))
    for row, clip in enumerate(CLIPS):
        alone, own = log_mel(*frontend.collate([clip]))
        frames = int(own.sum())
        assert int(mask[row].sum()) == frames == len(clip) // 160
        assert (together[row, :frames] - alone[0, :frames]).abs().max() < 1e-5
        assert torch.all(together[row, frames:] == 0)


def test_a_clip_has_mean_zero_and_deviation_one_in_every_bin():
    features, mask = frontend.LogMel(frontend.settings(64))(*frontend.collate(CLIPS))
    own = features[1, : int(mask[1].sum())]
    assert own.mean(0).abs().max() < 1e-4
    assert (own.std(0) - 1).abs().max() < 1e-2


def test_another_sample_rate_is_refused():
    extractor = frontend.settings(64)
    extractor.sampling_rate = 8_000
    with pytest.raises(ValueError, match="8000 Hz, expected 16000"):
        frontend.LogMel(extractor)
