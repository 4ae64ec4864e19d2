"""`sft`: fine-tuning on the hearing tasks with the adapter that the recipe names.

LoRA r = 8, α = 16 on q, k, v, o by default (Fathullah et al. 2023); QLoRA, DoRA, prompt tuning, full and rank 0 are
options. The projector keeps training with it. `train_encoder` is the paper's joint setting. Remedies against forgetting
are options too: additional rows (remedies.py), a KL loss towards the base (anchor.py), keeping part of the change.
"""

import dataclasses
import json
from typing import Any

from posttrain.config.sections import SFTConfig
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.adapters import speech_embedding_of
from posttrain.model.encoders.contract import Encoder
from posttrain.model.encoders.loading import load as load_encoder
from posttrain.model.live_table import LiveTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.training import remedies
from posttrain.stages.training.anchor import Anchor, Reference
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.curve import Curve
from posttrain.stages.training.supervised import train_supervised
from posttrain.stages.training.together import deciding
from posttrain.stages.training.validation import StopAtWER, valid_answers, valid_wer


def run(config: SFTConfig, context: StageContext) -> dict[str, Any]:
    """Train on every spoken task of the training split; saves parent + adapter.

    With a `match` parent, training stops at that node's validation WER, so that two methods compare at equal gain.
    """
    if config.seed is not None:
        context = dataclasses.replace(context, seed=config.seed)
    llama = checkpoint.load(context.parents["model"], context.device, table=context.table)
    if config.candidates and llama.head is None:
        raise InputError(
            f"sft.candidates is {config.candidates}, but {context.parents['model']} has no word head to propose them; "
            "train align again with align.ctc_steps above 0, or set it to 0"
        )
    examples, distilled = _examples(llama, config, context)
    llama = checkpoint.adapt(llama, config.adapter, rank=config.rank, seed=context.seed)
    if config.one_format:
        llama = dataclasses.replace(llama, spec=dataclasses.replace(llama.spec, one_format=True))
    if config.transcript:
        llama = dataclasses.replace(llama, spec=dataclasses.replace(llama.spec, transcript=True)).attach(context.table)
    reference = Reference.before_training(llama) if config.kl_weight or config.looks else None
    encoder = _hear_live(llama, context) if config.train_encoder else None
    stop = []
    if "match" in context.parents:
        matched = json.loads((context.parents["match"] / "trained.json").read_text(encoding="utf-8"))["train_metrics"][
            "valid_wer"
        ]
        stop = [StopAtWER(llama, context.corpus, matched)]
    curve = [Curve(llama, reference, context.corpus, config.looks)] if reference and config.looks else []
    anchor = _anchor(llama, reference, config, context) if reference and config.kl_weight else None
    metrics = train_supervised(llama, examples, config, context, "sft", [*stop, *curve], anchor) | distilled
    if config.keep_change < 1:
        checkpoint.scale_change(llama, config.keep_change, context.parents["model"])
    answers = valid_answers(llama, context.corpus)
    metrics["valid_wer"] = valid_wer(answers)
    if config.candidates:
        llama, metrics["decides"] = deciding(llama, answers, config.candidates)
    if stop:
        metrics |= {"matched_valid_wer": stop[0].target, "valid_wer_by_step": stop[0].seen}
    if curve:
        metrics["curve"] = curve[0].seen
    if encoder is not None:
        _hear_from(llama, context)
        llama = dataclasses.replace(llama, head=None)  # it reads the frames of the encoder as it was
    checkpoint.save(context.folder, llama, stage="sft", parents=context.parents, encoder=encoder)
    return metrics


def _examples(llama: SpeechLlama, config: SFTConfig, context: StageContext) -> tuple[list[Example], dict[str, Any]]:
    """The training examples, and figures on how they were made; `llama` is the parent, which writes SDFT's targets."""
    examples = context.corpus.examples_of("train")
    found: dict[str, Any] = {}
    if config.self_distilled:
        examples, found = remedies.self_distilled(llama, examples)
    return remedies.mixture(config, examples, context.corpus, context.seed), found


def _anchor(llama: SpeechLlama, reference: Reference, config: SFTConfig, context: StageContext) -> Anchor:
    """An anchor with a quarter as many typed rows per step as task rows."""
    rows = max(1, config.batch_size // 4)
    typed = remedies.typed_rows(config.typed_rows, context.corpus, max(1, config.steps) * rows, context.seed)
    return Anchor(llama, reference, typed, config.kl_weight, rows)


def _hear_from(llama: SpeechLlama, context: StageContext) -> None:
    """Put the frozen frames back: only the Llama's part is saved here; the encoder has a folder of its own."""
    assert context.table is not None
    embedding = speech_embedding_of(llama.model)
    del embedding.table
    embedding.table = context.table.stacked(llama.spec.stack)


def _hear_live(llama: SpeechLlama, context: StageContext) -> Encoder:
    """Replace the encoder's frozen frames with the encoder itself, which trains with the rest."""
    if llama.spec.blank_below < 1:
        raise InputError(
            f"{context.parents['model']} leaves blank speech tokens out, by frames that sft.train_encoder changes; set "
            "train_encoder=false, or align.blank_below=1 and train from there"
        )
    if llama.spec.transcript:
        raise InputError(
            "sft.train_encoder is true, but the model reads the encoder's transcripts, which would change while the "
            "encoder trains; set it to false"
        )
    encoder = load_encoder(llama.spec.encoder or "", device=context.device)
    embedding = speech_embedding_of(llama.model)
    embedding.table = LiveTable(encoder, context.corpus, embedding.table)
    return encoder
