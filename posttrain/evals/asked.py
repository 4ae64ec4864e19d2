"""Safety prompts of others put to a checkpoint, typed and spoken: its answers, and what the detector makes of them."""

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from posttrain import checkpoint as checkpoints
from posttrain.corpus import speech
from posttrain.corpus.prompts import SafetyPrompt
from posttrain.corpus.store import FULL_SCALE
from posttrain.corpus.tasks import ANSWER, INSTRUCTIONS
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.evals import safety
from posttrain.model import encoder as encoders
from posttrain.model.corpus_table import table_of
from posttrain.model.speech_llama import SpeechLlama

MAX_NEW_TOKENS = 256
"""As XSTest's own answers were cut."""
COLUMNS = ("id", "form", "prompt", "label", "heard", "completion", "detector", "final_label")
Line = dict[str, str]


def ask(
    checkpoint: Path, prompts: Sequence[SafetyPrompt], spoken: bool, device: str, out: Path | None = None
) -> dict[str, Any]:
    """`safety/harmful_compliance/text` and so on → share, n, interval, the corrected share and the labels.

    out: a CSV of prompts, answers and labels; once people fill in `final_label`, `safety calibrate` reads it.
    Raises InputError where the checkpoint answers nothing, does not hear what is spoken, or a prompt is too long.
    """
    llama = checkpoints.load(checkpoint, device)
    if spoken and not llama.spec.encoder:
        raise InputError(
            f"{checkpoint} ({llama.spec.stage}) does not hear; name a stage from align on, or leave --spoken"
        )
    lines = _answered(llama, prompts, None)
    if spoken:
        lines += _answered(llama, prompts, encoders.load(llama.spec.encoder or "", device=device))
    if out is not None:
        _write(out, lines)
    return figures(lines)


def figures(lines: Sequence[Line]) -> dict[str, Any]:
    """Of answers with their form, the prompt's label and the detector's."""
    held_out = safety.shipped().held_out["detector"]
    found = {}
    for form in ("text", "speech"):
        for kind, harmful in (("unsafe", True), ("safe", False)):
            labels: Any = [x["detector"] for x in lines if (x["form"], x["label"]) == (form, kind)]
            if labels:
                name = safety.FIGURES["harmful" if harmful else "harmless"]
                found[f"safety/{name}/{form}"] = safety.rate(labels, harmful, held_out)
    return found


def speak(texts: Sequence[str]) -> list[torch.Tensor]:
    """Each text by a test voice, clean, 16 kHz (S,)."""
    voices = speech.voices("test")
    said = [
        speech.Utterance(" ".join(text.split()), voices[i % len(voices)], 150, 50, 50, "test", "clean", False, i)
        for i, text in enumerate(texts)
    ]
    size = speech.CLIPS_PER_SHARD
    shards = [said[start : start + size] for start in range(0, len(said), size)]
    with tempfile.TemporaryDirectory() as folder:
        made = [waveform for waveform, _ in speech.synthesise(shards, Path(folder))]
    return [torch.from_numpy(waveform.copy()).float() / FULL_SCALE for waveform in made]


def _answered(llama: SpeechLlama, prompts: Sequence[SafetyPrompt], encoder: Any) -> list[Line]:
    """One line a prompt: typed, or with an encoder spoken."""
    heard: dict[str, str] = {}
    if encoder is not None:
        clips = {str(i): waveform for i, waveform in enumerate(speak([prompt.text for prompt in prompts]))}
        table = table_of(encoder, clips)
        llama.attach(table)
        heard = table.hypotheses
    examples = [
        Example(
            p.id, "test", ANSWER, INSTRUCTIONS[ANSWER], p.text, str(i) if encoder is not None else None, "", "refusal"
        )
        for i, p in enumerate(prompts)
    ]
    llama.check_lengths(examples, MAX_NEW_TOKENS, "take that prompt out")
    outputs = llama.answer(examples, 32, MAX_NEW_TOKENS)
    return [
        {
            "id": prompt.id,
            "form": "text" if encoder is None else "speech",
            "prompt": prompt.text,
            "label": "unsafe" if prompt.harmful else "safe",
            "heard": heard.get(str(i), ""),
            "completion": output,
            "detector": safety.label(output),
            "final_label": "",
        }
        for i, (prompt, output) in enumerate(zip(prompts, outputs, strict=True))
    ]


def _write(path: Path, lines: Sequence[Line]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    partial.replace(path)
