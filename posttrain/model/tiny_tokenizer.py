"""The tiny Llama's tokenizer: byte-level BPE with Llama 3's pre-tokenizer, special tokens and chat format."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from posttrain.errors import InputError
from posttrain.model.chat import LLAMA3
from posttrain.model.tokenizer import END_TOKEN, PAD_TOKEN, SpeechTokenizer

SPECIAL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    PAD_TOKEN,
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    END_TOKEN,
    "<|python_tag|>",
)
"""The named special tokens of Llama 3.1, and one reserved token."""
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama 3's pre-tokenizer."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> SpeechTokenizer:
    """A tokenizer of at most `vocab_size` tokens (including 256 bytes and the special ones) trained on the texts."""
    least = 256 + len(SPECIAL_TOKENS)
    if vocab_size < least:
        raise InputError(f"base.vocab_size is {vocab_size}, expected at least {least}; raise it")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    bos = SPECIAL_TOKENS[0]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    tokenizer = SpeechTokenizer(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = LLAMA3
    return tokenizer
