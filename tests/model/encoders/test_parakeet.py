"""The encoder: padded equals unpadded, Parakeet's folders load, the corpus is encoded once."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor, AutoTokenizer, ParakeetCTCConfig, ParakeetForCTC

from posttrain.errors import InputError
from posttrain.model import corpus_table
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders import parakeet
from posttrain.model.encoders.contract import run, state_hash


def clips(*samples):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, generator=generator) * 0.1 for n in samples]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    made = parakeet.tiny(32, 2, 2, 4, 8, 40)
    for module in made.model.modules():  # as after training: running statistics that are not 0 and 1
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return made


def test_a_clip_gives_the_same_frames_alone_and_in_a_padded_batch(encoder):
    waveforms = clips(16_000, 40_000, 5_000, 33_333)
    together = run(encoder, waveforms)
    for waveform, (frames, words) in zip(waveforms, together, strict=True):
        ((alone, own_words),) = run(encoder, [waveform])
        assert frames.shape == alone.shape == (encoder.num_frames(len(waveform)), 32)
        # measured 7e-7 relative; a leak of padding into the convolutions gives 1e-2
        assert (frames - alone).abs().max() < 1e-5 * alone.abs().max()
        assert words == own_words


def test_frames_are_forty_ms_and_the_blank_is_the_last_unit(encoder):
    assert encoder.num_frames(16_000) == 25
    assert encoder.width == 32
    assert encoder.model.config.pad_token_id == len(encoder.tokenizer) - 1 == encoder.tokenizer.pad_token_id


def test_units_are_characters_and_decoding_collapses_repeats_around_blanks(encoder):
    units = encoder.labels("it's a hall")
    assert len(units) == len(" it's a hall")
    blank = encoder.tokenizer.pad_token_id
    spelled = [u for unit in units for u in (unit, unit, blank)]
    assert encoder.words(torch.tensor(spelled)) == "it's a hall"
    assert encoder.words(torch.tensor([blank] * 5)) == ""


def test_byte_pairs_are_learned_from_what_is_said_and_spell_anything_else():
    said = ["turn it up", "turn it down", "turn the left aid up"] * 20
    tokenizer = parakeet.unit_tokenizer(said, 48)
    assert len(tokenizer) == 49 and tokenizer.pad_token_id == 48
    assert len(tokenizer("turn it up", add_special_tokens=False).input_ids) == 3
    for text in ("turn it up", "a quiz", "it's"):
        units = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in units
        spread = [u for unit in units for u in (unit, unit, tokenizer.pad_token_id)]
        assert tokenizer.decode(spread, skip_special_tokens=True).strip() == text


def test_training_mode_is_left_before_encoding(encoder):
    before = {k: v.clone() for k, v in encoder.model.state_dict().items()}
    encoder.model.train()
    run(encoder, clips(16_000))
    assert not encoder.model.training
    assert all(torch.equal(v, before[k]) for k, v in encoder.model.state_dict().items())


def test_a_waveform_shorter_than_a_frame_is_refused(encoder):
    with pytest.raises(ValueError, match="waveform 1 is 100 samples"):
        run(encoder, [torch.zeros(16_000), torch.zeros(100)])


def test_what_is_saved_comes_back(encoder, tmp_path):
    encoders.save(encoder, tmp_path)
    spec = json.loads((tmp_path / "checkpoint.json").read_text())
    assert spec["stage"] == "ctc" and spec["weights"] == state_hash(encoder.model)
    again = encoders.load(tmp_path)
    assert again.extractor.feature_size == 40
    waveforms = clips(16_000, 20_000)
    for (a, _), (b, _) in zip(run(encoder, waveforms), run(again, waveforms), strict=True):
        assert torch.equal(a, b)
    assert not any(p.requires_grad for p in again.model.parameters())


PARAKEET_FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture
def nvidia(tmp_path):
    """A folder with the files of nvidia/parakeet-ctc-0.6b: its config but for the sizes, subwords, 8× subsampling."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import ParakeetFeatureExtractor, ParakeetTokenizer

    pieces = ["<unk>", "▁t", "he", "▁a", "in", "▁", "s", "t", "e", "a", "i", "n", "h", "<pad>"]
    units = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[("▁", "t"), ("h", "e")]))
    units.pre_tokenizer = pre_tokenizers.Metaspace()
    units.decoder = decoders.Metaspace()
    tokenizer = ParakeetTokenizer(tokenizer_object=units, pad_token="<pad>", unk_token="<unk>")
    config = ParakeetCTCConfig(
        vocab_size=len(pieces),
        pad_token_id=len(pieces) - 1,
        encoder_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "subsampling_conv_channels": 8,
        },
    )
    torch.manual_seed(0)
    folder = tmp_path / "parakeet"
    ParakeetForCTC(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ParakeetFeatureExtractor().save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"pad_token_id": len(pieces) - 1}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<pad>", "unk_token": "<unk>"}))
    assert {p.name for p in folder.iterdir()} == PARAKEET_FILES
    return folder


