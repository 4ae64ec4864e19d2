"""The enhancer: size, latency by perturbing the future, streamed = offline, the switch, the audiogram, the file."""

import json

import pytest
import torch

from posttrain.acoustics import SAMPLE_RATE, bands, enhancer
from posttrain.acoustics.audiogram import bisgaard
from posttrain.acoustics.bands import HOP, LATENCY_SAMPLES
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.errors import InputError

RATE = SAMPLE_RATE
NORMAL = torch.zeros(8)
SEVERE = torch.from_numpy(bisgaard("N6").levels()).float()


def wild(spec: EnhancerSpec | None = None) -> Enhancer:
    """Weights large enough that whatever an input reaches, it moves."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Enhancer(spec or EnhancerSpec(width=16, sub_width=8))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(3)
    return made.requires_grad_(False).eval()


def noise(samples: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_the_default_has_at_most_half_a_million_parameters():
    assert 100_000 < sum(p.numel() for p in Enhancer().parameters()) <= 500_000


def test_the_latency_is_at_most_8_ms_and_the_code_says_it():
    assert wild().latency_ms == 1000 * LATENCY_SAMPLES / SAMPLE_RATE <= 8.0


@pytest.mark.parametrize("at", [0, 1, 63, 64, 1000, 1037, 2_500])
def test_no_input_later_than_the_latency_changes_an_output_sample(at):
    made, before = wild(), noise(3_000)
    after = before.clone()
    after[at + LATENCY_SAMPLES :] = 5 * noise(3_000, seed=2)[at + LATENCY_SAMPLES :]
    one, other = (made(x[None], NORMAL[None])[0] for x in (before, after))
    assert torch.equal(one[: at + 1], other[: at + 1])


def test_the_stated_latency_is_the_true_one_so_that_the_test_above_could_fail():
    """The windows are 0 at a hop's first sample, which is final a hop earlier; the second one waits longest."""
    made, before = wild(), noise(3_000)
    after = before.clone()
    after[10 * HOP + LATENCY_SAMPLES - 1] += 100
    one, other = (made(x[None], NORMAL[None])[0] for x in (before, after))
    assert one[10 * HOP + 1] != other[10 * HOP + 1]


@pytest.mark.parametrize("size", [1, 7, HOP, 100, 1_000, 10_000])
def test_streamed_equals_offline_whatever_the_pieces(size):
    """5e-7 was measured; 1e-5 would not let a frame out of place through (0.1)."""
    made, waveform = wild(), noise(4_321)
    stream = made.stream(SEVERE)
    pieces = [stream.push(piece) for piece in waveform.split(size)] + [stream.flush()]
    streamed, offline = torch.cat(pieces), made(waveform[None], SEVERE[None])[0]
    assert streamed.shape == waveform.shape
    assert (streamed - offline).abs().max() < 1e-5


@pytest.mark.parametrize("at", [0, 2_000])
def test_streamed_equals_offline_where_the_sound_is_muted(at):
    made, waveform = wild(), noise(4_321)
    waveform[at : at + 1_000] = 0
    stream = made.stream(SEVERE)
    streamed = torch.cat([stream.push(waveform), stream.flush()])
    assert (streamed - made(waveform[None], SEVERE[None])[0]).abs().max() < 1e-5


@pytest.mark.parametrize("samples", [0, 1, HOP, HOP + 1, 5 * HOP])
def test_a_stream_gives_back_as_many_samples_as_it_took(samples):
    made = wild()
    stream = made.stream(NORMAL)
    out = torch.cat([stream.push(noise(samples)), stream.flush()])
    assert len(out) == samples
    if samples:
        assert (out - made(noise(samples)[None], NORMAL[None])[0]).abs().max() < 1e-5


def test_a_stream_keeps_no_sample_back_longer_than_the_latency():
    stream, given = wild().stream(NORMAL), 0
    for taken in range(1, 1_000):
        given += len(stream.push(noise(1)))
        assert taken - given <= LATENCY_SAMPLES


def test_with_the_switch_off_what_goes_in_comes_out():
    """To rounding: 110 dB and more was measured, where 20 dB are asked for."""
    waveform = noise(5_000)
    out = wild()(waveform[None], SEVERE[None], denoise=0.0)[0]
    assert 10 * torch.log10(waveform.square().sum() / (out - waveform).square().sum()) > 90


def test_half_the_strength_is_half_way():
    made, waveform = wild(), noise(2_000)[None]
    off, half, on = (made(waveform, NORMAL[None], denoise) for denoise in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (off + on) / 2, atol=1e-6, rtol=0)
    assert not torch.allclose(on, off, atol=1e-3)


def test_the_audiogram_changes_the_output_only_of_a_model_that_heeds_it():
    waveform = noise(2_000)[None]
    for conditioned in (True, False):
        made = wild(EnhancerSpec(width=16, sub_width=8, conditioned=conditioned))
        same = torch.equal(made(waveform, NORMAL[None]), made(waveform, SEVERE[None]))
        assert same != conditioned


def test_each_bin_is_in_one_band_or_between_two():
    weights = bands.bands()
    assert (weights >= 0).all() and (weights.sum(1) - 1).abs().max() < 1e-6 and (weights > 0).sum(1).max() == 2
    assert torch.equal(weights[: bands.SINGLE_BINS, : bands.SINGLE_BINS], torch.eye(bands.SINGLE_BINS))
    assert (weights.sum(0) > 0.5).all()


