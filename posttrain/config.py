"""A recipe: YAML + overrides → frozen dataclasses. Every default lives here (the gate's: gate_config.py)."""

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

from posttrain.errors import InputError
from posttrain.gate_config import GateConfig
from posttrain.yaml_config import override, parse, read_mapping, refuse_bool

RECIPES = Path(__file__).parent / "recipes"
STAGES = ("base", "ctc", "align", "distill", "sft", "reward", "dpo", "grpo")
ASIDE = ("enhance",)
"""Stages that no other hangs on: a recipe has them where it lists them, and every recipe when they are asked for."""
STRICT = ConfigDict(extra="forbid")
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.@+-]*$")]
Count = Annotated[int, BeforeValidator(refuse_bool), Field(ge=1)]
CountOrZero = Annotated[int, BeforeValidator(refuse_bool), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(refuse_bool), Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, BeforeValidator(refuse_bool), Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(refuse_bool), Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class CorpusConfig:
    """What is said, by whom, in what noise."""

    train_clips: CountOrZero = 7000
    """Made clips to train the encoder and the speech stages on."""
    rl_clips: CountOrZero = 1200
    """Made clips that nothing hears before `grpo` does: what is practised must not be known by heart."""
    valid_clips: CountOrZero = 200
    """Made clips by validation voices, for choices of model and stopping."""
    test_sentences: CountOrZero = 150
    """Test sentences, each spoken clean and at 10, 5 and 0 dB."""
    probe_items: CountOrZero = 250
    """Text items per ability probe."""
    spoken_items: CountOrZero = 80
    """How many of each probe's items are also spoken."""
    sources: tuple[str, ...] = ()
    """Data cards under data/ whose recordings are added, such as speechocean762."""
    data_root: str | None = None
    """Folder that holds the sources, one sub-folder each."""
    on_bad_audio: Literal["error", "drop"] = "error"
    """Unreadable, empty or NaN recordings: stop before training, or drop and count them."""


@dataclass(frozen=True, config=STRICT)
class BaseConfig:
    """The language model: trained here (tiny) or loaded (`model`)."""

    model: str | None = None
    """Hub id or local folder of a Llama; null trains the tiny one."""
    revision: str | None = None
    """Hub revision."""
    quantization: Literal["none", "nf4"] = "none"
    """Load the linear layers in 4 bits."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Weights' type."""
    vocab_size: Count = 1024
    """Of the tiny tokenizer."""
    hidden_size: Count = 192
    """Width D."""
    layers: Count = 6
    """Decoder layers."""
    heads: Count = 6
    """Query heads."""
    kv_heads: Count = 2
    """Key/value heads."""
    intermediate_size: Count = 512
    """Width of the MLP."""
    steps: CountOrZero = 3200
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows a step."""
    learning_rate: Positive = 2e-3
    """Peak; cosine to zero."""


@dataclass(frozen=True, config=STRICT)
class CTCConfig:
    """The conformer encoder with its CTC head: trained here (tiny) or loaded (`model`)."""

    model: str | None = None
    """Hub id or local folder of a Parakeet CTC model; null trains the tiny one."""
    revision: str | None = None
    """Hub revision."""
    hidden_size: Count = 160
    """Width."""
    layers: Count = 4
    """Conformer blocks."""
    heads: Count = 4
    """Attention heads."""
    subsampling_factor: Count = 4
    """Mel frames (10 ms) per encoder frame."""
    subsampling_channels: Count = 32
    """Channels of the subsampling convolutions."""
    mel_bins: Count = 64
    """Log-mel features per mel frame."""
    units: CountOrZero = 384
    """Byte pairs (BPE) that the CTC head tells apart; 0 is characters."""
    steps: CountOrZero = 1800
    """Optimizer steps."""
    batch_size: Count = 16
    """Clips a step."""
    learning_rate: Positive = 3e-3
    """Peak; warm-up then cosine."""
    noise_probability: Share = 0.3
    """Share of the clean training clips mixed with more noise, each time anew."""
    room_probability: Share = 0.1
    """Share of training clips put in a simulated room."""
    real_steps: CountOrZero = 0
    """Steps that go on from the made speech with real recordings mixed in."""


@dataclass(frozen=True, config=STRICT)
class AlignConfig:
    """Frame stacking + projector learn the Llama's embedding space; all else is frozen (the paper's R = 0)."""

    stack: Count = 4
    """Encoder frames per speech token."""
    projector_hidden: CountOrZero = 512
    """Width of the projector's hidden layer; 0 is one linear layer, as in the paper."""
    ctc_steps: CountOrZero = 800
    """Optimizer steps of CTC in the Llama's embedding space, which come first; 0 leaves them out."""
    ctc_batch_size: Count = 48
    """Clips in each of them."""
    ctc_learning_rate: Positive = 1e-2
    """Their peak; cosine to zero. The output layer is at unit scale then."""
    steps: CountOrZero = 200
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows a step."""
    learning_rate: Positive = 5e-4
    """Peak; cosine to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class DistillConfig:
    """The Llama reading the transcript teaches the same Llama hearing the speech."""

    steps: CountOrZero = 300
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows a step."""
    learning_rate: Positive = 5e-4
    """Peak; cosine to zero."""
    divergence: Literal["forward_kl", "reverse_kl", "js"] = "forward_kl"
    """KL(teacher ‖ student), KL(student ‖ teacher) or Jensen–Shannon."""
    temperature: Positive = 1.0
    """T; the loss is multiplied by T²."""
    top_k: CountOrZero = 0
    """Compare on the teacher's k likeliest tokens; 0 is all."""
    cross_entropy_weight: Share = 0.5
    """Weight of cross-entropy in the mix; the divergence has the rest."""
    answers: Literal["gold", "teacher"] = "gold"
    """Whose answers both are run over."""
    student: Literal["same", "half"] = "same"
    """The same Llama (only the projector trains), or one of every second layer (all of it trains)."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class SFTConfig:
    """Hearing tasks, with the adapter that `adapter` names."""

    adapter: str = "lora"
    """A file of adapters/, without .yaml."""
    rank: CountOrZero | None = None
    """Overrides the adapter's LoRA rank; lora_alpha follows as 2 r. 0 trains the projector alone."""
    steps: CountOrZero = 1500
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows a step."""
    learning_rate: Positive = 1e-3
    """Peak; cosine to zero. Higher, the tasks are learned better and more is forgotten."""
    projector_learning_rate: Positive | None = 2e-3
    """Peak for the projector, which cannot forget: typed text does not go through it. Null is as above."""
    train_encoder: bool = False
    """Train the encoder too (the paper's joint setting)."""
    encoder_learning_rate: Positive = 1e-4
    """Peak for the encoder, where it trains."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class RewardConfig:
    """A Bradley–Terry reward model on preference pairs."""

    rank: Count = 8
    """Of its own LoRA; lora_alpha is 2 r."""
    steps: CountOrZero = 150
    """Optimizer steps."""
    batch_size: Count = 16
    """Pairs a step."""
    learning_rate: Positive = 1e-3
    """Peak; linear to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class DPOConfig:
    """Direct preference optimisation, against a frozen copy of the parent's adapter and projector."""

    beta: Positive = 0.1
    """Strength of the tie to the reference."""
    steps: CountOrZero = 120
    """Optimizer steps."""
    batch_size: Count = 16
    """Pairs a step."""
    learning_rate: Positive = 1e-4
    """Peak; linear to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class GRPOConfig:
    """RL from verifiable rewards on speech."""

    beta: Positive = 0.04
    """Weight of KL(policy ‖ reference)."""
    steps: CountOrZero = 80
    """Optimizer steps."""
    prompts_per_step: Count = 8
    """Different prompts a step."""
    generations: Annotated[int, Field(ge=2)] = 8
    """Answers sampled per prompt; their mean is the baseline."""
    temperature: Positive = 1.0
    """Of sampling."""
    max_new_tokens: Count = 40
    """Of an answer."""
    learning_rate: Positive = 3e-4
    """Peak; linear to zero."""
    reward_model_weight: NotNegative = 0.0
    """Weight of the reward stage's score beside the verifiable reward; 0 leaves it out."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class EnhanceConfig:
    """The speech enhancer: a causal mask, trained against a discriminator, in the air and in listeners' ears."""

    width: Count = 128
    """Of the layer before the recurrence."""
    hidden: Count = 192
    """Of the recurrence; with 192 the enhancer has some 270 k parameters."""
    conditioned: bool = True
    """Tell the enhancer the audiogram; false is the control that shows what that earns."""
    steps: CountOrZero = 600
    """Optimizer steps."""
    batch_size: Count = 8
    """Mixtures a step, each for a listener of its own."""
    segment_s: Positive = 2.0
    """Length of a mixture in seconds."""
    learning_rate: Positive = 4e-3
    """Peak; warm-up then cosine to zero."""
    snr_db: tuple[float, float] = (-5.0, 15.0)
    """Range of the speech-to-noise ratios."""
    quiet_share: Share = 0.15
    """Share of mixtures with next to no noise, which are to stay as they are."""
    room_share: Share = 0.25
    """Share of mixtures in a simulated room."""
    noises: Count = 160
    """Made noises to draw from; a sixth as many rooms."""
    listener_weight: NotNegative = 1.0
    """Of the distance in the listener's ear, beside that in the air."""
    adversarial_weight: NotNegative = 0.5
    """Of the discriminator's judgement, from half of the steps on."""


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """The same after every stage."""

    batch_size: Count = 128
    """Answers generated at once."""
    max_new_tokens: Count = 48
    """Of an answer."""
    bootstrap: Count = 1000
    """Resamples per interval."""


@dataclass(frozen=True, config=STRICT)
class StageConfig:
    """One node of the graph; `stages` of a recipe lists them in order."""

    name: Name
    """Its folder and its row in the ledger."""
    stage: Literal[(*STAGES, *ASIDE)]  # type: ignore[valid-type]
    """Which function runs."""
    parents: dict[str, str] = field(default_factory=dict)
    """Role → name of an earlier node; what is left out follows the contract's graph."""
    options: dict[str, Any] = field(default_factory=dict)
    """Changes to that stage's section, for this node alone."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One file, one run."""

    name: Name
    """Default name of the run."""
    seed: CountOrZero = 0
    """Of everything random."""
    device: str = "auto"
    """auto, cpu, cuda, …"""
    report_to: tuple[str, ...] = ("tensorboard",)
    """Where training curves go: any `report_to` of transformers."""
    stages: tuple[StageConfig, ...] = tuple(StageConfig(name=s, stage=s) for s in STAGES)
    """The nodes, in order."""
    corpus: CorpusConfig = CorpusConfig()
    base: BaseConfig = BaseConfig()
    ctc: CTCConfig = CTCConfig()
    align: AlignConfig = AlignConfig()
    distill: DistillConfig = DistillConfig()
    sft: SFTConfig = SFTConfig()
    reward: RewardConfig = RewardConfig()
    dpo: DPOConfig = DPOConfig()
    grpo: GRPOConfig = GRPOConfig()
    enhance: EnhanceConfig = EnhanceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()


def load_recipe(recipe: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe named, or in that YAML file, with `section.option=value` overrides applied.

    Raises InputError with every problem found: unknown keys, wrong types and values, a file that is not there.
    """
    loaded, problems = read_recipe(recipe, overrides)
    if problems:
        raise InputError(problems)
    return loaded


def read_recipe(recipe: str | Path, overrides: list[str] | None = None) -> tuple[Recipe, list[str]]:
    """The recipe and what is wrong with it; defaults stand in for wrong entries, so that later checks can add theirs.

    Raises InputError where there is no such recipe.
    """
    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise InputError(f"recipe {recipe} is not there ({path}); name one of {known} or a YAML file")
    problems: list[str] = []
    raw = {"name": path.stem, **read_mapping(path, problems)}
    for change in overrides or []:
        override(raw, change, problems)
    if isinstance(raw.get("stages"), list):
        raw["stages"] = [{"name": s, "stage": s} if isinstance(s, str) else s for s in raw["stages"]]
    loaded = parse(Recipe, raw, str(path), problems, stand_in={"name": path.stem})
    mended = []
    for node in loaded.stages:
        before = len(problems)
        options = _section(loaded, node, f"{path}: stages.{node.name}.options", problems)
        mended.append(
            node if len(problems) == before else dataclasses.replace(node, options=dataclasses.asdict(options))
        )
    return dataclasses.replace(loaded, stages=tuple(mended)), problems


def with_stage(recipe: Recipe, name: str | None) -> Recipe:
    """The recipe with a stage of ASIDE behind its others, where that is asked for by name and not among them."""
    if name not in ASIDE or any(node.name == name for node in recipe.stages):
        return recipe
    return dataclasses.replace(recipe, stages=(*recipe.stages, StageConfig(name, name)))


def section(recipe: Recipe, node: StageConfig) -> Any:
    """The node's own config: its stage's section with the node's options applied."""
    problems: list[str] = []
    options = _section(recipe, node, f"stages.{node.name}.options", problems)
    if problems:
        raise InputError(problems)
    return options


def _section(recipe: Recipe, node: StageConfig, where: str, problems: list[str]) -> Any:
    config = getattr(recipe, node.stage)
    given = dataclasses.asdict(config)
    return parse(type(config), {**given, **node.options}, where, problems, stand_in=given)
