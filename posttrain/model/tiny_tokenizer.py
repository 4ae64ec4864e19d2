"""The tiny Llama's tokenizer: byte-level BPE with Llama 3's pre-tokenizer and a chat format's special tokens."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from posttrain.errors import InputError
from posttrain.model.chat_format import LLAMA3, ChatFormat
from posttrain.model.tokenizer import SpeechTokenizer

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama 3's pre-tokenizer."""


def train_tokenizer(texts: Iterable[str], vocab_size: int, form: ChatFormat = LLAMA3) -> SpeechTokenizer:
    """A tokenizer of at most `vocab_size` tokens (including 256 bytes and the special ones) trained on the texts."""
    least = 256 + len(form.special)
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
        vocab_size=vocab_size - len(form.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in form.special])
    bos = form.begin
    if "bos_token" in form.template:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    tokenizer = SpeechTokenizer(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=form.end,
        pad_token=form.pad,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = form.template
    return tokenizer
