"""A recipe: YAML + overrides → frozen dataclasses. Every default lives here and nowhere else."""

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from posttrain.errors import InputError

RECIPES = Path(__file__).parent / "recipes"
STAGES = ("base", "ctc", "align", "distill", "sft", "reward", "dpo", "grpo")
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class CorpusConfig:
    """What is said, by whom, in what noise."""

    train_clips: int = 5000
    """Made clips to train the encoder and the speech stages on."""
    valid_clips: int = 200
    """Made clips by validation voices, for choices of model and stopping."""
    test_sentences: int = 150
    """Test sentences, each spoken clean and at 10, 5 and 0 dB."""
    probe_items: int = 250
    """Text items per ability probe."""
    spoken_items: int = 80
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
    vocab_size: int = 1024
    """Of the tiny tokenizer."""
    hidden_size: int = 192
    """Width D."""
    layers: int = 6
    """Decoder layers."""
    heads: int = 6
    """Query heads."""
    kv_heads: int = 2
    """Key/value heads."""
    intermediate_size: int = 512
    """Width of the MLP."""
    steps: int = 1500
    """Optimizer steps."""
    batch_size: int = 64
    """Rows a step."""
    learning_rate: float = 2e-3
    """Peak; cosine to zero."""


@dataclass(frozen=True, config=STRICT)
class CTCConfig:
    """The conformer encoder with its CTC head: trained here (tiny) or loaded (`model`)."""

    model: str | None = None
    """Hub id or local folder of a Parakeet CTC model; null trains the tiny one."""
    revision: str | None = None
    """Hub revision."""
    hidden_size: int = 144
    """Width."""
    layers: int = 6
    """Conformer blocks."""
    heads: int = 4
    """Attention heads."""
    subsampling_factor: int = 4
    """Mel frames (10 ms) per encoder frame."""
    subsampling_channels: int = 64
    """Channels of the subsampling convolutions."""
    steps: int = 1500
    """Optimizer steps."""
    batch_size: int = 32
    """Clips a step."""
    learning_rate: float = 2e-3
    """Peak; warm-up then cosine."""
    noise_probability: float = 0.6
    """Share of training clips mixed with noise."""
    room_probability: float = 0.3
    """Share of training clips put in a simulated room."""
    real_steps: int = 0
    """Steps that go on from the made speech with real recordings mixed in."""


@dataclass(frozen=True, config=STRICT)
class AlignConfig:
    """Frame stacking + projector learn the Llama's embedding space; all else is frozen (the paper's R = 0)."""

    stack: int = 3
    """Encoder frames per speech token."""
    projector_hidden: int = 0
    """Width of the projector's hidden layer; 0 is one linear layer, as in the paper."""
    steps: int = 400
    """Optimizer steps."""
    batch_size: int = 32
    """Rows a step."""
    learning_rate: float = 3e-3
    """Peak; cosine to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class DistillConfig:
    """The Llama reading the transcript teaches the same Llama hearing the speech."""

    steps: int = 300
    """Optimizer steps."""
    batch_size: int = 32
    """Rows a step."""
    learning_rate: float = 1e-3
    """Peak; cosine to zero."""
    divergence: Literal["forward_kl", "reverse_kl", "js"] = "forward_kl"
    """KL(teacher ‖ student), KL(student ‖ teacher) or Jensen–Shannon."""
    temperature: float = 2.0
    """T; the loss is multiplied by T²."""
    top_k: int = 0
    """Compare on the teacher's k likeliest tokens; 0 is all."""
    cross_entropy_weight: float = 0.3
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
    rank: int | None = None
    """Overrides the adapter's LoRA rank; lora_alpha follows as 2 r. 0 trains the projector alone."""
    steps: int = 700
    """Optimizer steps."""
    batch_size: int = 32
    """Rows a step."""
    learning_rate: float = 2e-3
    """Peak; cosine to zero."""
    train_encoder: bool = False
    """Train the encoder too (the paper's joint setting)."""
    encoder_learning_rate: float = 1e-4
    """Peak for the encoder, where it trains."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class RewardConfig:
    """A Bradley–Terry reward model on preference pairs."""

    rank: int = 8
    """Of its own LoRA; lora_alpha is 2 r."""
    steps: int = 150
    """Optimizer steps."""
    batch_size: int = 16
    """Pairs a step."""
    learning_rate: float = 1e-3
    """Peak; linear to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class DPOConfig:
    """Direct preference optimisation, against a frozen copy of the parent's adapter and projector."""

    beta: float = 0.1
    """Strength of the tie to the reference."""
    steps: int = 120
    """Optimizer steps."""
    batch_size: int = 16
    """Pairs a step."""
    learning_rate: float = 3e-4
    """Peak; linear to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class GRPOConfig:
    """RL from verifiable rewards on speech."""

    beta: float = 0.04
    """Weight of KL(policy ‖ reference)."""
    steps: int = 60
    """Optimizer steps."""
    prompts_per_step: int = 8
    """Different prompts a step."""
    generations: int = 8
    """Answers sampled per prompt."""
    temperature: float = 1.0
    """Of sampling."""
    max_new_tokens: int = 40
    """Of an answer."""
    learning_rate: float = 3e-4
    """Peak; linear to zero."""
    reward_model_weight: float = 0.0
    """Weight of the reward stage's score beside the verifiable reward; 0 leaves it out."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """The same after every stage."""

    batch_size: int = 128
    """Answers generated at once."""
    max_new_tokens: int = 48
    """Of an answer."""
    bootstrap: int = 1000
    """Resamples per interval."""


