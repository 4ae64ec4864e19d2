"""Augmentation changes what it should and nothing else."""

import torch

from posttrain.acoustics.augment import Augmenter

CLIP = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1


def augmenter(noise=1.0, room=0.0, recorded=(), seed=0):
    return Augmenter([CLIP], list(recorded), noise, room, seed, variety=12)


def test_one_seed_gives_one_sequence():
    first, second, other = (augmenter(0.5, 0.5, seed=seed) for seed in (3, 3, 4))
    for _ in range(3):
        a, b, c = (one.waveforms([CLIP, CLIP], [False, False]) for one in (first, second, other))
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        assert not all(len(x) == len(y) and torch.equal(x, y) for x, y in zip(a, c, strict=True))


def test_noisy_clips_get_no_more_noise_and_clean_ones_do():
    quiet = torch.cat([CLIP, torch.zeros(16_000)])
    clean, noisy = augmenter().waveforms([quiet, quiet], [False, True])
    assert clean[-4_000:].abs().max() > 1e-3
    assert noisy[-4_000:].abs().max() < 1e-4


def test_recorded_noises_are_used():
    recorded = torch.full((8_000,), 0.25)
    augment = augmenter(recorded=[recorded])
    drawn = [torch.from_numpy(augment._noise(100)) for _ in range(40)]
    assert any(torch.equal(noise, recorded[:100]) for noise in drawn)
    assert not all(torch.equal(noise, recorded[:100]) for noise in drawn)


def test_masks_are_drawn_for_each_clip():
    torch.manual_seed(0)
    features = torch.ones(4, 200, 64)
    masked = augmenter().features(features)
    assert masked.shape == features.shape
    assert all((row == 0).any() and (row == 1).float().mean() > 0.4 for row in masked)
    assert len({int((row == 0).sum()) for row in masked}) > 1
