"""Cards for trained adapters, from a run's ledger: CARD.md for people, README.md as a Hugging Face model card."""

import json
from pathlib import Path
from typing import Any

from posttrain import files
from posttrain.evals.metrics import Group, Role, harms, of
from posttrain.report.findings import difference, figure, findings, own, paid
from posttrain.report.lineage import lineage
from posttrain.report.markdown import plain, table
from posttrain.report.words import duration, label, ordered, reference
from posttrain.run import ledger
from posttrain.run.ledger import Row

SPEC = "checkpoint.json"
TASKS = {
    Group.MADE: "automatic-speech-recognition", Group.HUMAN: "automatic-speech-recognition",
    Group.TYPED: "text-generation", Group.LANGUAGE: "text-generation",
}  # fmt: skip
"""Group of metrics → the Hub's name of the task; all other groups are HEARS."""
HEARS = "audio-text-to-text"
LIMITS = (
    "For research and development. Not a medical device; it gives no medical advice, and a hearing aid's settings are "
    "not its to decide. The figures are of the probes named, not of the world. A model can repeat what it heard: mind "
    "people's privacy."
)


def write(run_folder: Path | str) -> list[Path]:
    """Write a card for every adapter that this run trained, and a model card next to its weights; returns their paths.

    RUN/adapters/STAGE/CARD.md is for people; RUN/STAGE/README.md has the same text and the metadata that the Hub reads.
    The files are byte-identical for the same rows. Stages that ran in another run get no card here.
    """
    run_folder = Path(run_folder)
    rows = ledger.read(run_folder / "ledger.jsonl")
    written = []
    for row in own(rows):
        folder = run_folder / Path(row.checkpoint).name
        spec = _spec(folder)
        if spec.get("adapter"):
            card = body(row, rows, spec)
            made = {
                run_folder / "adapters" / folder.name / "CARD.md": card,
                folder / "README.md": f"---\n{metadata(row, spec)}\n---\n\n{card}",
            }
            for path, text in made.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                written.append(files.write_text(path, text))
    return written


def body(row: Row, rows: list[Row], spec: dict[str, Any]) -> str:
    """Text of a card: the adapter, what it gained and lost, every figure, how it was trained, its weights' hash."""
    parts = [f"# {plain(row.run)}, {plain(row.stage)}", _about(row, rows, spec)]
    for heading, found in findings(rows[: rows.index(row) + 1]):
        if heading != "Took":
            parts += [f"## {heading}", "\n".join(f"- {plain(finding.sentence)}" for finding in found)]
    parts += every_figure(row)
    return "\n\n".join([*parts, "## How it was made", made(row, spec.get("hashes", {})), "## Limits", LIMITS]) + "\n"


def every_figure(row: Row) -> list[str]:
    """A heading and a table for each group of metrics; what surely is worse than the noisy input is marked as harm."""
    parts = ["## Every figure", "Value [95 % interval], and its difference against the reference, on the same items."]
    for title, names in ordered({n for n in row.metrics if of(n).role is not Role.YARDSTICK}):
        lines = [
            [n, label(n), figure(row, n), _against(row, n), reference(n), f"{row.metrics[n]['n']:,}"] for n in names
        ]
        parts += [f"### {title}", table([["metric", "is", "value", "difference", "against", "n"], *lines])]
    return parts


def _against(row: Row, name: str) -> str:
    return "harm" if harms(name, row.metrics[name]) else difference(row, name)


def metadata(row: Row, spec: dict[str, Any], library: str = "peft") -> str:
    """The YAML that the Hub reads, formatted by huggingface_hub: base, licence and results."""
    from huggingface_hub import EvalResult, ModelCardData

    real = row.base != "tiny"
    results = [
        EvalResult(
            task_type=TASKS.get(of(name).group, HEARS),
            dataset_type=f"posttrain/{name}",
            dataset_name=label(name),
            dataset_args={"n": metric["n"], "corpus": row.data},
            metric_type=name.partition("/")[0],
            metric_name=name,
            metric_value=round(metric["value"], 6),
        )
        for name, metric in sorted(row.metrics.items())
        if of(name).better and of(name).role is not Role.YARDSTICK
    ]
    return ModelCardData(
        language="en",
        license="llama3.1" if "llama-3.1" in row.base.lower() else "other" if real else "apache-2.0",
        base_model=row.base if real and not Path(row.base).exists() else None,
        library_name=library,
        pipeline_tag=HEARS,
        tags=["speech", "hearing", "posttrain", row.config.get("stage", row.stage), *filter(None, [spec["adapter"]])],
        model_name=f"{row.run}-{row.stage}",
        eval_results=results,
    ).to_yaml()


def _about(row: Row, rows: list[Row], spec: dict[str, Any]) -> str:
    way = " → ".join(plain(r.stage) for r in lineage(row, rows))
    rank = f", rank {spec['rank']}" if spec.get("rank") is not None else ""
    what = f"Adapter `{spec['adapter']}`{rank} with its projector" if spec["adapter"] else "The projector"
    return (
        f"{what}, on the base {plain(row.base)}, which hears through the "
        f"encoder of {plain(spec['encoder'] or '–')}. It came by {way}."
    )


def made(row: Row, hashes: dict[str, str]) -> str:
    """A table of options, time, seed, data, code and the hashes of the weights' files."""
    options = ", ".join(f"{key} {value}" for key, value in row.config.get("options", {}).items() if value is not None)
    trained = paid(row).get("trainable_params", 0)
    said = [
        ["options", options],
        ["took", f"{duration(row.wall_s)} on {row.device}, {trained:,.0f} trained parameters"],
        ["seed", str(row.seed)],
        ["data", f"corpus {row.data}"],
        ["code", row.code],
        ["begun", row.started],
        *([f"SHA-256 of {name}", digest] for name, digest in hashes.items() if "safetensors" in name),
    ]
    return table([["what", "is"], *said], side="---")


def _spec(folder: Path) -> dict[str, Any]:
    """Content of checkpoint.json; empty if the checkpoint is gone."""
    path = folder / SPEC
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
