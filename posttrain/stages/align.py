"""`align`: train a projector of stacked frames into the Llama's embedding space (Fathullah et al. 2023, R = 0).

Encoder and Llama stay frozen, so every text figure of this stage equals the base's exactly.
"""

import dataclasses
from typing import Any

from posttrain.config.sections import AlignConfig
from posttrain.corpus.instructions import REPEAT
from posttrain.model import checkpoint
from posttrain.model.alignment import alignment
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.embedding_ctc import train_embedding_ctc
from posttrain.stages.training.supervised import train_supervised


def run(config: AlignConfig, context: StageContext) -> dict[str, Any]:
    """Train the projector: CTC over the Llama's words first, then transcription through the Llama.

    From then on, speech tokens that the CTC finds blank are left out (`blank_below`).
    Metrics include the alignment of speech and text embeddings (section 4).
    """
    assert context.table is not None
    llama = checkpoint.create(
        context.parents["llm"],
        context.parents["encoder"],
        context.table,
        stack=config.stack,
        projector_hidden=config.projector_hidden,
        seed=context.seed,
        device=context.device,
    )
    metrics: dict[str, Any] = {}
    if config.ctc_steps:
        head, metrics = train_embedding_ctc(llama, config, context)
        spec = dataclasses.replace(llama.spec, blank_below=config.blank_below)
        llama = dataclasses.replace(llama, spec=spec, head=head).attach(context.table)
    examples = context.corpus.spoken("train", REPEAT)
    metrics |= train_supervised(llama, examples, config, context, "align")
    valid = context.corpus.spoken("valid", REPEAT)
    metrics |= alignment(llama, valid)
    checkpoint.save(context.folder, llama, stage="align", parents=context.parents)
    return metrics
