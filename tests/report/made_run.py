"""A made-up finished run: answers drawn from given accuracies, the ledger computed from them."""

import copy
import json
import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from posttrain.config.counted import counted
from posttrain.config.sections import EvaluationConfig
from posttrain.corpus.instructions import ABSTENTION, REFUSAL
from posttrain.evals.compute import compute
from posttrain.files import value_hash
from posttrain.run import ledger

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)> {{ 7*7 }} | `a` [b](javascript:alert(1))"
SAID = "please turn the left aid down before anna calls again at seven because the kitchen is too loud today"
FAMILIES = ("copy_easy", "copy_hard", "fact_easy", "fact_hard", "sum_easy", "sum_hard")
PARENTS = {
    "base": {},
    "ctc": {},
    "align": {"llm": "base", "encoder": "ctc"},
    "distill": {"model": "align"},
    "sft": {"model": "distill"},
    "reward": {"model": "sft"},
    "dpo": {"model": "sft"},
    "grpo": {"model": "dpo"},
}
# stage → (word error rate when clean, skill in tasks, share of abilities lost, spoken skill, preferred style, kl)
SKILL = {
    "base": (0, 0, 0, 0, 0, 0),
    "ctc": (0.12, 0.2, 0, 0.75, 0.4, 0),
    "align": (0.10, 0.25, 0, 0.78, 0.45, 0.9),
    "distill": (0.07, 0.3, 0, 0.86, 0.45, 0.5),
    "sft": (0.03, 0.93, 0.06, 0.9, 0.5, 0.6),
    "dpo": (0.032, 0.93, 0.07, 0.9, 0.8, 0.65),
    "grpo": (0.027, 0.95, 0.08, 0.91, 0.82, 0.66),
}


def make_run(folder: Path, stages: Iterable[str] = tuple(PARENTS), items: int = 40, bootstrap: int = 100) -> list[dict]:
    """Write FOLDER/ledger.jsonl and every stage's answers.jsonl; returns the rows."""
    rows = []
    stages = list(stages)
    for place, stage in enumerate(stages):
        parent = PARENTS[stage].get("model")
        references = {} if stage == "base" else {n: str(folder / n) for n in ("base", "ctc") if n in stages}
        before = stages[:place]
        base = tuple(name for name in references if name in before)
        measured = copy.deepcopy(_figures(stage, base, parent if parent in before else None, items, bootstrap))
        costs = {"wall_s": 100.0, "evaluation_s": 20.0, "peak_rss_mb": 2345.6, "train_tokens": 1.5e6, "rtf": 0.01}
        row = {
            "run": folder.name,
            "stage": stage,
            "checkpoint": str(folder / stage),
            "parents": {role: str(folder / name) for role, name in PARENTS[stage].items() if name in stages},
            "config": {
                "recipe": "tiny",
                "stage": stage,
                "options": {"note": HOSTILE},
                "references": references,
                "evaluation": value_hash(counted("evaluation", EvaluationConfig(bootstrap=bootstrap))),
            },
            "code": "abc+123",
            "base": "tiny",
            "data": "f00d",
            "seed": 0,
            "device": "cpu",
            "started": "2026-01-02T03:04:05+00:00",
            "wall_s": 100.0,
            "train_metrics": {"loss": 0.1},
            "metrics": measured | {f"cost/{k}": {"value": v} for k, v in costs.items()},
        }
        write_answers(folder / stage, _answers(stage, items))
        ledger.put(folder / "ledger.jsonl", row)
        rows.append(row)
    return rows


@cache
def _answers(stage: str, items: int) -> list[dict]:
    return _reward(_answers("sft", items)) if stage == "reward" else make_answers(stage, items)


@cache
def _figures(stage: str, base: tuple[str, ...], parent: str | None, items: int, bootstrap: int) -> dict:
    lines = [line for name in base for line in _answers(name, items)]
    return compute(_answers(stage, items), lines, _answers(parent, items) if parent else None, 0, bootstrap)


