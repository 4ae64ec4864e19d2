"""The sections of a recipe, one frozen dataclass each: every option and its default (for the gate: gate.py)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

from posttrain.config.yaml_reader import expanded, refuse_bool

STRICT = ConfigDict(extra="forbid")
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.@+-]*$")]
Place = Annotated[str, AfterValidator(expanded)]
"""A path, relative to the working folder, or a hub id. `~` and `$VARIABLE` are filled in here, once."""
Count = Annotated[int, BeforeValidator(refuse_bool), Field(ge=1)]
CountOrZero = Annotated[int, BeforeValidator(refuse_bool), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(refuse_bool), Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, BeforeValidator(refuse_bool), Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(refuse_bool), Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class CorpusConfig:
    """The corpus: what is said, by whom, in what noise."""

    train_clips: CountOrZero = 7000
    """Synthetic clips to train the encoder and the speech stages on."""
    rl_clips: CountOrZero = 1200
    """Synthetic clips reserved for `grpo`: no earlier stage trains on them, so their answers are not memorised."""
    valid_clips: CountOrZero = 200
    """Synthetic clips by validation voices, for choosing models and when to stop."""
    test_sentences: CountOrZero = 150
    """Test sentences, each spoken clean and at 10, 5 and 0 dB."""
    probe_items: CountOrZero = 250
    """Text items per ability probe."""
    spoken_items: CountOrZero = 80
    """How many of each probe's items are also spoken."""
    sources: tuple[str, ...] = ()
    """Data cards under data/ whose recordings are added, such as speechocean762."""
    data_root: Place | None = None
    """Folder that holds the sources, one sub-folder each."""
    on_bad_audio: Literal["error", "drop"] = "error"
    """Unreadable, empty or NaN recordings: stop before training, or drop and count them."""
    world: Literal["tiny", "general"] = "tiny"
    """What is said and asked: the tiny world, which a tiny base learns, or general English, for a loaded base."""
    written: CountOrZero = 0
    """Requests that the loaded base writes and answers itself; synthetic voices say them. For world: general."""
    instructions: tuple[Place, ...] = ()
    """Prompts with answers to train on: cards of data/ of kind instructions, or files of JSON lines."""
    preferences: tuple[Place, ...] = ()
    """Prompts with a chosen and a rejected answer: cards of kind preferences, or files of JSON lines."""
    safety_prompts: tuple[Place, ...] | None = None
    """Published prompts to test safety on, for world: general: cards of kind prompts, or CSV files in the formats of
    XSTest, AdvBench or HarmBench; null: xstest, if the data root holds it."""
    answers: Literal["own", "teacher"] = "own"
    """Answers to `instructions`: the file's, or those that the loaded base gives to the typed prompt, so that what is
    learned is hearing, not content."""
    speak_prompts: bool = False
    """Synthetic voices say those prompts of the files that are one short line that can be read out."""
    file_share: Annotated[float, BeforeValidator(refuse_bool), Field(ge=0, lt=1)] = 0.2
    """At most this share of the synthetic clips and the rows of `instructions`; as many rows of `preferences`."""
    longest_row: Count = 1000
    """Characters of a prompt and its answers together; longer rows of the files are left out and counted."""
    on_bad_rows: Literal["error", "drop"] = "error"
    """Rows of the files without a usable prompt or answer: stop before training, or leave out and count them."""


