"""A Llama with speech: the language model, its tokenizer and the table of speech frames, kept consistent.

Shape letters, here and everywhere: B batch, S samples, M mel bins, F mel frames, T encoder frames, N speech tokens,
L text tokens, D width, V vocabulary, k frames per speech token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from torch import nn
from transformers import BitsAndBytesConfig, LlamaForCausalLM

from posttrain.corpus.instructions import PHRASES, REPEAT, World
from posttrain.corpus.normalise import normalise
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import chat_format
from posttrain.model.adapters import speech_embedding_of
from posttrain.model.continuations import log_likelihoods
from posttrain.model.decoding import Tally, beginning, by_length, generate_ids, right_padded
from posttrain.model.frame_table import FrameTable
from posttrain.model.tokenizer import SpeechTokenizer
from posttrain.model.untrusted import read_config
from posttrain.model.word_head import WordHead, spoken

TABLE_ON_DEVICE_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Spec:
    """The parts of a checkpoint; paths are relative to the project."""

    stage: str
    """The stage that wrote it."""
    base: str
    """Llama folder or hub id; `./…` is in the checkpoint's own folder."""
    base_revision: str | None = None
    """Hub revision."""
    dtype: str = "float32"
    """Type of the Llama's weights."""
    quantization: str = "none"
    """nf4: the linear layers are stored in 4 bits."""
    llama_trained: bool = False
    """The Llama's own weights were trained here (full fine-tuning)."""
    encoder: str | None = None
    """Encoder folder."""
    encoder_dim: int = 0
    """D_enc; 0 for a Llama without an encoder."""
    stack: int = 1
    """k, frames per speech token."""
    projector_hidden: int = 0
    """Width of the projector's hidden layer."""
    adapter: str | None = None
    """A file of adapters/; None if only the projector was trained."""
    rank: int | None = None
    """LoRA rank, if it differs from the adapter's own."""
    blank_below: float = 1.0
    """Speech tokens that the word head takes for blank with at least this probability are left out; 1 keeps all."""
    together: tuple[float, float, float] | None = None
    """Weights (model/together.py) with which the word head decides transcripts too; None: the Llama alone does."""
    candidates: int = 0
    """Transcripts that the head then proposes for a clip."""
    one_format: bool = False
    """Instructions of spoken tasks are phrased as questions, in one format."""
    transcript: bool = False
    """The prompt of a spoken task carries the encoder's own transcript beside the speech."""
    world: World = "tiny"
    """How the tasks are asked: a world of corpus.instructions.PHRASES."""
    num_words: int = 0
    """V."""
    parents: dict[str, str] = field(default_factory=dict)
    """Role → checkpoint folder."""
    stands_on: dict[str, str] = field(default_factory=dict)
    """base and encoder → SHA-256 of their checkpoint.json, if they have one outside this checkpoint."""


