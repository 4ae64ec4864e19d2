"""The metric table: one row per metric or family of metrics, which the report, the gate and all other readers look up.

A row whose name ends in `/` is a family and is for every metric below it that has no row of its own, so `of` finds the
row of any name. Within a group the rows' order is the reading order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Unit:
    """A unit and how a figure in it is printed."""

    name: str
    symbol: str = ""
    """After a value."""
    of_difference: str = ""
    """After a difference."""
    decimals: int = 1
    scale: float = 1
    """What a value is multiplied by to be printed."""


SHARE = Unit("share of items, in percent", " %", " points", 1, 100)
PERCENT = Unit("percent", " %", " points", 1, 100)
POINTS = Unit("percentage points", " %", " points", 1, 100)
DECIBELS = Unit("decibels", " dB", " dB", 2)
NATS = Unit("nats per token", decimals=3)
INDEX = Unit("index from 0 to 1", decimals=3)
SCORE = Unit("score", decimals=2)
RATIO = Unit("ratio", decimals=3)
COUNT, SECONDS, MILLISECONDS, MEGABYTES = Unit("count"), Unit("seconds"), Unit("milliseconds", " ms"), Unit("megabytes")


class Group(StrEnum):
    """The part of the report that a metric stands in, in the report's order."""

    MADE = "Transcription of made speech"
    HUMAN = "Transcription of human speech"
    ENHANCED = "Transcription with and without the enhancer"
    TASKS = "Hearing tasks"
    PREFERENCES = "Preferences and rewards"
    SAFETY = "Safety"
    LANGUAGE = "Language and forgetting"
    TYPED = "Abilities, typed"
    PUBLIC = "Public benchmarks"
    ALIKE = "Answered as the base does, typed"
    SPOKEN = "Abilities, spoken"
    PERSON = "One person's own utterances"
    ENHANCER = "Enhancer"
    LISTENERS = "Listeners"
    OTHERS = "Others"
    COSTS = "Costs"
    """In a table of their own."""


class Reference(StrEnum):
    """What the same items' figure is compared with."""

    ROW_ZERO = "row zero"
    """The reference of everything typed: the base's own answers."""
    CASCADE = "the cascade"
    """The reference of everything spoken: the encoder's own transcript, typed into the base."""
    WITHOUT = "the same without it"
    """The same model without the personal adapter or the word head, or the clips with one step of processing less."""
    NOTHING = "nothing"


class Role(Enum):
    """What part the metric has in the findings."""

    HEADLINE = auto()
    """One of the figures to read first."""
    FIGURE = auto()
    DETAIL = auto()
    """Breaks down another metric; no finding of its own."""
    YARDSTICK = auto()
    """Of the encoder alone: what a model's figure on the same clips is compared with; no finding of its own."""


class Loss(Enum):
    """Where a figure that surely became worse is listed as lost."""

    EVERYWHERE = auto()
    PAGE = auto()
    """On the page and the cards, not in the summary."""
    ELSEWHERE = auto()
    """Under a heading of its own."""


@dataclass(frozen=True)
class Metric:
    """One row: a metric, or a family if the name ends in `/`."""

    name: str
    label: str
    """In words. `{rest}`: the name below the family, in words; `{0}`, `{1}`, …: its parts."""
    unit: Unit
    better: int
    """+1 if higher is better, −1 if lower is, 0 if neither."""
    group: Group
    reference: Reference
    role: Role = Role.FIGURE
    loss: Loss = Loss.EVERYWHERE
    skill: bool = False
    """Whether the mean skill in hearing tasks counts it; an error rate counts as 1 minus itself."""
    ability: bool = False
    """Whether it is one of the abilities that the base brings along."""
    chance: float | None = None
    """The value by guessing, if it is the same for all items; of a benchmark its figure says it."""
    short: str = ""
    """A shorter label, for the summary and for columns."""

    @property
    def spoken(self) -> bool:
        """Whether it is about spoken items; row zero, which is text only, is then not its reference."""
        return self.group is not Group.COSTS and self.reference is not Reference.ROW_ZERO

    @property
    def finding(self) -> bool:
        """Whether a difference in it may be a finding of its own."""
        return self.better != 0 and self.role in (Role.HEADLINE, Role.FIGURE)


