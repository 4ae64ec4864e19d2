"""Every kind of loaded encoder, on folders of the layout that is on the hub: what the contract promises."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from posttrain.config.recipe import load_recipe
from posttrain.errors import InputError
from posttrain.model.encoders import kinds
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import run, state_hash
from posttrain.model.folder import check_folder
from posttrain.run import memory
from tests import tiny_encoders
from tests.tiny_encoders import CTC_FILES, CTC_MODELS, WHISPER_FILES

NAMES = ["whisper", "whisper, multilingual", *CTC_MODELS]


def clips(*samples: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=generator) * 0.1 for n in samples]


@pytest.fixture(scope="module", params=NAMES)
def folder(request, tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("encoders") / request.param.replace(", ", "_")
    if request.param.startswith("whisper"):
        return tiny_encoders.whisper(made, multilingual="multilingual" in request.param)
    return tiny_encoders.ctc(made, request.param)


@pytest.fixture(scope="module")
def encoder(folder):
    return encoders.load(folder)


@pytest.fixture
def copied(folder, tmp_path) -> Path:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_folders_have_the_files_of_the_hub_and_pass_the_check_before_a_run(folder):
    names = {path.name for path in folder.iterdir()}
    assert names in (WHISPER_FILES, CTC_FILES)
    check_folder(folder, "encoder")


def test_a_clip_gives_the_same_frames_and_words_alone_and_in_a_batch_of_other_lengths(encoder):
    waveforms = clips(16_000, 40_000, 5_000, 33_333, 39_900)
    together = run(encoder, waveforms)
    for waveform, (frames, words) in zip(waveforms, together, strict=True):
        ((alone, own_words),) = run(encoder, [waveform])
        assert frames.shape == alone.shape and frames.dtype == torch.float32
        # measured 2e-6 where clips share a batch, and nothing where they do not; a leak of padding gives 1e-2
        assert (frames - alone).abs().max() < 1e-5 * alone.abs().max()
        assert words == own_words
        assert frames.std(0).mean() > 1e-2  # so that a leak could be seen


def test_the_number_of_frames_is_known_from_the_length_alone(encoder, folder):
    assert encoder.num_frames(100) == 0
    for samples in (720, 721, 5_000, 7_999, 8_000, 8_001, 15_999, 16_000, 23_840, 47_123):
        (waveform,) = clips(samples)
        features, mask = encoder.features(waveform[None], torch.tensor([samples]))
        frames, counts = encoder.encode(features, mask)
        assert counts.tolist() == [encoder.num_frames(samples)] and frames.shape[1] == counts[0]
        assert abs(counts[0] - samples / encoder.frame_samples) <= 2
        body = encoders.BODIES[encoder.module.config.model_type]
        assert body.num_frames(encoder.module.config.to_dict(), mask) == counts.tolist()
    assert kinds.frame_samples(folder) == encoder.frame_samples


def test_features_with_gradients_reach_the_frames_and_the_weights(encoder):
    waveforms = torch.stack(clips(16_000, 16_000)).requires_grad_()
    encoder.module.requires_grad_(True)
    frames, counts = encoder.encode(*encoder.features(waveforms, torch.tensor([16_000, 12_000])))
    assert counts[1] < counts[0]
    frames[1, : counts[1]].square().sum().backward()
    assert waveforms.grad[1].any() and not waveforms.grad[0].any()
    assert waveforms.grad.isfinite().all()
    moved = [name for name, p in encoder.module.named_parameters() if p.grad is not None and p.grad.any()]
    assert len(moved) > 10
    encoder.module.requires_grad_(False).zero_grad()


def test_what_is_saved_comes_back_with_the_same_hash_and_is_loaded_frozen(encoder, tmp_path):
    encoders.save(encoder, tmp_path)
    again = encoders.load(tmp_path)
    assert state_hash(again.model) == state_hash(encoder.model)
    assert not any(p.requires_grad for p in again.model.parameters()) and not again.model.training
    for (a, words), (b, same) in zip(run(encoder, clips(16_000)), run(again, clips(16_000)), strict=True):
        assert torch.equal(a, b) and words == same


def test_the_same_folder_gives_the_same_hash_each_time(folder, encoder):
    torch.rand(3)
    assert state_hash(encoders.load(folder).model) == state_hash(encoder.model)


def test_a_body_without_transcript_gives_the_same_frames(encoder):
    body = encoders.BODIES[encoder.module.config.model_type]
    made = body.body(encoder.module.config).eval()
    made.load_state_dict(encoder.module.state_dict())
    assert {type(m).__name__ for m in made.modules()} & set(body.NO_SPLIT)
    waveforms = clips(9_000, 16_000)
    frames, counts = body.encode(made, *body.features(encoder.extractor, waveforms))
    for own, count, (expected, _) in zip(frames, counts, run(encoder, waveforms), strict=True):
        assert torch.allclose(own[:count], expected, atol=1e-5)


def test_a_missing_file_is_named_before_anything_is_loaded(copied, folder):
    tokens = {"vocab.json", "tokenizer.json"} & {path.name for path in folder.iterdir()}
    for name in (*tokens, "preprocessor_config.json"):
        (copied / name).rename(copied / "away")
        with pytest.raises(InputError, match=f"has no {name}"):
            check_folder(copied, "encoder")
        with pytest.raises(InputError, match=f"has no {name}"):
            encoders.load(copied)
        (copied / "away").rename(copied / name)


def test_weights_that_are_missing_or_of_another_shape_are_named(copied):
    weights = load_file(copied / "model.safetensors")
    name = next(
        key for key in sorted(weights) if key.endswith(("q_proj.weight", "linear_q.weight")) and "decoder" not in key
    )
    taken = weights.pop(name)
    for left in (weights, {**weights, name: taken[:, :5].contiguous()}):
        save_file(left, copied / "model.safetensors", {"format": "pt"})
        for load in (encoders.load, lambda folder: check_folder(folder, "encoder")):
            with pytest.raises(InputError, match=r"_proj|linear_q|size"):
                load(copied)


def test_code_in_a_folder_is_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(InputError, match="auto_map"):
        encoders.load(copied)


def test_memory_is_estimated_from_the_folders_own_sizes(folder, encoder):
    recipe = load_recipe("smoke", [f"ctc.model={folder}", "enhance.machine_weight=1.0"])
    shape = memory.encoder_shape(recipe)
    assert (shape.width, shape.layers, shape.frame_samples) == (32, 2, encoder.frame_samples)
    params = sum(p.numel() for p in encoder.model.parameters())
    assert 0.2 * params < shape.params < 1.5 * params
    assert memory.estimate(recipe)
