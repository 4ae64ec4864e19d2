"""A made-up study: arms with given figures, seed by seed, as a ledger would have them."""

from pathlib import Path

from posttrain.config.sections import SFTConfig
from posttrain.report.study.study import Arm, arms
from posttrain.run import ledger

PROJECTOR = 1000
SEEDS = (-0.005, 0.0, 0.005)
"""What a seed adds to a figure."""


def measured(figures: dict[str, float]) -> dict[str, dict]:
    """Figures with intervals over items."""
    half = {name: 0.0005 if "kl" in name else 0.02 for name in figures}
    return {n: {"value": v, "n": 100, "ci95": [v - half[n], v + half[n]]} for n, v in figures.items()}


def scores(forgot: float, contents: int = 400) -> dict[str, dict[str, list[int]]]:
    """Of a base that had every item right: the share that is lost, of each probe."""
    lost = round(forgot * contents)
    right = [0] * lost + [1] * (contents - lost)
    return {f"ability/{probe}": {"right": right, "of": [1] * contents} for probe in ("sum_easy", "fact_hard")}


def row(
    name: str, stage: str, figures: dict[str, float], train: dict | None = None, options: dict | None = None
) -> dict:
    metrics = measured(figures)
    metrics["cost/trainable_params"] = {"value": PROJECTOR + (train or {}).pop("tuned", 0)}
    parent = {} if stage == "distill" else {"model": f"runs/tiny/{'distill' if stage == 'sft' else stage}"}
    run = "tiny" if stage == "distill" else "study"
    return {
        "run": "study", "stage": name, "checkpoint": f"runs/{run}/{name}",
        "parents": parent, "config": {"recipe": "study", "stage": stage, "options": options or {}}, "code": "abc",
        "base": "tiny", "data": "f00d", "seed": 0, "device": "cpu", "started": "2026-01-02T03:04:05+00:00",
        "wall_s": 80.0, "train_metrics": train or {}, "metrics": metrics,
    }  # fmt: skip


def start() -> dict:
    """The model that all arms go on from: it gets a fifth of the tasks right."""
    return row("distill", "distill", {"task/intent": 0.2, "task/spoken_qa": 0.2})


def arm(
    name: str,
    gain: float = 0.5,
    forgot: float = 0.1,
    kl: float = 0.02,
    harmful: float = 0.2,
    refused: float = 0.1,
    tuned: int = 800,
    curve: list[tuple[int, float, float]] = (),  # type: ignore[assignment]
    apart: float = 1.0,
    valid_forgot: float | None = None,
    valid_gain: float | None = None,
    **options: object,
) -> list[dict]:
    """Rows of three seeds, whose figures are `SEEDS` × `apart` around those given; on validation like on the test."""
    config = {**SFTConfig(safety_share=0).__dict__, **options}
    rows = []
    for seed, noise in enumerate(SEEDS):
        figures = {
            "task/intent": 0.2 + gain + apart * noise, "task/spoken_qa": 0.2 + gain + apart * noise,
            "forgetting/mean": forgot + apart * noise, "forgetting/kl_base": kl + apart * noise / 100,
            "safety/harmful_compliance/text": harmful, "safety/harmful_compliance/speech": harmful + apart * noise,
            "safety/over_refusal/text": refused, "safety/over_refusal/speech": refused + apart * noise,
        }  # fmt: skip
        chosen = gain if valid_gain is None else valid_gain
        lost = (forgot if valid_forgot is None else valid_forgot) + apart * noise
        on_validation = figures | {
            "task/intent": 0.2 + chosen + apart * noise, "task/spoken_qa": 0.2 + chosen + apart * noise,
            "forgetting/mean": lost,
        }  # fmt: skip
        train = {
            "tuned": tuned,
            "validation": {"metrics": measured(on_validation), "scores": scores(max(0, lost)), "zero": scores(0)},
            "curve": [{"step": s, "loss": x, "kl_base": y} for s, x, y in curve],
        }
        own = {k: v for k, v in config.items() if not k.startswith("__")} | {"seed": seed or None}
        rows.append(row(f"{name}@{seed}" if seed else name, "sft", figures, train, own))
    return rows


def in_memory(*made: list[dict]) -> list[Arm]:
    """The arms of these rows, without a ledger."""
    return arms([ledger.Row(**one) for one in [start(), *(one for rows in made for one in rows)]])


def read(folder: Path, *made: list[dict]) -> list[Arm]:
    """The arms of a ledger with these rows, which is left in the folder."""
    for one in [start(), *(one for rows in made for one in rows)]:
        ledger.put(folder / "ledger.jsonl", one)
    return arms(ledger.read(folder / "ledger.jsonl"))
