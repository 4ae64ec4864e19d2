"""Names, units and formatting of figures."""

from typing import Any

from posttrain.evals.hearing.listener_metrics import LISTENER, WER
from posttrain.evals.metrics import DECIBELS, is_spoken

GROUPS = (
    ("Transcription of made speech", ("wer/", "critical_wer/", "cer/", "ctc_wer/")),
    ("Transcription of human speech", ("wer_real/", "cer_real/", "ctc_wer_real/")),
    ("Transcription with and without the enhancer", (*WER, *(f"ctc_{family}" for family in WER))),
    ("Hearing tasks", ("task/", "hearing/")),
    ("Preferences and rewards", ("distill/", "reward/", "dpo/", "grpo/")),
    ("Safety", ("safety/",)),
    ("Language and forgetting", ("forgetting/", "language/")),
    ("Abilities, typed", ("ability/",)),
    ("Answered as the base does, typed", ("agreement/",)),
    ("Abilities, spoken", ("modality_gap/", "ability_spoken/")),
    ("One person's own utterances", ("personal/",)),
    ("Enhancer", ("enhance/",)),
    ("Listeners", (LISTENER,)),
)
LABELS = {
    "wer": "word errors",
    "cer": "character errors",
    "ctc_wer": "word errors of the CTC head",
    "critical_wer": "errors in numbers, names and negations",
    "wer_real": "word errors",
    "cer_real": "character errors",
    "ctc_wer_real": "word errors of the CTC head",
    "wer_enhanced": "word errors, through the enhancer",
    "wer_unenhanced": "word errors of the same model without it",
    "wer_real_enhanced": "word errors, through the enhancer",
    "wer_real_unenhanced": "word errors of the same model without it",
    "ctc_wer_enhanced": "word errors of the CTC head, through the enhancer",
    "ctc_wer_unenhanced": "word errors of the CTC head without it",
    "ctc_wer_real_enhanced": "word errors of the CTC head, through the enhancer",
    "ctc_wer_real_unenhanced": "word errors of the CTC head without it",
    "task/intent": "spoken command → exact JSON",
    "task/spoken_qa": "spoken question answered",
    "task/simple_caption": "caption in simple words",
    "hearing/hallucination": "words where there were none",
    "hearing/hallucination_guarded": "words where there were none, behind the speech detector",
    "hearing/speech_missed": "speech that the detector misses",
    "hearing/abstain_recall": "says that nothing was heard, when so",
    "hearing/abstain_precision": "nothing was heard, when it says so",
    "modality_gap/mean": "typed minus spoken accuracy",
    "language/perplexity": "perplexity of general text",
    "forgetting/kl_base": "KL(base ‖ stage), nats a token",
    "forgetting/ce_base": "cross-entropy against the base's predictions (L_f), nats a token",
    "forgetting/kl_task": "KL(base ‖ stage) on the new tasks, nats a token",
    "forgetting/mean": "mean relative drop of typed abilities",
    "safety/harmful_compliance/text": "harmful requests answered, typed",
    "safety/harmful_compliance/speech": "harmful requests answered, spoken",
    "safety/over_refusal/text": "harmless requests refused, typed",
    "safety/over_refusal/speech": "harmless requests refused, spoken",
    "distill/kl_teacher": "KL(teacher ‖ student), nats a token",
    "reward/accuracy": "preference pairs ranked right",
    "dpo/preferred": "answers in the preferred style",
    "grpo/reward": "mean verifiable reward",
    "personal/wer": "word errors, with the personal adapter",
    "personal/wer_parent": "word errors without it",
    "personal/names": "own names lost, with the personal adapter",
    "personal/names_parent": "own names lost without it",
    "enhance/bad_clips": "clips that cannot be measured",
    "listener/bad_clips": "scores that cannot be had, silence or not finite",
}
CONDITIONS = {"clean": "clean", "snr10": "10 dB", "snr5": "5 dB", "snr0": "0 dB"}
ENHANCER = {
    "si_sdr_gain": "SI-SDR improvement",
    "stoi_gain": "STOI improvement",
    "ear_gain": "improvement in the ear of a listener with",
    "clean": "SI-SDR to clean speech that went in, enhancer",
}
MEASURES = {
    "haspi": "HASPI",
    "hasqi": "HASQI",
    "words": "words correct, predicted",
    "wer": "word errors of the model",
    "si_sdr": "SI-SDR",
    "stoi": "STOI",
    "pesq": "PESQ",
}
PROCESSINGS = {"unaided": "unaided", "nalr": "NAL-R", "enhanced": "enhanced", "enhanced_nalr": "enhanced + NAL-R"}
IN_DECIBELS = (*DECIBELS, "listener/si_sdr/")
TWO_DECIMALS = ("language/perplexity", "listener/pesq/", *IN_DECIBELS)
NATS = ("forgetting/kl_base", "forgetting/ce_base", "forgetting/kl_task", "distill/kl_teacher")
INDICES = ("listener/haspi/", "listener/hasqi/", "listener/stoi/")


