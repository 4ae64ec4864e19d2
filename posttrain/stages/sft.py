"""`sft`: the hearing tasks, learned with the adapter that the recipe names.

LoRA r = 8, α = 16 on q, k, v, o by default (Fathullah et al. 2023); QLoRA, DoRA, prompt tuning, full and rank 0 are
options. The projector goes on training with it. `train_encoder` is the paper's joint setting.
"""

from typing import Any

from posttrain import checkpoint
from posttrain.config import SFTConfig
from posttrain.stages.context import StageContext
from posttrain.stages.supervised import train_supervised


def run(config: SFTConfig, context: StageContext) -> dict[str, Any]:
    """Train on every spoken task and their typed twins of the training split; leaves parent + adapter."""
    llama = checkpoint.load(context.parents["model"], context.device, table=context.table)
    llama = checkpoint.adapt(llama, config.adapter, rank=config.rank, seed=context.seed)
    examples = [e for e in context.corpus.examples if e.split == "train"]
    metrics = train_supervised(llama, examples, config, context, "sft")
    checkpoint.save(context.folder, llama, stage="sft", parents=context.parents)
    return metrics
