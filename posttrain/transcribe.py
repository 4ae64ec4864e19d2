"""Recordings → words: what the checkpoint hears or answers, its CTC head beside it; error rates for known texts."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.corpus.tasks import INSTRUCTIONS, REPEAT
from posttrain.enhance import Aid, build
from posttrain.errors import InputError

if TYPE_CHECKING:
    from posttrain.model.encoder import CTCEncoder
    from posttrain.model.speech_llama import SpeechLlama

CHUNK = 256
"""Recordings held in memory at once."""
MAX_NEW_TOKENS = 200
BOOTSTRAP = 1000


@dataclass(frozen=True)
class Recording:
    """One file to transcribe."""

    path: Path
    """Where it is."""
    name: str
    """As the user named it."""
    text: str | None
    """What is said in it, where that is known."""
    speaker: str
    """Who says it: the unit that intervals are resampled by; the file's name where it is not known."""
    where: str = ""
    """Manifest and line, for messages."""


@dataclass(frozen=True)
class Result:
    """What was heard, and how well."""

    lines: list[dict[str, Any]]
    """path, text, hypothesis (of another task than repeat: answer), ctc_hypothesis, abstained of each, in order."""
    scores: dict[str, Any]
    """wer, cer, ctc_wer, ctc_cer (value, n, ci95) where texts are known, else transcripts; clips; abstained. Of another
    task than repeat answers in place of both: a text is what is said, not what is to be answered."""


def transcribe(
    audio: Sequence[Path],
    manifest: Path | None,
    checkpoint: Path,
    out: Path | None = None,
    batch_size: int = 32,
    device: str = "auto",
    dry_run: bool = False,
    enhance: bool = False,
    enhancer: Path | None = None,
    audiogram: str | None = None,
    task: str = REPEAT,
) -> Result:
    """Transcribe files, or those of a manifest, with a checkpoint from `align` on; or another of `tasks.INSTRUCTIONS`.

    With `enhance` they pass through an aid first: that enhancer (default: the newest of run tiny) and, with an
    audiogram, the gain for it. Where an encoder learned with the enhancer, that one hears them.

    Raises InputError that lists every bad file, line and text before the Llama is loaded.
    """
    problems: list[str] = []
    recordings = _recordings(audio, manifest, problems)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        problems.append(f"--out is {out}, expected a file in a folder that is there")
    if (enhancer or audiogram) and not enhance:
        problems.append("--enhancer and --audiogram are for --enhance; add that, or leave them out")
    aid = build(enhancer, audiogram, None, 1.0, problems) if enhance else None
    if problems and not recordings:
        raise InputError(problems)
    encoder, minimum_samples = _encoder(checkpoint, device, aid, problems)
    problems += filter(None, (_problem(recording, minimum_samples) for recording in recordings))
    if problems:
        raise InputError(problems)
    if dry_run:
        return Result([], {"clips": len(recordings)})
    lines = _hear(recordings, checkpoint, encoder, batch_size, device, aid, task)
    if out is not None:
        _write(out, lines)
    used = {"enhancer": str(aid.checkpoint), "audiogram": aid.audiogram.name} if aid else {}
    scores = _scores(recordings, lines) if task == REPEAT else _counts(lines) | {"answers": lines}
    return Result(lines, scores | used)


def _recordings(audio: Sequence[Path], manifest: Path | None, problems: list[str]) -> list[Recording]:
    from posttrain.corpus import manifest as manifests

    if bool(audio) == (manifest is not None):
        problems.append("give audio files or --manifest FILE.csv, one of the two")
        return []
    if manifest is None:
        return [Recording(path, str(path), None, str(path)) for path in audio]
    try:
        rows, bad_rows = manifests.scan(manifest)
    except InputError as error:
        problems += error.problems
        return []
    problems += bad_rows
    return [
        Recording(row.path, row.name, row.values["text"], row.speaker or row.name, f"{row.manifest}:{row.line}: ")
        for row in rows
    ]


def _encoder(checkpoint: Path, device: str, aid: Aid | None, problems: list[str]) -> "tuple[CTCEncoder, int]":
    """The encoder that it is heard by, and the samples that one speech token takes."""
    from posttrain import checkpoint as checkpoints
    from posttrain.machine import pick_device
    from posttrain.model import encoder as encoders

    try:
        spec = checkpoints.read_spec(checkpoint)
        if not spec.encoder:
            raise InputError(
                f"{checkpoint} ({spec.stage}) does not hear; name a stage from align on, such as runs/tiny/sft"
            )
        encoder = encoders.load(spec.encoder, device=pick_device(device))
        encoder = encoders.behind(aid.checkpoint, encoder) if aid else encoder
    except InputError as error:
        raise InputError([*problems, *error.problems]) from error
    frame_samples = encoder.model.config.encoder_config.subsampling_factor * encoder.log_mel.hop_length
    return encoder, spec.stack * frame_samples