def label(name: str) -> str:
    """A metric's name in words."""
    if name in LABELS:
        return LABELS[name]
    family, _, rest = name.partition("/")
    if name.startswith("hearing/") and rest.count("/") == 1:
        what, _, condition = name.rpartition("/")
        return f"{LABELS[what]}, {CONDITIONS.get(condition, condition)}"
    if family in ("language", "forgetting"):
        what, _, source = name.rpartition("/")
        return f"{LABELS.get(what, what)}, {source}"
    if family == "enhance":
        what, source, condition = rest.split("/")
        at = condition.replace("snr", "at ") + " dB" * condition.startswith("snr")
        return f"{ENHANCER[what]} {at}, {source}"
    if family == "listener":
        measure, source, who, condition, processing = rest.split("/")
        return f"{MEASURES[measure]}, {who}, {PROCESSINGS[processing]}, {condition.removeprefix('snr')} dB, {source}"
    if family == "agreement":
        return f"answered alike, {rest.partition('/')[2].replace('_', ' ').replace('/text', '')}"
    what = LABELS.get(family, "")
    rest = CONDITIONS.get(rest, rest.replace("_", " "))
    if family in ("ability", "ability_spoken"):
        return f"{rest}, {'typed' if family == 'ability' else 'spoken'}"
    return f"{what}, {rest}" if what else rest


def ordered(names: set[str]) -> list[tuple[str, list[str]]]:
    """Metrics in groups, in reading order; costs are left out."""
    groups = []
    for title, prefixes in GROUPS:
        found = [n for prefix in prefixes for n in sorted(names, key=_place) if n.startswith(prefix)]
        if found:
            groups.append((title, found))
    known = {name for _, found in groups for name in found}
    rest = sorted(n for n in names - known if not n.startswith("cost/"))
    return groups + ([("Others", rest)] if rest else [])


def number(name: str, value: float | None) -> str:
    """A figure with its unit."""
    if value is None:
        return "–"
    decimals = _decimals(name)
    text = f"{value:.{decimals}f}" if decimals > 1 else f"{100 * value:.1f} %"
    return f"{text} dB" if name.startswith(IN_DECIBELS) else text


def change(name: str, value: float | None) -> str:
    """A difference with its sign: percentage points, or the figure's own unit."""
    if value is None:
        return ""
    if value == 0:
        return "±0"
    decimals = _decimals(name)
    text = f"{value if decimals > 1 else 100 * value:+.{decimals}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[0].replace("+", "<+").replace("−", ">−") + "0.1"


def between(name: str, ci: Any) -> str:
    """An interval in the figure's unit, without the unit's symbol."""
    if not ci:
        return ""
    decimals = _decimals(name)
    lo, hi = (f"{v if decimals > 1 else 100 * v:.{decimals}f}".replace("-", "−") for v in ci)
    return f"[{lo}, {hi}]"


def duration(seconds: float) -> str:
    """Seconds, minutes and seconds, or hours and minutes."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def size(mb: float) -> str:
    """Megabytes, or gigabytes from 1,000 MB."""
    return f"{mb / 1000:.1f} GB" if mb >= 1000 else f"{mb:.0f} MB"


def count(value: float) -> str:
    """A readable count, such as 3,100 or 2.4 M."""
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def unit(name: str) -> str:
    """The unit of a difference in the metric."""
    if name.startswith(IN_DECIBELS):
        return " dB"
    return "" if _decimals(name) > 1 else " points"


def reference(name: str) -> str:
    """The reference that the metric is compared with."""
    return "the cascade" if is_spoken(name) else "row zero"


def _decimals(name: str) -> int:
    """Decimals of a figure in its own unit; 1 for figures in percent."""
    return 3 if name.startswith((*NATS, *INDICES)) else 2 if name.startswith(TWO_DECIMALS) else 1


def _place(name: str) -> tuple[int, str]:
    last = name.rpartition("/")[2]
    return (list(CONDITIONS).index(last) if last in CONDITIONS else 9, name)