@dataclass
class SpeechLlama:
    """Model, tokenizer and table; created by posttrain.model.checkpoint."""

    model: Any
    """LlamaForCausalLM or a PeftModel around one."""
    tokenizer: SpeechTokenizer
    """Knows the table's clips."""
    spec: Spec
    """The parts of its checkpoint."""
    table: FrameTable | None = None
    """The attached frames."""
    head: WordHead | None = None
    """CTC over the Llama's words as `align` trained it, if it did."""
    drafts: bool = True
    """Whether answers are checked against drafts, which is quicker and, in 32 bits, gives the same."""

    def __post_init__(self) -> None:
        self.tokenizer.one_format = self.spec.one_format
        self.tokenizer.phrases = PHRASES[self.spec.world]

    def attach(self, table: FrameTable | None) -> "SpeechLlama":
        """Use the clips of this table from now on; returns itself.

        Small frames are moved to the model's device, others are gathered on the CPU. Raises InputError if they come
        from an encoder of another width.
        """
        if table is None:
            return self
        if not self.spec.encoder_dim:
            return self
        if table.dim != self.spec.encoder_dim:
            raise InputError(
                f"frames have {table.dim} dimensions, expected {self.spec.encoder_dim} as from {self.spec.encoder}; "
                "encode the corpus with that encoder"
            )
        stacked = table.stacked(self.spec.stack)
        if self.spec.blank_below < 1:
            assert self.head is not None
            stacked = spoken(self.head, table, self.spec.stack, self.spec.blank_below)
        if table.frames.nbytes <= TABLE_ON_DEVICE_BYTES:
            stacked = stacked.to(self.model.device)
        embedding = speech_embedding_of(self.model)
        embedding.table = stacked
        self.tokenizer.attach(stacked.spans, self.spec.num_words, table.hypotheses if self.spec.transcript else None)
        self.table = table
        return self

    def check_lengths(self, examples: Sequence[Example], max_new_tokens: int, fix: str) -> None:
        """Raise InputError listing the ids of prompts without room for `max_new_tokens`, with the fix `fix`."""
        room = self.model.config.max_position_embeddings - max_new_tokens
        tokens = [(example.id, len(self.tokenizer.prompt_ids(example))) for example in examples]
        problems = [
            f"the prompt of {name} takes {n} tokens, expected at most {room}, as the Llama holds no more; {fix}"
            for name, n in tokens
            if n > room
        ]
        if problems:
            raise InputError(problems)

    @property
    def shares_base(self) -> bool:
        """Whether the model without adapters is, for text, the unchanged base."""
        return not self.spec.llama_trained

    @property
    def eos_ids(self) -> list[int]:
        """Tokens that end an answer: the chat format's and the model's own."""
        return end_ids(self.model, self.tokenizer)

    def answer(
        self,
        examples: list[Example],
        batch_size: int = 128,
        max_new_tokens: int = 48,
        drafts: Sequence[str] | None = None,
    ) -> list[str]:
        """Greedy answers, in order; they depend on neither the batch nor the drafts (`complete`)."""
        return [text for text, _ in self.complete(examples, batch_size, max_new_tokens, drafts)]

    def complete(
        self,
        examples: list[Example],
        batch_size: int,
        max_new_tokens: int,
        drafts: Sequence[str] | None = None,
        tally: Tally | None = None,
    ) -> list[tuple[str, bool]]:
        """Greedy answers in order, each with whether it was cut off at the token limit.

        drafts: what each answer may be, or empty, which makes answers quicker; by default what is to be repeated.
        tally: counts passes.
        """
        if not examples:
            return []
        prompts = [self.tokenizer.prompt_ids(e) for e in examples]
        said = [self.draft(e) for e in examples] if drafts is None else drafts
        ids = generate_ids(
            self.model,
            prompts,
            self.tokenizer.pad_token_id,
            self.eos_ids,
            batch_size,
            max_new_tokens,
            [self.tokenizer.word_ids(text) for text in said],
            tally,
        )
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [(text.strip(), len(own) >= max_new_tokens) for text, own in zip(texts, ids, strict=True)]

    def draft(self, example: Example) -> str:
        """What the answer to a request to repeat probably is: the text, or the encoder's own transcript of the clip."""
        if example.task != REPEAT or not self.drafts:
            return ""
        known = self.table.hypotheses if self.table else {}
        return normalise(example.text if example.clip is None else known.get(example.clip, ""))

    def logprobs(self, examples: list[Example], answers: list[str], batch_size: int = 64) -> list[float]:
        """Mean log-probability per token of each answer (its end token included) after its prompt, in nats."""
        rows, spans = [], []
        for example, answer in zip(examples, answers, strict=True):
            prompt, words = self.tokenizer.prompt_ids(example), self.tokenizer.answer_ids(answer)
            rows.append(prompt + words)
            spans.append((len(prompt), len(prompt) + len(words)))
        return [found.mean().item() for found in self.token_logprobs(rows, spans, batch_size)]

    def token_logprobs(
        self, rows: list[list[int]], spans: list[tuple[int, int]], batch_size: int
    ) -> list[torch.Tensor]:
        """Log-probability in nats of each token in a span of its row of ids, in order: float32 (L,)."""
        found = log_likelihoods(self.model, rows, spans, self.tokenizer.pad_token_id, batch_size)
        return [logprobs for logprobs, _ in found]

    def batches(self, rows: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
        """Numbers of rows to score at once (`decoding.by_length`)."""
        return by_length([len(row) for row in rows], batch_size, self.model.config.vocab_size)

    @torch.no_grad()
    def span_logprobs(self, rows: list[list[int]], spans: list[tuple[int, int]]) -> list[torch.Tensor]:
        """Log-probabilities over V at positions first … last − 1 of each row of ids: float32 (L, V).

        Runs as one batch, in which what all rows begin with is read once. A span cannot begin at 0, as nothing comes
        before it.
        """
        device = self.model.device
        training = self.model.training
        self.model.eval()
        skipped = min(first for first, _ in spans) - 1
        cache, shared = beginning(self.model, [row[:first] for row, (first, _) in zip(rows, spans, strict=True)])
        ids, mask = right_padded([row[shared:] for row in rows], self.tokenizer.pad_token_id)
        logits = self.model(
            input_ids=ids.to(device),
            attention_mask=torch.cat([mask.new_ones(len(rows), shared), mask], 1).to(device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=shared + ids.shape[1] - skipped,
        ).logits  # (B, L − skipped, V)
        self.model.train(training)
        return [
            logits[i, first - 1 - skipped : last - 1 - skipped].float().log_softmax(-1)  # (L, V)
            for i, (first, last) in enumerate(spans)
        ]


def load_llama(
    source: str | Path,
    revision: str | None = None,
    dtype: str = "float32",
    quantization: str = "none",
    device: str = "cpu",
) -> tuple[LlamaForCausalLM, SpeechTokenizer]:
    """A Llama and its tokenizer from a folder or hub id, frozen; InputError if they are missing or not a Llama."""
    options: dict[str, Any] = {}
    if quantization == "nf4":
        options["quantization_config"] = nf4(dtype)
    try:
        read_config(source, revision)
        model, report = LlamaForCausalLM.from_pretrained(
            str(source),
            revision=revision,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
            device_map={"": device},
            output_loading_info=True,
            **options,
        )
        tokenizer = load_tokenizer(source, revision)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{source} cannot be loaded as a Llama: {error}; name a Llama's folder or hub id") from error
    problems = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    if problems:
        raise InputError(f"{source} is not a whole Llama: {problems}; get its files again")
    if model.config.vocab_size < len(tokenizer):
        raise InputError(
            f"{source} has {model.config.vocab_size} word embeddings, expected at least its tokenizer's "
            f"{len(tokenizer)}; use the tokenizer it was trained with"
        )
    if quantization == "nf4":
        one_arithmetic(model)
    tokenizer.attach({}, model.config.vocab_size)
    model.generation_config.pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    return model.requires_grad_(False).eval(), tokenizer


def load_tokenizer(source: str | Path, revision: str | None = None) -> SpeechTokenizer:
    """The tokenizer of a folder or hub id, with the special tokens and the template of its chat format.

    InputError if that format is not known.
    """
    tokenizer = SpeechTokenizer.from_pretrained(str(source), revision=revision)
    form = chat_format.of_tokenizer(tokenizer, source)
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = form.begin, form.end, form.pad
    tokenizer.padding_side = "right"
    tokenizer.chat_template = chat_format.training_template(tokenizer.chat_template, form, source)
    return tokenizer


def nf4(dtype: str) -> BitsAndBytesConfig:
    """NF4 with double quantisation; head, projector and encoder stay as they are."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        llm_int8_skip_modules=["lm_head", ".*projector", ".*encoder", "score"],  # regular expressions
    )


def one_arithmetic(model: nn.Module) -> None:
    """Keep bitsandbytes 0.50 from repacking 4-bit weights for bfloat16 on CPUs that have AVX-512 BF16.

    It does so permanently at the first inference: later training steps would silently run a kernel without a gradient,
    and the figures would depend on the machine.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def end_ids(model: Any, tokenizer: SpeechTokenizer) -> list[int]:
    """Ids that end an answer."""
    own = model.generation_config.eos_token_id
    own = [] if own is None else [own] if isinstance(own, int) else list(own)
    return list(dict.fromkeys([tokenizer.eos_token_id, *own]))
