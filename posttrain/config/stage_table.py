"""The stage table: one row per stage, read by graph, memory plan, evaluation, report and commands; it loads no torch.

A new stage is a module posttrain/stages/NAME.py with a function `run`, and in this file its options, section and row.
The order of the rows is the order of stages in a recipe that lists none; run/graph.py finds their parents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic.dataclasses import dataclass as validated

from posttrain.config.sections import (
    STRICT,
    AlignConfig,
    BaseConfig,
    CTCConfig,
    DistillConfig,
    DPOConfig,
    EnhanceConfig,
    GRPOConfig,
    PersonaliseConfig,
    RewardConfig,
    SFTConfig,
)


@validated(frozen=True, config=STRICT)
class Sections:
    """The options of every stage, as a recipe names them."""

    base: BaseConfig = BaseConfig()
    ctc: CTCConfig = CTCConfig()
    align: AlignConfig = AlignConfig()
    distill: DistillConfig = DistillConfig()
    sft: SFTConfig = SFTConfig()
    reward: RewardConfig = RewardConfig()
    dpo: DPOConfig = DPOConfig()
    grpo: GRPOConfig = GRPOConfig()
    enhance: EnhanceConfig = EnhanceConfig()
    personalise: PersonaliseConfig = PersonaliseConfig()


@dataclass(frozen=True)
class Parent:
    """Which nodes can fill a stage's role."""

    usual: tuple[str, ...]
    """Stages that fill it if the recipe names no node; of several earlier nodes, the latest is taken."""
    allowed: tuple[str, ...] = ()
    """Stages of nodes that a recipe may name; if empty, the usual ones."""
    optional: bool = False
    """Filled only if the recipe names a node, or if `option` is above 0."""
    option: str = ""
    """Option of the stage that asks for this parent."""


@dataclass(frozen=True)
class StageSpec:
    """What the rest of the program needs to know about a stage; its function is `posttrain.stages.NAME.run`."""

    name: str
    summary: str
    """One line; the stage's target in the Makefile repeats it, as a test checks."""
    trains: str
    """Which weights train; empty if none do."""
    leaves: Literal["llama", "encoder", "speech", "reward", "enhancer"]
    """Kind of checkpoint, by which it is evaluated: a Llama answers the typed items, an encoder the spoken ones as a
    cascade with the base, a speech model both; a reward model ranks pairs; an enhancer is measured in decibels, and no
    other stage continues from it."""
    parents: Mapping[str, Parent] = field(default_factory=dict)
    """Role → nodes that can fill it; optional ones last."""
    on_demand: bool = False
    """Runs only if the recipe lists it or the user asks for it by name."""
    loads: bool = False
    """Option `model` names a model to load; then nothing trains."""
    rows: Literal["tasks", "sentences", "pairs", "prompts"] = "tasks"
    """Rows of the corpus that it cannot do without. A step takes `batch_size` of them, twice that for pairs;
    `prompts_per_step` × `generations` for prompts, whose answers are sampled."""
    adapter: Literal["none", "named", "parent", "merged", "personal"] = "none"
    """Adapter that trains: none; a file of adapters/ that option `adapter` names; the parent's, which goes on; a LoRA
    on the model with the parent's merged; a LoRA beside the parent's, for the person whom option `manifest` names."""
    wants: Literal["any", "mergeable", "tunable", "peft", "lora"] = "any"
    """Adapter that its parent must have: any or none; one that can be merged; one wherever weights are in 4 bits; a
    PEFT adapter; a LoRA."""
    arm: bool = False
    """A study compares its nodes, on validation data too; `seeds` trains copies of it with other values of `seed`."""
    aims: tuple[str, ...] = ()
    """Metrics that it is meant to improve, compared before and after it. Fixed in advance, so each is judged by its own
    interval."""
    adds: str = ""
    """Prefix of the metrics that are its row's own; if given, the row repeats its parent's other figures."""
    reference: tuple[str, ...] = ()
    """Options of which one above 0 makes it keep a frozen copy of its parent in memory."""
    logits: Literal["none", "answers", "teacher"] = "answers"
    """Logits in memory: none at once; those of answers; those of all positions and of a teacher's answers."""
    words: str = ""
    """Option with the number of steps in which every speech token is compared with every word embedding."""

    @property
    def aside(self) -> bool:
        """Whether it answers no items and no other stage depends on it."""
        return self.leaves == "enhancer"