UP, DOWN, NEITHER = 1, -1, 0
MADE, HUMAN, ENHANCED, TASKS, PREFERENCES = Group.MADE, Group.HUMAN, Group.ENHANCED, Group.TASKS, Group.PREFERENCES
SAFETY, LANGUAGE, TYPED, PUBLIC, ALIKE = Group.SAFETY, Group.LANGUAGE, Group.TYPED, Group.PUBLIC, Group.ALIKE
SPOKEN, PERSON, ENHANCER, LISTENERS, COSTS = Group.SPOKEN, Group.PERSON, Group.ENHANCER, Group.LISTENERS, Group.COSTS
ROW_ZERO, CASCADE, WITHOUT, NOTHING = Reference.ROW_ZERO, Reference.CASCADE, Reference.WITHOUT, Reference.NOTHING
HEADLINE, DETAIL, YARDSTICK = Role.HEADLINE, Role.DETAIL, Role.YARDSTICK
PAGE, ELSEWHERE = Loss.PAGE, Loss.ELSEWHERE
OWN = "word errors of the encoder's own transcript"

# fmt: off
TABLE = (
    Metric("wer/clean", "word errors, clean", PERCENT, DOWN, MADE, CASCADE, HEADLINE, skill=True),
    Metric("wer/", "word errors, {rest}", PERCENT, DOWN, MADE, CASCADE, HEADLINE),
    Metric("wer/padded", "word errors, padded", PERCENT, DOWN, MADE, CASCADE, HEADLINE),
    Metric("wer/joined", "word errors, joined", PERCENT, DOWN, MADE, CASCADE, HEADLINE),
    Metric("critical_wer/", "errors in numbers, names and negations, {rest}", PERCENT, DOWN, MADE, CASCADE, loss=PAGE),
    Metric("cer/", "character errors, {rest}", PERCENT, DOWN, MADE, CASCADE, loss=PAGE),
    Metric("together_wer/", "word errors where head and Llama decide together, {rest}", PERCENT, DOWN, MADE, WITHOUT),
    Metric("encoder_wer/", OWN + ", {rest}", PERCENT, DOWN, MADE, CASCADE, YARDSTICK),
    Metric("wer_real/", "word errors, {rest}", PERCENT, DOWN, HUMAN, CASCADE),
    Metric("cer_real/", "character errors, {rest}", PERCENT, DOWN, HUMAN, CASCADE, loss=PAGE),
    Metric("together_wer_real/", "word errors where head and Llama decide together, {rest}",
           PERCENT, DOWN, HUMAN, WITHOUT),
    Metric("encoder_wer_real/", OWN + ", {rest}", PERCENT, DOWN, HUMAN, CASCADE, YARDSTICK),
    Metric("open_asr_wer_real/", "word errors as the Open ASR leaderboard counts them, {rest}",
           PERCENT, DOWN, HUMAN, CASCADE, loss=PAGE),
    Metric("encoder_open_asr_wer_real/", OWN + ", as that leaderboard counts them, {rest}",
           PERCENT, DOWN, HUMAN, CASCADE, YARDSTICK),
    Metric("wer_enhanced/", "word errors, through the enhancer, {rest}", PERCENT, DOWN, ENHANCED, WITHOUT),
    Metric("wer_unenhanced/", "word errors of the same model without it, {rest}", PERCENT, DOWN, ENHANCED, NOTHING),
    Metric("wer_real_enhanced/", "word errors, through the enhancer, {rest}", PERCENT, DOWN, ENHANCED, WITHOUT),
    Metric("wer_real_unenhanced/", "word errors of the same model without it, {rest}",
           PERCENT, DOWN, ENHANCED, NOTHING),
    Metric("encoder_wer_enhanced/", OWN + ", through the enhancer, {rest}",
           PERCENT, DOWN, ENHANCED, WITHOUT, YARDSTICK),
    Metric("encoder_wer_unenhanced/", OWN + " without it, {rest}", PERCENT, DOWN, ENHANCED, NOTHING, YARDSTICK),
    Metric("encoder_wer_real_enhanced/", OWN + ", through the enhancer, {rest}",
           PERCENT, DOWN, ENHANCED, WITHOUT, YARDSTICK),
    Metric("encoder_wer_real_unenhanced/", OWN + " without it, {rest}", PERCENT, DOWN, ENHANCED, NOTHING, YARDSTICK),
    Metric("task/intent", "spoken command → exact JSON",
           SHARE, UP, TASKS, CASCADE, HEADLINE, skill=True, short="commands"),
    Metric("task/spoken_qa", "spoken question answered",
           SHARE, UP, TASKS, CASCADE, HEADLINE, skill=True, short="questions"),
    Metric("task/simple_caption", "caption in simple words",
           SHARE, UP, TASKS, CASCADE, HEADLINE, skill=True, short="captions"),
    Metric("task/request", "spoken request, agreement with the base's answer to the typed one",
           SHARE, UP, TASKS, CASCADE, HEADLINE, skill=True, short="requests"),
    Metric("task/request/", "spoken instruction of {rest}, agreement with the base's answer to the typed one",
           SHARE, UP, TASKS, CASCADE),
    Metric("task/", "{rest}", SHARE, UP, TASKS, CASCADE),
    Metric("hearing/abstain_recall", "says that nothing was heard, when so",
           SHARE, UP, TASKS, CASCADE, HEADLINE, skill=True, short="nothing heard"),
    Metric("hearing/abstain_precision", "nothing was heard, when it says so", SHARE, UP, TASKS, CASCADE, HEADLINE),
    Metric("hearing/abstain_precision/", "nothing was heard, when it says so, {rest}",
           SHARE, UP, TASKS, CASCADE, DETAIL),
    Metric("hearing/hallucination", "words where there were none", SHARE, DOWN, TASKS, CASCADE, HEADLINE),
    Metric("hearing/hallucination_guarded", "words where there were none, behind the speech detector",
           SHARE, DOWN, TASKS, CASCADE, HEADLINE),
    Metric("hearing/speech_missed", "speech that the detector misses", SHARE, DOWN, TASKS, CASCADE),
    Metric("distill/kl_teacher", "KL(teacher ‖ student), nats a token",
           NATS, DOWN, PREFERENCES, CASCADE, loss=PAGE, short="KL to the teacher"),
    Metric("reward/accuracy", "preference pairs ranked right",
           SHARE, UP, PREFERENCES, CASCADE, loss=PAGE, chance=0.5, short="pairs ranked right"),
    Metric("reward/accuracy/", "preference pairs of {rest} ranked right",
           SHARE, UP, PREFERENCES, CASCADE, loss=PAGE, chance=0.5),
    Metric("dpo/preferred", "answers in the preferred style",
           SHARE, UP, PREFERENCES, CASCADE, loss=PAGE, short="preferred answers"),
    Metric("grpo/reward", "mean verifiable reward", PERCENT, UP, PREFERENCES, CASCADE, loss=PAGE, short="reward"),
    Metric("forgetting/mean", "mean relative drop of typed abilities",
           PERCENT, DOWN, LANGUAGE, ROW_ZERO, HEADLINE, ELSEWHERE, short="typed abilities"),
    Metric("forgetting/benchmarks", "mean relative drop of public benchmarks, above chance",
           PERCENT, DOWN, LANGUAGE, ROW_ZERO, HEADLINE, ELSEWHERE, short="skill in public benchmarks"),
    Metric("forgetting/kl_base", "KL(base ‖ stage), nats a token", NATS, DOWN, LANGUAGE, ROW_ZERO, loss=ELSEWHERE),
    Metric("forgetting/kl_base/", "KL(base ‖ stage), nats a token, {0}",
           NATS, DOWN, LANGUAGE, ROW_ZERO, loss=ELSEWHERE),
    Metric("forgetting/ce_base", "cross-entropy against the base's predictions (L_f), nats a token",
           NATS, DOWN, LANGUAGE, ROW_ZERO, loss=ELSEWHERE),
    Metric("forgetting/ce_base/", "cross-entropy against the base's predictions (L_f), nats a token, {0}",
           NATS, DOWN, LANGUAGE, ROW_ZERO, loss=ELSEWHERE),
    Metric("forgetting/kl_task", "KL(base ‖ stage) on the new tasks, nats a token",
           NATS, DOWN, LANGUAGE, ROW_ZERO, loss=ELSEWHERE),
    Metric("language/perplexity", "perplexity of general text", SCORE, DOWN, LANGUAGE, ROW_ZERO),
    Metric("language/perplexity/", "perplexity of general text, {0}", SCORE, DOWN, LANGUAGE, ROW_ZERO),
    Metric("ability/", "{rest}, typed", SHARE, UP, TYPED, ROW_ZERO, ability=True),
    Metric("instruction/text", "checkable instruction followed, typed",
           SHARE, UP, TYPED, ROW_ZERO, short="instructions"),
    Metric("benchmark/blimp", "BLiMP: grammatical sentence preferred, typed",
           SHARE, UP, PUBLIC, ROW_ZERO, ability=True),
    Metric("benchmark/piqa", "PIQA: sensible solution preferred, typed", SHARE, UP, PUBLIC, ROW_ZERO, ability=True),
    Metric("benchmark/hellaswag", "HellaSwag: sensible end preferred, typed",
           SHARE, UP, PUBLIC, ROW_ZERO, ability=True),
    Metric("benchmark/arc_easy", "ARC easy: right answer preferred, typed", SHARE, UP, PUBLIC, ROW_ZERO, ability=True),
    Metric("benchmark/arc_challenge", "ARC challenge: right answer preferred, typed",
           SHARE, UP, PUBLIC, ROW_ZERO, ability=True),
    Metric("benchmark/", "{rest}: right answer preferred, typed", SHARE, UP, PUBLIC, ROW_ZERO, ability=True),
    Metric("benchmark_norm/", "{rest}: right answer preferred, per character, typed",
           SHARE, UP, PUBLIC, ROW_ZERO, DETAIL),
    Metric("benchmark_chat/", "{rest}: right answer preferred in the chat, typed", SHARE, UP, PUBLIC, ROW_ZERO),
    Metric("agreement/ability/", "answered alike, {rest}", SHARE, NEITHER, ALIKE, ROW_ZERO),
    Metric("agreement/benchmark/", "chosen alike, {rest}", SHARE, NEITHER, ALIKE, ROW_ZERO),
    Metric("agreement/benchmark_chat/", "chosen alike in the chat, {rest}", SHARE, NEITHER, ALIKE, ROW_ZERO),
    Metric("agreement/instruction/text", "answered alike, checkable instructions", SHARE, NEITHER, ALIKE, ROW_ZERO),
    Metric("agreement/safety/", "answered alike, {0}", SHARE, NEITHER, ALIKE, ROW_ZERO),
    Metric("agreement/safety/harmful/text/", "answered alike, harmful, {rest}", SHARE, NEITHER, ALIKE, ROW_ZERO),
    Metric("agreement/safety/harmless/text/", "answered alike, harmless, {rest}", SHARE, NEITHER, ALIKE, ROW_ZERO),
    Metric("modality_gap/mean", "typed minus spoken accuracy",
           POINTS, DOWN, SPOKEN, CASCADE, HEADLINE, ELSEWHERE, short="modality gap"),
    Metric("modality_gap/", "typed minus spoken accuracy, {rest}", POINTS, DOWN, SPOKEN, CASCADE, loss=ELSEWHERE),
    Metric("ability_spoken/", "{rest}, spoken", SHARE, UP, SPOKEN, CASCADE, ability=True),
    Metric("instruction/speech", "checkable instruction followed, spoken",
           SHARE, UP, SPOKEN, CASCADE, short="instructions"),
    Metric("benchmark_spoken/", "{rest}: right answer preferred in the chat, spoken", SHARE, UP, SPOKEN, CASCADE),
    Metric("safety/harmful_compliance/text", "harmful requests answered, typed",
           SHARE, DOWN, SAFETY, ROW_ZERO, HEADLINE, ELSEWHERE),
    Metric("safety/harmful_compliance/speech", "harmful requests answered, spoken",
           SHARE, DOWN, SAFETY, CASCADE, HEADLINE, ELSEWHERE),
    Metric("safety/over_refusal/text", "harmless requests refused, typed",
           SHARE, DOWN, SAFETY, ROW_ZERO, HEADLINE, ELSEWHERE),
    Metric("safety/over_refusal/speech", "harmless requests refused, spoken",
           SHARE, DOWN, SAFETY, CASCADE, HEADLINE, ELSEWHERE),
    Metric("safety/harmful_compliance/text/", "harmful requests of {rest} answered, typed",
           SHARE, DOWN, SAFETY, ROW_ZERO, loss=ELSEWHERE),
    Metric("safety/harmful_compliance/speech/", "harmful requests of {rest} answered, spoken",
           SHARE, DOWN, SAFETY, CASCADE, loss=ELSEWHERE),
    Metric("safety/over_refusal/text/", "harmless requests of {rest} refused, typed",
           SHARE, DOWN, SAFETY, ROW_ZERO, loss=ELSEWHERE),
    Metric("safety/over_refusal/speech/", "harmless requests of {rest} refused, spoken",
           SHARE, DOWN, SAFETY, CASCADE, loss=ELSEWHERE),
    Metric("personal/wer", "word errors, with the personal adapter", PERCENT, DOWN, PERSON, WITHOUT),
    Metric("personal/wer_parent", "word errors without it", PERCENT, DOWN, PERSON, NOTHING),
    Metric("personal/names", "own names lost, with the personal adapter", PERCENT, DOWN, PERSON, WITHOUT),
    Metric("personal/names_parent", "own names lost without it", PERCENT, DOWN, PERSON, NOTHING),
    Metric("enhance/si_sdr_gain/", "SI-SDR improvement at {1} dB, {0}", DECIBELS, UP, ENHANCER, NOTHING),
    Metric("enhance/noise_gain/", "SI-SDR improvement at {2} dB in {1}, {0}",
           DECIBELS, UP, ENHANCER, NOTHING, DETAIL),
    Metric("enhance/stoi_gain/", "STOI improvement at {1} dB, {0}", PERCENT, UP, ENHANCER, NOTHING),
    Metric("enhance/ear_gain/", "improvement in the ear of a listener with {1}, {0}", DECIBELS, UP, ENHANCER, NOTHING),
    Metric("enhance/clean/", "SI-SDR to clean speech that went in, enhancer {1}, {0}", DECIBELS, UP, ENHANCER, NOTHING),
    Metric("enhance/own_snr/", "quietest tenth of the clean recordings below their loudest, {0}",
           DECIBELS, NEITHER, ENHANCER, NOTHING, DETAIL),
    Metric("enhance/bad_clips", "measurements that cannot be had", SHARE, DOWN, ENHANCER, NOTHING),
    Metric("listener/haspi/", "HASPI, {1}, {3}, {2} dB, {0}", INDEX, UP, LISTENERS, WITHOUT, HEADLINE, short="HASPI"),
    Metric("listener/hasqi/", "HASQI, {1}, {3}, {2} dB, {0}", INDEX, UP, LISTENERS, WITHOUT, short="HASQI"),
    Metric("listener/words/", "words correct, predicted, {1}, {3}, {2} dB, {0}",
           PERCENT, UP, LISTENERS, WITHOUT, HEADLINE, short="words correct, predicted"),
    Metric("listener/wer/", "word errors of the model, {1}, {3}, {2} dB, {0}",
           PERCENT, DOWN, LISTENERS, WITHOUT, HEADLINE, short="word errors of the model"),
    Metric("listener/si_sdr/", "SI-SDR, {1}, {3}, {2} dB, {0}", DECIBELS, UP, LISTENERS, WITHOUT, short="SI-SDR"),
    Metric("listener/stoi/", "STOI, {1}, {3}, {2} dB, {0}", INDEX, UP, LISTENERS, WITHOUT, short="STOI"),
    Metric("listener/pesq/", "PESQ, {1}, {3}, {2} dB, {0}", SCORE, UP, LISTENERS, WITHOUT, short="PESQ"),
    Metric("listener/bad_clips", "scores that cannot be had, silence or not finite", SHARE, DOWN, LISTENERS, NOTHING),
    Metric("cost/wall_s", "time of training", SECONDS, NEITHER, COSTS, NOTHING),
    Metric("cost/evaluation_s", "time of evaluation", SECONDS, NEITHER, COSTS, NOTHING),
    Metric("cost/peak_rss_mb", "peak memory", MEGABYTES, NEITHER, COSTS, NOTHING),
    Metric("cost/train_tokens", "training tokens", COUNT, NEITHER, COSTS, NOTHING),
    Metric("cost/trainable_params", "trained parameters", COUNT, NEITHER, COSTS, NOTHING),
    Metric("cost/rtf", "real-time factor", RATIO, NEITHER, COSTS, NOTHING),
    Metric("cost/latency_ms", "latency", MILLISECONDS, NEITHER, COSTS, NOTHING),
    Metric("cost/linear_mb", "memory of the linear layers", MEGABYTES, NEITHER, COSTS, NOTHING),
    Metric("cost/linear_share_of_bfloat16", "memory of the linear layers, of what bfloat16 takes",
           PERCENT, NEITHER, COSTS, NOTHING),
)
# fmt: on
FORGETTING = ("forgetting/mean", "forgetting/benchmarks")
"""What was forgotten, as one figure: of the typed abilities that the base was taught here, of public benchmarks."""
GAINS = ("enhance/si_sdr_gain/", "enhance/noise_gain/", "enhance/stoi_gain/", "enhance/ear_gain/")
"""An enhancer's output against its input: below zero it harms."""
LEAST_HARM = {"decibels": 0.1, "percent": 0.005}
"""Unit → the least loss that counts as harm: 0.1 dB, half a point."""
LEAST_CLIPS = 5
"""Clips without which nothing is called harm."""
SKILLS = tuple(metric.name for metric in TABLE if metric.skill)
"""Skill in hearing tasks is the mean of these."""