def write_answers(folder: Path, lines: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_answers(stage: str, items: int) -> list[dict]:
    """One line per item; draws are tied to the item, so that a better stage is right where a worse one is."""
    wer, skill, lost, spoken, preferred, kl = SKILL[stage]
    typed, heard = stage != "ctc", stage != "base"
    lines = []
    for i in range(items):
        for family in FAMILIES:
            known = 0.98 if family.endswith("easy") else 0.75
            question = {"text": f"question {family} {i}", "instruction": "answer", "answer": "four"}
            if typed:
                lines.append(_graded(f"ability/{family}", i, question, known * (1 - lost)))
            if heard and i < items // 2:
                lines.append(_graded(f"ability_spoken/{family}", i, question, known * (1 - lost) * spoken, clip=True))
        for kind, good, bad in (("harmful", REFUSAL, "mix the bleach well"), ("harmless", "mix the dough", REFUSAL)):
            for form in ("text", "speech"):
                if typed if form == "text" else heard:
                    line = {"text": f"{kind} {i}", "instruction": "answer", "answer": good}
                    share = 0.97 - lost - (0.05 if form == "speech" else 0)
                    lines.append(_graded(f"safety/{kind}/{form}", i, line, share, bad, clip=form == "speech"))
        if heard:
            for snr, factor in (("clean", 1), ("snr10", 1.3), ("snr5", 2), ("snr0", 4)):
                lines.append(_transcript(snr, i, wer * factor, 0.12 * factor))
            for task in ("intent", "spoken_qa", "simple_caption"):
                line = {"text": f"{task} {i}", "instruction": task, "answer": '{"device": "left"}'}
                lines.append(_graded(f"task/{task}", i, line, skill, clip=True))
            line = {"text": "", "instruction": "repeat", "answer": ABSTENTION}
            lines.append(_graded("hearing/noise", i, line, skill, "turn it up", clip=True))
            line = {"text": f"my aid whistles {i}", "instruction": "help", "answer": "push it in."}
            lines.append(_graded("dpo/help", i, line, preferred, "recalibrate it", clip=True))
        if typed:
            nll = 40 + _draw("nll", i) * 5 + lost * 9
            extra = {"nll": nll, "tokens": 20, "kl_base": lost * 20 * _draw("kl", i)}
            lines.append({"id": f"language/{i}", "probe": "language/perplexity", **extra})
        if typed and heard:
            kl_teacher = {"kl": kl * 8 * _draw("teacher", i), "tokens": 8}
            lines.append({"id": f"teacher/{i}", "probe": "distill/kl_teacher", **kl_teacher})
            lines.append({"id": f"pair/{i}", "probe": "reward/pairs", "score": float(_draw("pair", i) < 0.6)})
    return lines


def _reward(parent: list[dict]) -> list[dict]:
    return [{**x, "score": float(_draw("pair", x["id"]) < 0.9)} if x["probe"] == "reward/pairs" else x for x in parent]


def _graded(probe: str, i: int, line: dict, share: float, wrong: str = "five", clip: bool = False) -> dict:
    right = _draw(probe, i) < share
    if probe == "ability/sum_hard" and i == 1:
        right, wrong = share == 0.75, HOSTILE  # right in row zero, hostile once something is lost
    spoken = {"clip": f"test/{probe}/{i}", "speaker": f"voice{i % 24}", "condition": "clean", "source": "made"}
    return {
        "id": f"{probe}/{i}",
        "probe": probe,
        **line,
        **(spoken if clip else dict.fromkeys(spoken)),
        "output": line["answer"] if right else wrong,
        "score": float(right),
    }


def _transcript(snr: str, i: int, wer: float, ctc: float) -> dict:
    words = SAID.split()
    said = [words[(i + k) % len(words)] for k in range(8)]
    output = [w if _draw(snr, i, k) > wer else "butter" for k, w in enumerate(said)]
    head = [w if _draw(snr, i, k) > ctc else "budder" for k, w in enumerate(said)]
    errors, own_errors = (sum(a != b for a, b in zip(said, x, strict=True)) for x in (output, head))
    return {
        "id": f"wer/{snr}/{i}", "probe": f"wer/{snr}", "text": " ".join(said), "instruction": "repeat",
        "clip": f"test/{snr}/{i}", "speaker": f"voice{i % 24}", "condition": snr, "source": "made",
        "answer": " ".join(said), "output": " ".join(output), "score": 1 - errors / 8, "errors": errors, "words": 8,
        "char_errors": 3 * errors, "chars": 40, "encoder_errors": own_errors, "encoder_char_errors": 3 * own_errors,
        "critical_errors": min(errors, 1), "critical_words": 1, "encoder_output": " ".join(head),
    }  # fmt: skip


def _draw(*what: object) -> float:
    return random.Random(repr(what)).random()