SPEECH = ("align", "distill", "sft", "dpo", "grpo")
"""Stages that leave a speech model on which others build."""
TABLE: Mapping[str, StageSpec] = {
    spec.name: spec
    for spec in (
        StageSpec(
            "base",
            "the language model: train the tiny Llama or load a real one",
            trains="the Llama",
            leaves="llama",
            parents={"full_precision": Parent(("base",), optional=True)},  # the base that another base quantises
            loads=True,
        ),
        StageSpec(
            "ctc",
            "the conformer/CTC encoder: train the tiny one or load a real one",
            trains="the encoder and its CTC head",
            leaves="encoder",
            loads=True,
        ),
        StageSpec(
            "align",
            "train the projector into the Llama's embedding space",
            trains="the projector",
            leaves="speech",
            parents={"llm": Parent(("base",)), "encoder": Parent(("ctc",))},
            rows="sentences",
            words="ctc_steps",
        ),
        StageSpec(
            "distill",
            "the Llama given the transcript teaches the Llama given the speech",
            trains="the projector",
            leaves="speech",
            parents={"model": Parent(("align",), ("align", "distill"))},
            rows="sentences",
            aims=("distill/kl_teacher", "modality_gap/mean"),
            logits="teacher",
        ),
        StageSpec(
            "sft",
            "supervised fine-tuning on the spoken tasks, with an adapter from adapters/",
            trains="the adapter and the projector, if asked the encoder too",
            leaves="speech",
            parents={
                "model": Parent(("distill", "align"), SPEECH),
                "match": Parent(("sft",), optional=True),  # training stops at the validation WER of this node
            },
            adapter="named",
            arm=True,
            reference=("kl_weight", "looks"),
        ),
        StageSpec(
            "reward",
            "train a reward model on preference pairs",
            trains="a classification head and a LoRA of its own",
            leaves="reward",
            parents={"model": Parent(("sft",), SPEECH)},
            rows="pairs",
            adapter="merged",
            wants="mergeable",
            aims=("reward/accuracy",),
            adds="reward/",
            logits="none",
        ),
        StageSpec(
            "dpo",
            "direct preference optimisation",
            trains="the adapter and the projector",
            leaves="speech",
            parents={"model": Parent(("sft",), SPEECH)},
            rows="pairs",
            adapter="parent",
            wants="tunable",
            aims=("dpo/preferred",),
            reference=("beta",),
        ),
        StageSpec(
            "grpo",
            "reinforcement learning from verifiable rewards",
            trains="the adapter and the projector",
            leaves="speech",
            parents={
                "model": Parent(("dpo", "sft"), ("sft", "dpo", "grpo")),
                "reward": Parent(("reward",), optional=True, option="reward_model_weight"),
            },
            rows="prompts",
            adapter="parent",
            wants="peft",
            aims=("grpo/reward",),
        ),
        StageSpec(
            "enhance",
            "the hearing aid's denoiser: needs only the corpus; no other stage needs it",
            trains="the denoiser, if asked a copy of the encoder too",
            leaves="enhancer",
            parents={"encoder": Parent(("ctc",), optional=True, option="machine_weight")},
            on_demand=True,
        ),
        StageSpec(
            "personalise",
            "train a small LoRA for one person on top of sft",
            trains="a LoRA for one person",
            leaves="speech",
            parents={"model": Parent(("sft",), ("sft", "dpo", "grpo"))},
            on_demand=True,
            adapter="personal",
            wants="lora",
        ),
    )
}
"""Stage → its row, in the order in which a recipe without `stages` runs them."""


def spec_of(stage: str) -> StageSpec:
    """The stage's row; for a name that only a ledger of other code knows, that of a plain speech model."""
    return TABLE.get(stage) or StageSpec(stage, "", trains="", leaves="speech")
