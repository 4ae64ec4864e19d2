"""Folders of tiny encoders with random weights, with the files and the layout of those on the hub."""

import json
from pathlib import Path

import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    GenerationConfig,
    HubertConfig,
    HubertForCTC,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

WHISPER_FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>")

LETTERS = " abcdefghijklmnopqrstuvwxyz"


def whisper(folder: Path, multilingual: bool = False, seed: int = 0, **sizes: int) -> Path:
    """Whisper with a byte vocabulary; English only, as tiny.en, or multilingual, as large-v3-turbo."""
    characters = sorted(bytes_to_unicode().items())
    tokenizer = WhisperTokenizer(vocab={character: byte for byte, character in characters}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    narrow = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "max_target_positions": 40}
    narrow |= {
        f"{part}_{size}": n for part in ("encoder", "decoder") for size, n in (("attention_heads", 2), ("ffn_dim", 64))
    }
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        decoder_start_token_id=start,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        init_std=0.2,
        **narrow | sizes,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(config)
    languages = {"lang_to_id": {"<|en|>": ids["<|en|>"]}, "task_to_id": {"transcribe": ids["<|transcribe|>"]}}
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        suppress_tokens=[token for token in range(len(tokenizer)) if token != end and chr(token) not in LETTERS],
        begin_suppress_tokens=[32, end],
        is_multilingual=multilingual,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        **languages if multilingual else {},
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    return folder


CTC_FILES = {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer_config.json", "vocab.json"}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CTC_MODELS = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForCTC, {}),
    "wav2vec2, large": (Wav2Vec2Config, Wav2Vec2ForCTC, LAYER_NORM),
    "hubert": (HubertConfig, HubertForCTC, LAYER_NORM),
    "wavlm": (WavLMConfig, WavLMForCTC, {}),
    "data2vec-audio": (Data2VecAudioConfig, Data2VecAudioForCTC, {"conv_pos_kernel_size": 5}),
    "wav2vec2-bert": (Wav2Vec2BertConfig, Wav2Vec2BertForCTC, {}),
    "wav2vec2-bert, adapter": (Wav2Vec2BertConfig, Wav2Vec2BertForCTC, {"add_adapter": True, "output_hidden_size": 32}),
}
"""A name → config, model and what sets it apart from the others; SpecAugment is on in all of them."""


def ctc(folder: Path, kind: str, seed: int = 0) -> Path:
    """One of CTC_MODELS, in the sizes of a test, with wav2vec 2.0's upper-case characters as CTC units."""
    config_class, model_class, apart = CTC_MODELS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    (folder / "vocab.json").write_text(json.dumps({unit: number for number, unit in enumerate(vocabulary)}))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    waves = {"conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    bank = kind.startswith("wav2vec2-bert")
    config = config_class(vocab_size=len(vocabulary), pad_token_id=0, **sizes | ({} if bank else waves) | apart)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
        for module in model.modules():  # with Transformers' N(0, 0.02) all frames of so narrow a model are alike
            if isinstance(module, torch.nn.Linear | torch.nn.Conv1d) and "parametrizations" not in dict(
                module.named_modules()
            ):
                module.reset_parameters()
    model.save_pretrained(folder)
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    extractor = SeamlessM4TFeatureExtractor() if bank else Wav2Vec2FeatureExtractor(return_attention_mask=True)
    extractor.save_pretrained(folder)
    return folder