def test_a_louder_recording_is_only_louder():
    made, waveform = wild(), noise(3_000)[None]
    torch.testing.assert_close(made(20 * waveform, NORMAL[None]) / 20, made(waveform, NORMAL[None]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("at", [0, RATE])
def test_a_muted_piece_does_not_blind_it(at):
    """The floor is that of the noise soon after, whether the recording begins with silence or drops out."""
    sound = 0.01 * noise(4 * RATE)
    muted = sound.clone()
    muted[at : at + RATE // 5] = 0
    seen = []
    for waveform in (sound, muted):
        padded = torch.nn.functional.pad(waveform[None], (bands.ANALYSIS - HOP, 0))
        spectra = torch.fft.rfft(padded.unfold(1, bands.ANALYSIS, HOP) * wild().analysis).abs().square()
        above = bands.above_floor((spectra @ bands.bands() / bands.bands().sum(0) + bands.FLOOR).log() / 4)
        assert above.isfinite().all()
        seen.append(above[:, 3 * RATE // HOP :, 0].mean())
    assert abs(seen[0] - seen[1]) < 0.1 * abs(seen[0])


def test_a_batch_of_listeners_equals_one_by_one():
    made, waveforms = wild(), torch.stack([noise(2_000), noise(2_000, seed=3)])
    both = made(waveforms, torch.stack([NORMAL, SEVERE]))
    torch.testing.assert_close(both[1], made(waveforms[1:], SEVERE[None])[0], atol=1e-6, rtol=0)


PAIR = torch.stack([noise(4_321), 0.3 * noise(4_321, seed=2).roll(9)])


def test_channels_share_the_mask_of_their_mean_power():
    """One mask for all is linear: the sum of two channels comes out as the sum of their outputs."""
    made = wild()
    one, two, both = made(torch.cat([PAIR, PAIR.sum(0, keepdim=True)]), SEVERE[None], together=True)
    torch.testing.assert_close(both, one + two, atol=1e-6, rtol=0)
    pair = made(PAIR, SEVERE[None], together=True)
    assert not torch.allclose(made(PAIR, SEVERE.expand(2, -1)), pair, atol=1e-3)
    twice = made(torch.cat([PAIR, PAIR]), SEVERE[None], together=True)
    torch.testing.assert_close(twice, torch.cat([pair, pair]), atol=1e-6, rtol=0)  # the mean power is the same


def test_channels_keep_their_difference_in_level_and_a_channel_alone_is_as_before():
    made, waveform = wild(), noise(3_000)
    one, two = made(torch.stack([waveform, 0.25 * waveform]), NORMAL[None], together=True)
    torch.testing.assert_close(two, 0.25 * one, atol=1e-7, rtol=1e-4)
    alone = made(waveform[None], NORMAL[None], together=True)
    assert torch.equal(alone, made(waveform[None], NORMAL[None]))
    assert (made.enhance(waveform.numpy(), NORMAL.numpy()) == alone[0].numpy()).all()
    assert made.enhance(PAIR.numpy(), NORMAL.numpy()).shape == PAIR.shape


@pytest.mark.parametrize("size", [1, HOP, 1_000, 10_000])
def test_two_channels_streamed_equal_both_offline(size):
    """5e-7 was measured; 1e-5 would not let a frame out of place through (0.1)."""
    made = wild()
    stream = made.stream(SEVERE)
    pieces = [stream.push(piece) for piece in PAIR.split(size, dim=1)] + [stream.flush()]
    streamed, offline = torch.cat(pieces, dim=1), made(PAIR, SEVERE[None], together=True)
    assert streamed.shape == PAIR.shape and (streamed - offline).abs().max() < 1e-5


def test_a_saved_enhancer_is_the_same_and_a_changed_file_is_refused(tmp_path):
    made = wild()
    enhancer.save(tmp_path, made)
    assert {path.name for path in tmp_path.iterdir()} == {"enhancer.safetensors", "enhancer.json"}
    again = enhancer.load(tmp_path)
    assert torch.equal(again(noise(500)[None], SEVERE[None]), made(noise(500)[None], SEVERE[None]))
    assert not any(p.requires_grad for p in again.parameters())
    weights = tmp_path / "enhancer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="sha256 differs"):
        enhancer.load(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match="cannot be used"):
        enhancer.load(tmp_path)


def test_in_8_bits_it_is_a_quarter_of_the_size_and_each_weight_is_off_by_half_a_step_at_most(tmp_path):
    made = wild(EnhancerSpec())
    with torch.no_grad():
        made.enter.weight[0] = 0
    for name in ("whole", "int8"):
        (tmp_path / name).mkdir()
    enhancer.save(tmp_path / "whole", made)
    enhancer.save(tmp_path / "int8", made, eight_bits=True)
    sizes = [(tmp_path / name / enhancer.WEIGHTS).stat().st_size for name in ("int8", "whole")]
    assert sizes[0] < 0.3 * sizes[1]
    before, after = made.state_dict(), enhancer.load(tmp_path / "int8").state_dict()
    assert before.keys() == after.keys()
    for name, weights in before.items():
        step = weights.abs().amax(-1, keepdim=True) / 127 if weights.dim() == 2 else torch.zeros(1)
        assert ((after[name] - weights).abs() <= 0.501 * step).all(), name


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"spec": {"depth": 3}, "sha256": "x"})])
def test_a_spec_that_is_none_is_named(content, tmp_path):
    (tmp_path / "enhancer.json").write_text(content)
    with pytest.raises(InputError, match="not an enhancer's spec"):
        enhancer.load(tmp_path)


def test_a_folder_without_an_enhancer_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no enhancer"):
        enhancer.load(tmp_path)