def _problem(recording: Recording, minimum_samples: int) -> str | None:
    """Unreadable, empty, NaN, or shorter than a speech token."""
    from posttrain.corpus import audio as reading

    try:
        reading.audio(recording.path, minimum_samples)
    except ValueError as error:
        return f"{recording.where}{recording.name}: {error}"
    return None


def _hear(
    recordings: list[Recording],
    checkpoint: Path,
    encoder: "CTCEncoder",
    batch_size: int,
    device: str,
    aid: Aid | None,
    task: str,
) -> list[dict[str, Any]]:
    from tqdm import tqdm

    from posttrain import checkpoint as checkpoints
    from posttrain.machine import pick_device

    llama = checkpoints.load(checkpoint, pick_device(device))
    lines: list[dict[str, Any]] = []
    with tqdm(total=len(recordings), desc="transcribing", unit="clip") as bar:
        for start in range(0, len(recordings), CHUNK):
            chunk = recordings[start : start + CHUNK]
            lines += _hear_chunk(chunk, llama, encoder, batch_size, aid, task)
            bar.update(len(chunk))
    return lines


def _hear_chunk(
    recordings: list[Recording],
    llama: "SpeechLlama",
    encoder: "CTCEncoder",
    batch_size: int,
    aid: Aid | None,
    task: str,
) -> list[dict[str, Any]]:
    import torch

    from posttrain.corpus import audio as reading
    from posttrain.corpus.types import Example
    from posttrain.model.corpus_table import table_of

    waveforms = [reading.audio(recording.path, 1) for recording in recordings]
    heard = [torch.from_numpy(aid.apply(waveform) if aid else waveform) for waveform in waveforms]
    table = table_of(encoder, {str(number): waveform for number, waveform in enumerate(heard)})
    llama.attach(table)
    examples = [
        Example(recording.name, "test", task, INSTRUCTIONS[task], "", str(number), "", "wer")
        for number, recording in enumerate(recordings)
    ]
    llama.check_lengths(examples, MAX_NEW_TOKENS, "cut it into shorter recordings")
    outputs = llama.answer(examples, batch_size, MAX_NEW_TOKENS)
    return [
        _line(recording, output, table.hypotheses[str(number)], task)
        for number, (recording, output) in enumerate(zip(recordings, outputs, strict=True))
    ]


def _line(recording: Recording, output: str, ctc: str, task: str) -> dict[str, Any]:
    """Where the model says that it heard no words, its transcript has none; an answer is as it was said."""
    from posttrain.corpus.graders import is_abstention

    abstained = is_abstention(output)
    said = {"hypothesis": "" if abstained else output} if task == REPEAT else {"answer": output}
    return {"path": recording.name, "text": recording.text, **said, "ctc_hypothesis": ctc, "abstained": abstained}


def _scores(recordings: list[Recording], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Pooled error rates with bootstrap intervals over speakers."""
    from posttrain.evals.errors import edit_errors
    from posttrain.evals.measures import Ratio

    scores: dict[str, Any] = {}
    told = [(r, line) for r, line in zip(recordings, lines, strict=True) if r.text is not None]
    for prefix, key in (("", "hypothesis"), ("ctc_", "ctc_hypothesis")):
        for name, errors, total in (("wer", "errors", "words"), ("cer", "char_errors", "chars")):
            parts = {}
            for number, (recording, line) in enumerate(told):
                counts = edit_errors(recording.text or "", line[key])
                parts[str(number)] = (float(counts[errors]), float(counts[total]), recording.speaker)
            if parts:
                measure = Ratio(parts, total)
                ci = measure.interval(0, BOOTSTRAP)
                scores[prefix + name] = {"value": ci.value, "n": measure.n, "ci95": [ci.lo, ci.hi], **measure.extra()}
    return scores | _counts(lines) | ({} if told else {"transcripts": lines})


def _counts(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {"clips": len(lines), "abstained": sum(line["abstained"] for line in lines)}


def _write(out: Path, lines: list[dict[str, Any]]) -> None:
    partial = out.with_name(out.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    os.replace(partial, out)