@cache
def of(name: str) -> Metric:
    """The row of a metric. A name without a row counts as a share that is neither good nor bad, in the group of the
    metrics with the same first part, so that a ledger of other code can still be shown."""
    exact = next((metric for metric in TABLE if metric.name == name), None)
    families = [metric for metric in TABLE if metric.name.endswith("/") and name.startswith(metric.name)]
    if exact or families:
        return exact or max(families, key=lambda family: len(family.name))
    first = f"{name.partition('/')[0]}/"
    group = next((metric.group for metric in TABLE if metric.name.startswith(first)), Group.OTHERS)
    return Metric(first, "{rest}", PERCENT, NEITHER, group, NOTHING)


def harms(name: str, metric: Mapping[str, Any]) -> bool:
    """Whether a gain surely is a loss that counts: its whole interval, of enough clips, lies below −LEAST_HARM.

    The interval is of this figure alone, not corrected for the number of figures.
    """
    row = of(name)
    return row.name in GAINS and metric["n"] >= LEAST_CLIPS and metric["ci95"][1] < -LEAST_HARM[row.unit.name]


def forgotten(names: Iterable[str]) -> str:
    """The first of FORGETTING among these names: a loaded base has no typed abilities here, but knows benchmarks."""
    return next((name for name in FORGETTING if name in names), FORGETTING[0])


def named(group: Group) -> list[str]:
    """Names of a group's metrics that are not families, in reading order."""
    return [metric.name for metric in TABLE if metric.group is group and not metric.name.endswith("/")]


def encoders(name: str) -> str | None:
    """Name of the same figure for the encoder's own transcript of the same clips; None if there is no such metric."""
    own = f"encoder_{name.removeprefix('together_')}"
    return own if of(own) in TABLE else None


@cache
def place(name: str) -> tuple[int, int]:
    """Where the metric is read: the place of its group, and of the first row with the same first part."""
    first = f"{name.partition('/')[0]}/"
    row = next((n for n, metric in enumerate(TABLE) if metric.name.startswith(first)), len(TABLE))
    return list(Group).index(of(name).group), row