@dataclass(frozen=True, config=STRICT)
class BaseConfig:
    """The language model: trained here (tiny) or loaded (`model`)."""

    model: Place | None = None
    """Hub id or local folder of a Llama; null trains the tiny one."""
    revision: str | None = None
    """Hub revision."""
    quantization: Literal["none", "nf4"] = "none"
    """Load the linear layers in 4 bits."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights."""
    chat_format: str | None = None
    """Chat format of the tiny base, a name in model/chat_format.py; null is llama3. A loaded model's is recognised."""
    vocab_size: Count = 1024
    """Vocabulary size of the tiny tokenizer."""
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
    steps: CountOrZero = 4400
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows per step."""
    learning_rate: Positive = 2e-3
    """Peak; cosine to zero."""


@dataclass(frozen=True, config=STRICT)
class CTCConfig:
    """The encoder: a small conformer with a CTC head trained here (tiny), or one that is loaded (`model`)."""

    model: Place | None = None
    """Hub id or local folder of an encoder; null trains the tiny one."""
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
    """Byte-pair (BPE) units of the CTC head; 0 uses characters."""
    steps: CountOrZero = 1800
    """Optimizer steps."""
    batch_size: Count = 16
    """Clips per step."""
    learning_rate: Positive = 3e-3
    """Peak; warm-up then cosine."""
    noise_probability: Share = 0.3
    """Share of the clean training clips that get extra noise, drawn anew each time."""
    room_probability: Share = 0.1
    """Share of training clips placed in a simulated room."""
    real_steps: CountOrZero = 0
    """Further steps after those on synthetic speech, with real recordings mixed in."""


@dataclass(frozen=True, config=STRICT)
class AlignConfig:
    """The projector over stacked frames learns the Llama's embedding space; all else is frozen (the paper's R = 0)."""

    stack: Count = 4
    """Encoder frames per speech token."""
    projector_hidden: CountOrZero = 512
    """Width of the projector's hidden layer; 0 is one linear layer, as in the paper."""
    ctc_steps: CountOrZero = 800
    """Optimizer steps of CTC in the Llama's embedding space, before the others; 0 leaves them out."""
    ctc_batch_size: Count = 48
    """Clips per CTC step."""
    ctc_learning_rate: Positive = 1e-2
    """Peak for the CTC steps; cosine to zero. During them the projector's output layer is at unit scale."""
    blank_below: Annotated[float, BeforeValidator(refuse_bool), Field(gt=0, le=1)] = 1.0
    """Speech tokens that this CTC takes for blank with at least this probability are left out afterwards; 1 keeps all.
    """
    steps: CountOrZero = 200
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows per step."""
    learning_rate: Positive = 5e-4
    """Peak; cosine to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class DistillConfig:
    """Cross-modal distillation: the Llama given the transcript teaches the same Llama given the speech."""

    steps: CountOrZero = 300
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows per step."""
    learning_rate: Positive = 5e-4
    """Peak; cosine to zero."""
    divergence: Literal["forward_kl", "reverse_kl", "js"] = "forward_kl"
    """KL(teacher ‖ student), KL(student ‖ teacher) or Jensen–Shannon."""
    temperature: Positive = 1.0
    """T; the loss is multiplied by T²."""
    top_k: CountOrZero = 0
    """Compare only the teacher's k likeliest tokens; 0 compares all."""
    cross_entropy_weight: Share = 0.5
    """Weight of cross-entropy in the loss; the divergence has the rest."""
    answers: Literal["gold", "teacher"] = "gold"
    """Answers to train on: the corpus's (gold), or those of the teacher."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class SFTConfig:
    """Supervised fine-tuning on the spoken tasks, with the adapter that `adapter` names."""

    adapter: str = "lora"
    """A file of adapters/, without .yaml."""
    rank: CountOrZero | None = None
    """Overrides the adapter's LoRA rank; lora_alpha follows as 2 r. 0 trains the projector alone."""
    steps: CountOrZero = 1500
    """Optimizer steps."""
    batch_size: Count = 16
    """Rows per step."""
    learning_rate: Positive = 1e-3
    """Peak; cosine to zero. A higher rate learns the tasks better and forgets more."""
    projector_learning_rate: Positive | None = 2e-3
    """Peak for the projector, which cannot forget: typed text does not pass through it. Null uses `learning_rate`."""
    train_encoder: bool = False
    """Train the encoder too (the paper's joint setting)."""
    encoder_learning_rate: Positive = 1e-4
    """Peak for the encoder, if it trains."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    seed: CountOrZero | None = None
    """Seed of the adapter and of the order of its rows; null uses the recipe's. Base and encoder keep theirs."""
    replay_share: Share = 0.0
    """Share of the rows that are typed; `typed_rows` names their kind."""
    kl_weight: NotNegative = 0.0
    """Weight of KL(base ‖ model) on typed rows of that kind, added to the task loss."""
    typed_rows: Literal["world", "text"] = "world"
    """Kind of typed rows for replay and KL: what the tiny base learned from, or running text, for a loaded base."""
    safety_share: Share | None = None
    """Share of the rows that are harmful requests with their refusals; the corpus's other safety rows are left out.
    Null keeps all of its safety rows as they are, harmful and harmless."""
    self_distilled: bool = False
    """Use the model's own answer to the typed request as the target if it is graded correct (SDFT)."""
    one_format: bool = False
    """Ask every spoken task as a question, in the one format of the base's questions (decaNLP)."""
    transcript: bool = False
    """Put the encoder's transcript into the prompt, after the speech. A third of the training rows are without it."""
    keep_change: Share = 1.0
    """Share of the Llama's change that is kept when it is saved (WiSE-FT); with steps = 0, of its parent's."""
    candidates: CountOrZero = 0
    """Transcripts that align's CTC proposes for a clip. It and the Llama choose among them together, if that makes
    fewer errors on the validation clips; 0 leaves every transcript to the Llama."""
    looks: CountOrZero = 0
    """How often, evenly over the steps, forgetting and the task loss are measured on validation data. If above 0, the
    trained model also answers the validation items, by which a study chooses between arms."""