@dataclass(frozen=True, config=STRICT)
class StageConfig:
    """One node of the graph; `stages` of a recipe lists them in order."""

    name: str
    """Its folder and its row in the ledger."""
    stage: Literal[STAGES]  # type: ignore[valid-type]
    """Which function runs."""
    parents: dict[str, str] = field(default_factory=dict)
    """Role → name of an earlier node; what is left out follows the contract's graph."""
    options: dict[str, Any] = field(default_factory=dict)
    """Changes to that stage's section, for this node alone."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """One file, one run."""

    name: str
    """Default name of the run."""
    seed: int = 0
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
    evaluation: EvaluationConfig = EvaluationConfig()


def load_recipe(recipe: str | Path, overrides: list[str] | None = None) -> Recipe:
    """The recipe named, or in that YAML file, with `stage.option=value` overrides applied.

    Raises InputError with every problem found: unknown keys, wrong types, a file that is not there.
    """
    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise InputError(f"recipe {recipe} is not there ({path}); name one of {known} or a YAML file")
    try:
        raw = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}; mend the line it names") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds a {type(raw).__name__}, expected key: value lines")
    raw.setdefault("name", path.stem)
    problems: list[str] = []
    for override in overrides or []:
        _apply(raw, override, problems)
    if "stages" in raw and isinstance(raw["stages"], list):
        raw["stages"] = [{"name": s, "stage": s} if isinstance(s, str) else s for s in raw["stages"]]
    try:
        loaded = TypeAdapter(Recipe).validate_python(raw)
    except ValidationError as error:
        for e in error.errors():
            where = ".".join(str(part) for part in e["loc"])
            problems.append(f"{path}: {where} is {e.get('input')!r}: {e['msg']}")
        raise InputError(problems) from error
    if problems:
        raise InputError(problems)
    return loaded


def section(recipe: Recipe, node: StageConfig) -> Any:
    """The node's own config: its stage's section with the node's options applied."""
    config = getattr(recipe, node.stage)
    try:
        return TypeAdapter(type(config)).validate_python({**dataclasses.asdict(config), **node.options})
    except ValidationError as error:
        raise InputError(
            [f"stages.{node.name}.options.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        ) from error


def _apply(raw: dict[str, Any], override: str, problems: list[str]) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        problems.append(f"--set {override}: expected key=value, such as sft.learning_rate=1e-4")
        return
    *path, last = key.strip().split(".")
    for part in path:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            problems.append(f"--set {override}: {part} is not a section")
            return
    raw[last] = yaml.safe_load(value)
