"""`base`: the language model that everything else builds on. Tiny: created and trained here; real: named by config."""

import random
import sys
from collections.abc import Iterable
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig as SFTArguments
from trl import SFTTrainer

from posttrain.config.sections import BaseConfig
from posttrain.corpus import overlap
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.chat_format import FORMATS, of_tokenizer
from posttrain.model.speech_llama import load_tokenizer
from posttrain.model.tiny_tokenizer import train_tokenizer
from posttrain.model.tokenizer import SpeechTokenizer
from posttrain.model.untrusted import pinned, read_config
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.trainer import arguments, print_trainable, train
from posttrain.stages.training.transcripts import with_transcript
from posttrain.tasks.base_rows import base_rows, tokenizer_texts, with_pauses

TOKENIZER_ROWS = 6_000
CONTEXT_LENGTH = 1024
POOL_BATCHES = 8
INIT_STD = 0.06
EMBEDDING_STD = 0.3


def run(config: BaseConfig, context: StageContext) -> dict[str, Any]:
    """Write a plain Llama folder, or a checkpoint.json that names the model; returns loss, tokens and steps.

    With a parent `full_precision` the checkpoint is that base, to be loaded in 4 bits. RuntimeError with the step and
    the batch's ids if the loss becomes NaN; InputError if a training row contains a test text.
    """
    if "full_precision" in context.parents:
        parent = checkpoint.read_spec(context.parents["full_precision"])
        return _name(context, parent.base, parent.base_revision, parent.dtype, config.quantization)
    if config.model is not None:
        return _name(context, config.model, config.revision, config.dtype, config.quantization)
    if config.quantization != "none":
        raise InputError(
            f"base.quantization is {config.quantization}, expected none: the tiny base trains in full precision; "
            "name an adapter that quantises it, such as sft.adapter=qlora"
        )
    return _train_tiny(config, context)


def _name(context: StageContext, model: str, revision: str | None, dtype: str, quantization: str) -> dict[str, Any]:
    """Refer to a model stored elsewhere; its configuration and tokenizer are read, its weights are not."""
    try:
        revision = pinned(model, revision)
        shape = read_config(model, revision)
        load_tokenizer(model, revision)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"base.model {model} cannot be read: {error}; name a Llama's folder or hub id") from error
    if shape.model_type != "llama":
        raise InputError(f"{model} is a {shape.model_type}, expected a llama; name a Llama's folder or hub id")
    with torch.device("meta"):
        params = LlamaForCausalLM(shape).num_parameters()
    print(f"base: {model}, {params:,} parameters, loaded as it is; trains nothing", file=sys.stderr)
    checkpoint.refer_base(context.folder, model, revision, dtype, quantization, context.corpus.world)
    return {"steps": 0, "tokens": 0, "params": params}


def _train_tiny(config: BaseConfig, context: StageContext) -> dict[str, Any]:
    examples = typed_rows(context.corpus, max(config.steps * config.batch_size, TOKENIZER_ROWS), context.seed)
    texts, form = tokenizer_texts(examples[:TOKENIZER_ROWS]), FORMATS[config.chat_format or "llama3"]
    tokenizer = train_tokenizer(texts, config.vocab_size, form)
    model = build_llama(config, tokenizer, context.seed).to(context.device)
    print_trainable(model, "base")
    made = rows(tokenizer, examples[: config.steps * config.batch_size])
    dataset = Dataset.from_list(by_length(made, config.batch_size, context.seed))
    args = arguments(
        SFTArguments,
        context,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        train_sampling_strategy="sequential",
        max_length=None,
        completion_only_loss=True,
        weight_decay=0.01,
        adam_beta2=0.98,
    )
    trainer = SFTTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer)
    metrics = train(trainer, context, "base", examples)
    checkpoint.save_base(context.folder, model, tokenizer)
    return metrics | {"params": sum(p.numel() for p in model.parameters())}


def typed_rows(corpus: Corpus, count: int, seed: int, own_tests: Iterable[str] = ()) -> list[Example]:
    """`count` typed rows for the tiny base; none contains a held-out text or one of a person's `own_tests`."""
    left_out = overlap.held_out(corpus, own_tests).keys() | {item.text for item in corpus.items}
    recorded = [clip.text for clip in corpus.clips_of("train") if clip.recorded]
    said = [text for text in recorded if text and text not in left_out]
    return with_pauses(base_rows(count, seed, left_out, said), seed)


def build_llama(config: BaseConfig, tokenizer: SpeechTokenizer, seed: int) -> LlamaForCausalLM:
    """An untrained Llama 3.1-shaped model: grouped-query attention, `llama3` RoPE scaling, untied head.

    Embeddings start larger than Llama's 0.02, and the head as their scaled copy: a small model then learns to copy
    words in a third of the steps, because training need not link each word to itself. After that, both train freely.
    """
    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        intermediate_size=config.intermediate_size,
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": CONTEXT_LENGTH // 8,
        },
        rms_norm_eps=1e-5,
        initializer_range=INIT_STD,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(list(of_tokenizer(tokenizer).ends)),
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(shape)
        with torch.no_grad():
            model.model.embed_tokens.weight.normal_(std=EMBEDDING_STD)
            model.lm_head.weight.copy_(model.model.embed_tokens.weight * EMBEDDING_STD)
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.mul_(0.5)
                layer.mlp.down_proj.weight.mul_(0.5)
    return model.to(getattr(torch, config.dtype))


def rows(tokenizer: SpeechTokenizer, examples: list[Example], seed: int = 0) -> list[dict[str, Any]]:
    """Rows of id, input_ids, completion_mask (1 on answers and on running text), length.

    `seed`: draws the spoken rows that carry a transcript, if the tokenizer has any.
    """
    end = tokenizer.convert_tokens_to_ids(of_tokenizer(tokenizer).document_end)
    made = []
    for example in examples:
        if example.task == "text":
            ids = [*tokenizer.text_ids(example.answer), end]
            mask = [0] + [1] * (len(ids) - 1)
        else:
            prompt = tokenizer.prompt_ids(example, with_transcript(seed, example.id))
            answer = tokenizer.answer_ids(example.answer)
            ids, mask = prompt + answer, [0] * len(prompt) + [1] * len(answer)
        made.append({"id": example.id, "input_ids": ids, "completion_mask": mask, "length": len(ids)})
    return made


def by_length(rows: list[dict[str, Any]], batch_size: int, seed: int) -> list[dict[str, Any]]:
    """The rows, ordered so that consecutive batches hold rows of similar length.

    The Trainer's own grouping puts the long batches of every fifty first; tasks then come in turns, which trains worse.
    """
    pool = POOL_BATCHES * batch_size
    batches = []
    for start in range(0, len(rows), pool):
        ordered = sorted(rows[start : start + pool], key=lambda row: row["length"])
        batches += [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    last = batches.pop() if batches and len(batches[-1]) < batch_size else []
    random.Random(seed).shuffle(batches)
    return [row for batch in [*batches, last] for row in batch]