def test_a_folder_in_parakeets_layout_is_loaded_with_its_own_settings(nvidia):
    encoder = encoders.load(nvidia)
    assert encoder.extractor.feature_size == 80
    assert encoder.model.config.encoder_config.subsampling_factor == 8
    assert encoder.model.config.encoder_config.layerdrop == 0.1 and not encoder.model.training
    waveforms = clips(16_000, 27_000)
    for waveform, (frames, _) in zip(waveforms, run(encoder, waveforms), strict=True):
        features = AutoFeatureExtractor.from_pretrained(nvidia)(waveform.numpy(), sampling_rate=16_000)
        with torch.no_grad():
            theirs = encoder.model.encoder(**features).last_hidden_state[0]
        # measured 6e-6: the difference of the two front ends, passed through the encoder
        assert (frames - theirs[: len(frames)]).abs().max() < 1e-3
    assert AutoTokenizer.from_pretrained(nvidia)("the").input_ids == encoder.labels("the")


def test_a_checkpoint_that_only_names_an_encoder_leads_to_it(nvidia, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoders.refer(tmp_path / "ctc", str(nvidia), None)
    assert json.loads((tmp_path / "ctc" / "checkpoint.json").read_text())["encoder"] == "./parakeet"
    named, direct = encoders.load(tmp_path / "ctc"), encoders.load(nvidia)
    assert state_hash(named.model) == state_hash(direct.model)


def test_weights_that_are_missing_or_of_another_shape_are_refused(nvidia):
    weights = load_file(nvidia / "model.safetensors")
    name = "encoder.layers.0.self_attn.q_proj.weight"
    taken = weights.pop(name)
    save_file(weights, nvidia / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="q_proj"):
        encoders.load(nvidia)
    save_file({**weights, name: taken[:, :5].contiguous()}, nvidia / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"q_proj|shape|size"):
        encoders.load(nvidia)


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="not found"):
        encoders.load(tmp_path / "none")


class Counting:
    """A corpus of two clips that counts how often its audio is read."""

    def __init__(self):
        self.read = 0
        self.counts = {"hashes": {"audio": "abc", "clips": "abc"}}
        self.clips = {
            "train/0": SimpleNamespace(id="train/0", samples=16_000, split="train", text="a"),
            "test/1": SimpleNamespace(id="test/1", samples=24_000, split="test", text=""),
        }

    def audio(self, clip_id):
        self.read += 1
        return clips(16_000, 24_000)[clip_id == "test/1"]


def test_a_corpus_is_encoded_once_and_again_when_the_encoder_or_the_corpus_changed(encoder, tmp_path):
    corpus = Counting()
    table = corpus_table.encode_corpus(encoder, corpus, tmp_path, progress=False)
    assert table.spans == {"train/0": (0, 25), "test/1": (25, 38)} and table.frames.shape == (63, 32)
    assert table.frames.dtype == torch.float16 and set(table.hypotheses) == set(table.spans)
    kept = corpus_table.encode_corpus(encoder, corpus, tmp_path, progress=False)
    assert corpus.read == 2 and torch.equal(kept.frames, table.frames)
    assert kept.spans == table.spans and kept.hypotheses == table.hypotheses
    corpus.counts["hashes"]["audio"] = "abd"
    corpus_table.encode_corpus(encoder, corpus, tmp_path, progress=False)
    assert corpus.read == 4
    other = parakeet.tiny(32, 2, 2, 4, 8, 40)
    corpus_table.encode_corpus(other, corpus, tmp_path, progress=False)
    assert corpus.read == 6
