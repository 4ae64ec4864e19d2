"""Tiny models built in code, for every test."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM

from posttrain import checkpoint
from posttrain.corpus.types import Example
from posttrain.model.chat import LLAMA3
from posttrain.model.frame_table import FrameTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.tokenizer import END_TOKEN, PAD_TOKEN, SpeechTokenizer

SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", END_TOKEN, PAD_TOKEN)
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
ENCODER_DIM = 12


def byte_tokenizer() -> SpeechTokenizer:
    """A byte-level tokenizer with Llama 3's special tokens and split, and BOS from its post-processor, as Llama 3.1's."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(__import__("tokenizers").Regex(LLAMA3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL))
    bos = (SPECIAL[0], backend.token_to_id(SPECIAL[0]))
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{bos[0]} $A", pair=f"{bos[0]} $A {bos[0]} $B", special_tokens=[bos]),
        ]
    )
    return SpeechTokenizer(
        tokenizer_object=backend,
        bos_token=SPECIAL[0],
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        chat_template=LLAMA3,
        clean_up_tokenization_spaces=False,
    )


def tiny_llama(tokenizer: SpeechTokenizer, tie: bool = False) -> LlamaForCausalLM:
    """Two layers of Llama 3.1's shape: grouped queries, llama3 RoPE scaling."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 2,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        },
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id],
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=tie,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # untrained weights of 0.02 would hide differences below any tolerance
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model.eval()


def frame_table(clips: int = 4) -> FrameTable:
    """Clips of 3, 7, 11, … frames."""
    generator = torch.Generator().manual_seed(1)
    counts = [3 + 4 * i for i in range(clips)]
    frames = torch.randn(sum(counts), ENCODER_DIM, generator=generator)
    starts = [sum(counts[:i]) for i in range(clips)]
    return FrameTable(frames, {f"test/{i}": span for i, span in enumerate(zip(starts, counts, strict=True))})


def example(clip: str | None = "test/1", text: str = "turn it up", answer: str = "ok", id: str = "e0") -> Example:
    """One chat turn, spoken unless `clip` is None."""
    return Example(id, "test", "repeat", "repeat", text, clip, answer, "exact")


@pytest.fixture
def tokenizer() -> SpeechTokenizer:
    return byte_tokenizer()


@pytest.fixture
def table() -> FrameTable:
    return frame_table()


@pytest.fixture
def base_folder(tmp_path, tokenizer):
    """A base as the base stage leaves it."""
    checkpoint.save_base(tmp_path / "base", tiny_llama(tokenizer), tokenizer)
    return tmp_path / "base"


@pytest.fixture
def llama(base_folder, table, tmp_path) -> SpeechLlama:
    """A Llama that hears, its projector as large as the word embeddings; nothing trained yet."""
    return checkpoint.create(base_folder, tmp_path / "ctc", table, stack=3)