@dataclass(frozen=True, config=STRICT)
class RewardConfig:
    """A Bradley–Terry reward model on preference pairs."""

    rank: Count = 8
    """Rank r of its own LoRA; lora_alpha is 2 r."""
    steps: CountOrZero = 150
    """Optimizer steps."""
    batch_size: Count = 16
    """Pairs per step."""
    learning_rate: Positive = 1e-3
    """Peak; linear to zero."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class DPOConfig:
    """Direct preference optimisation, against a frozen copy of the parent's adapter and projector."""

    beta: Positive = 0.1
    """How strongly the model is held to the reference."""
    steps: CountOrZero = 120
    """Optimizer steps."""
    batch_size: Count = 16
    """Pairs per step."""
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
    """Distinct prompts per step."""
    hard_share: Share = 0.5
    """Share of the prompts that the parent answers incorrectly; 0 takes all prompts, alternating between kinds."""
    generations: Annotated[int, Field(ge=2)] = 8
    """Answers sampled per prompt; their mean is the baseline."""
    temperature: Positive = 0.6
    """Sampling temperature. Higher explores more but degrades answers that were already correct."""
    max_new_tokens: Count = 40
    """Token limit of an answer."""
    learning_rate: Positive = 3e-4
    """Peak; linear to zero."""
    reward_model_weight: NotNegative = 0.0
    """Weight of the reward model's score, added to the verifiable reward; 0 leaves it out."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class EnhanceConfig:
    """The speech enhancer: a causal mask, trained against a discriminator, on its output and on what listeners hear."""

    width: Count = 128
    """Width of the full-band recurrence, which sees the whole spectrum."""
    sub_width: Count = 32
    """Width of the sub-band recurrence, which all bands share; nearly all of the computation."""
    conditioned: bool = True
    """Give the enhancer the audiogram; false is the control that shows how much that helps."""
    steps: CountOrZero = 1600
    """Optimizer steps."""
    batch_size: Count = 8
    """Mixtures per step, each for its own listener."""
    segment_s: Positive = 1.0
    """Length of a mixture in seconds."""
    learning_rate: Positive = 4e-3
    """Peak; warm-up then cosine to zero."""
    snr_db: tuple[float, float] = (-5.0, 15.0)
    """Range of the speech-to-noise ratios."""
    quiet_share: Share = 0.15
    """Share of mixtures with almost no noise, which the enhancer should leave unchanged."""
    room_share: Share = 0.25
    """Share of mixtures in a simulated room."""
    noises: Count = 160
    """Synthetic noises to draw from, two of which each step replaces; there are a sixth as many rooms."""
    own_snr_db: NotNegative = 30.0
    """Recorded speech whose quietest tenth is not this far below its loudest is left out of training: the enhancer
    would learn to keep its noise. Tightly trimmed words are left out too, since nobody can tell."""
    listener_weight: NotNegative = 80.0
    """Weight of 1 − the correlation between clean speech's modulations and those that reach the listener's ear after
    fitting; added to the distance in the air, which is in decibels."""
    adversarial_weight: NotNegative = 0.5
    """Weight of the discriminator's loss term, from half of the steps on."""
    machine_weight: NotNegative = 0.0
    """Weight of the distance between encoder frames of enhanced and of clean speech. If above 0, the stage needs `ctc`
    and fine-tunes a copy of its encoder together with the denoiser; `transcribe --enhance` uses the copy."""


@dataclass(frozen=True, config=STRICT)
class PersonaliseConfig:
    """A small LoRA for one person on top of sft's, learned from a few of their utterances."""

    manifest: Place | None = None
    """CSV with path,text,split (train or test) and, if known, names: the person's own words."""
    listener: Place = "normal"
    """Audiogram of the person's aid: a standard one (N3), FILE or FILE:LISTENER."""
    rank: Count = 8
    """LoRA's r; α is 2 r."""
    copies: Count = 48
    """Copies of each utterance, each augmented differently."""
    splices: CountOrZero = 2
    """Corpus sentences into which each own word of each copy is inserted, half of them in place of a word that the
    parent mistakes it for."""
    replay: Count = 6
    """Spoken examples of the corpus to replay per copy, together with one typed row."""
    typed_rows: Literal["world", "text"] = "world"
    """Kind of typed rows to replay: what the tiny base learned from, or running text, for a loaded base."""
    steps: CountOrZero = 2000
    """Optimizer steps."""
    batch_size: Count = 16
    """Examples per step."""
    learning_rate: Positive = 2e-3
    """Peak; warm-up then cosine."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """The evaluation, which is the same after every stage."""

    batch_size: Count = 128
    """Answers generated at once."""
    max_new_tokens: Count = 48
    """Token limit of an answer."""
    bootstrap: Count = 1000
    """Bootstrap resamples per interval."""
    benchmarks: tuple[Name, ...] | None = None
    """Public benchmarks: cards of data/ whose file the data root holds, or tasks of lm-evaluation-harness, which loads
    them from the hub. Null: every card whose file is there; []: none."""
    benchmark_limit: Count | None = None
    """How many items of each; null: as many as the card says, or all of a task from the hub."""
