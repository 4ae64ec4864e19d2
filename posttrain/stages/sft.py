"""`sft`: the hearing tasks, learned with the adapter that the recipe names.

LoRA r = 8, α = 16 on q, k, v, o by default (Fathullah et al. 2023); QLoRA, DoRA, prompt tuning, full and rank 0 are
options. The projector goes on training with it. `train_encoder` is the paper's joint setting.
"""

import json
from typing import Any

from posttrain import checkpoint
from posttrain.model.adapters import speech_embedding_of
from posttrain.model.encoder import CTCEncoder
from posttrain.model.encoder import load as load_encoder
from posttrain.model.live_table import LiveTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.sections import SFTConfig
from posttrain.stages.context import StageContext
from posttrain.stages.supervised import train_supervised
from posttrain.stages.validation import StopAtWER, valid_wer


def run(config: SFTConfig, context: StageContext) -> dict[str, Any]:
    """Train on every spoken task of the training split; leaves parent + adapter.

    With a `match` parent, training stops at that node's validation WER: two methods are then compared at equal gain.
    """
    llama = checkpoint.load(context.parents["model"], context.device, table=context.table)
    llama = checkpoint.adapt(llama, config.adapter, rank=config.rank, seed=context.seed)
    examples = [e for e in context.corpus.examples if e.split == "train"]
    encoder = _hear_live(llama, context) if config.train_encoder else None
    stop = []
    if "match" in context.parents:
        matched = json.loads((context.parents["match"] / "trained.json").read_text())["train_metrics"]["valid_wer"]
        stop = [StopAtWER(llama, context.corpus, matched)]
    metrics = train_supervised(llama, examples, config, context, "sft", stop)
    metrics["valid_wer"] = valid_wer(llama, context.corpus)
    if stop:
        metrics |= {"matched_valid_wer": stop[0].target, "valid_wer_by_step": stop[0].seen}
    if encoder is not None:
        _hear_from(llama, context)
    checkpoint.save(context.folder, llama, stage="sft", parents=context.parents, encoder=encoder)
    return metrics


def _hear_from(llama: SpeechLlama, context: StageContext) -> None:
    """Put the frozen frames back: what is saved is the Llama's; the encoder has a folder of its own."""
    assert context.table is not None
    embedding = speech_embedding_of(llama.model)
    del embedding.table
    embedding.table = context.table.stacked(llama.spec.stack)


def _hear_live(llama: SpeechLlama, context: StageContext) -> CTCEncoder:
    """Put the encoder itself where its frozen frames were; it trains with the rest."""
    encoder = load_encoder(llama.spec.encoder or "", device=context.device)
    embedding = speech_embedding_of(llama.model)
    embedding.table = LiveTable(encoder, context.corpus, embedding.table)
    return encoder
