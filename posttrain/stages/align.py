"""`align`: train a projector of stacked frames into the Llama's embedding space (Fathullah et al. 2023, R = 0).

Encoder and Llama stay frozen, so every text figure of this stage equals the base's exactly.
"""

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
    metrics = train_embedding_ctc(llama, config, context) if config.ctc_steps else {}
    examples = context.corpus.spoken("train", REPEAT)
    metrics |= train_supervised(llama, examples, config, context, "align")
    valid = context.corpus.spoken("valid", REPEAT)
    metrics |= alignment(llama, valid)
    checkpoint.save(context.folder, llama, stage="align", parents=context.parents)
    return metrics
