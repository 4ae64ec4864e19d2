"""Transcribe or answer recordings with a checkpoint and its encoder alone; error rates if the texts are known."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain import files
from posttrain.corpus.instructions import REPEAT
from posttrain.errors import InputError
from posttrain.machine import lock
from posttrain.machine.device import say
from posttrain.model.encoders import kinds
from posttrain.model.folder import checkpoint_problems
from posttrain.use import captions as captioning
from posttrain.use import outputs
from posttrain.use.enhance import Aid, build, words_lost

if TYPE_CHECKING:
    from posttrain.model.encoders.contract import Encoder
    from posttrain.use.listen import Heard

MAX_NEW_TOKENS = 200
"""Token limit of an answer, or of the transcript of one window; a line whose answer reaches it has `cut`."""
BOOTSTRAP = 1000
RATES = (
    ("wer", "errors", "words"),
    ("cer", "char_errors", "chars"),
    ("open_asr_wer", "open_asr_errors", "open_asr_words"),
)
"""Name of an error rate, its errors and its total; the last as the Open ASR leaderboard counts."""


@dataclass(frozen=True)
class Recording:
    """One file to transcribe."""

    path: Path
    """Where it is."""
    name: str
    """The path as the user gave it."""
    text: str | None
    """What is said in it, if known."""
    speaker: str
    """Who says it, the unit by which intervals are resampled; the file's name if unknown."""
    where: str = ""
    """Manifest and line, for messages."""
    segment: tuple[float, float | None, int | None] = (0.0, None, None)
    """Which part of the file: `audio.Segment`."""


@dataclass(frozen=True)
class Result:
    """Transcripts or answers, and their error rates."""

    lines: list[dict[str, Any]]
    """One per recording: path, text, hypothesis (for other tasks answer), encoder_hypothesis, abstained, cut; where
    head and Llama decide together, llama_hypothesis, the Llama's own; for captions, words with their times."""
    scores: dict[str, Any]
    """wer, cer, open_asr_wer and the same with encoder_ (value, n, ci95) if texts are known, else transcripts; clips;
    how many abstained and how many were cut. Tasks other than repeat have answers instead: a text is what is said, not
    the answer."""
    failed: list[str] = field(default_factory=list)
    """Recordings that passed the check but could not be read later, and why."""


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
    llama_alone: bool = False,
    drafts: bool = True,
    captions: Path | None = None,
) -> Result:
    """Transcribe files or a manifest's with a checkpoint from `align` on, or do another of `tasks.INSTRUCTIONS`.

    Silence is trimmed. Long recordings are cut at their pauses, transcribed window by window and stitched; another task
    gets all the speech of a recording at once, at most `listen.LONGEST_TASK_S` of it. A clip without speech gives no
    words, and as an answer only that nothing was heard. With `enhance`, recordings pass through an aid first: the
    enhancer (default: the project's own; or a name in `acoustics.peers`) and, with an audiogram, the gain for it. If an
    encoder was trained with the enhancer, it replaces the checkpoint's. With `llama_alone`, the word head has no say in
    transcripts.
    Without `drafts`, each is written word by word instead of being checked against the encoder's: slower, and the same.
    `captions`: a folder, made if need be, for each recording's captions, written as it is transcribed.

    Lines are written to OUT.partial as they come; after an interruption the same command continues from there.
    Raises InputError that lists every bad file, line and text before the encoder and the Llama are loaded.
    """
    problems: list[str] = []
    recordings = _recordings(audio, manifest, problems)
    if wrong := outputs.problem(out, filter(None, [manifest, *(recording.path for recording in recordings)])):
        problems.append(wrong)
    if (enhancer or audiogram) and not enhance:
        problems.append("--enhancer and --audiogram are for --enhance; add that, or leave them out")
    places = _captions(captions, out, recordings, task, problems)
    problems += checkpoint_problems(checkpoint, hears=True)
    problems += _unusable(recordings, _token_samples(checkpoint) or 1, task)
    aid = build(enhancer, audiogram, None, 1.0, problems) if enhance else None
    if problems:
        raise InputError(problems)
    if aid and (lost := words_lost(aid.checkpoint)):
        say(f"--enhance is known to cost words: word errors behind {aid.checkpoint} rose in {', '.join(lost)}")
    encoder, minimum_samples = _encoder(checkpoint, device, aid)
    if problems := _unusable(recordings, minimum_samples, None):
        raise InputError(problems)
    if dry_run:
        return Result([], {"clips": len(recordings)})
    if captions:
        captions.mkdir(exist_ok=True)
    lines, failed = _hear(
        recordings, checkpoint, encoder, batch_size, device, aid, task, out, llama_alone, drafts, places
    )
    used = {"enhancer": str(aid.checkpoint), "audiogram": aid.audiogram.name} if aid else {}
    kept = [recording for recording, line in zip(recordings, lines, strict=True) if line]
    found = [line for line in lines if line]
    scores = _scores(kept, found) if task == REPEAT else _counts(found) | {"answers": found}
    return Result(found, scores | used | ({"failed": failed} if failed else {}), failed)


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
        Recording(row.path, row.name, row.raw, row.speaker or row.name, f"{row.manifest}:{row.line}: ", row.segment[:3])
        for row in rows
    ]


def _captions(
    folder: Path | None, out: Path | None, recordings: list[Recording], task: str, problems: list[str]
) -> dict[str, Path]:
    """Recording → its captions' path without an ending; what is wrong is added to `problems`."""
    if folder is None:
        return {}
    if task != REPEAT:
        problems.append(f"--captions is for transcripts, and --task is {task}; leave one of the two out")
    if folder.exists() and not folder.is_dir():
        problems.append(f"--captions is {folder}, a file; name a folder")
    elif not folder.absolute().parent.is_dir():
        problems.append(f"--captions is {folder}, expected a folder in one that is there; correct it")
    if out is not None and outputs.same(out, folder):
        problems.append(f"--captions and --out are both {folder}; name a folder and a file")
    places, wrong = outputs.places([recording.name for recording in recordings], folder, ".srt")
    problems += wrong
    return places


def _token_samples(checkpoint: Path) -> int | None:
    """Samples per speech token, read without loading a model; None if the encoder is not a folder found by its path."""
    try:
        spec = json.loads((checkpoint / "checkpoint.json").read_text(encoding="utf-8"))
        places = [folder / spec["encoder"] for folder in (checkpoint, *checkpoint.absolute().parents)]
        folder = next(place for place in places if (place / "config.json").is_file())
        return int(spec["stack"]) * kinds.frame_samples(folder)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None  # `_encoder` reports what is wrong


def _unusable(recordings: list[Recording], minimum_samples: int, task: str | None) -> list[str]:
    """What is wrong with each recording, headers and samples: unreadable, cut off, NaN, too short, too long.

    Without a task, headers alone are read.
    """
    from posttrain.corpus import audio as reading
    from posttrain.use import listen

    def problem(recording: Recording) -> str | None:
        try:
            found = reading.header(recording.path, minimum_samples, reading.LONGEST_S, *recording.segment)
            if task == REPEAT:
                reading.check(found)
            elif task is not None:
                list(listen.pieces(recording.path, None, task, listen.LONGEST_S, recording.segment))
        except ValueError as error:
            return f"{recording.where}{recording.name}: {error}"
        return None

    with ThreadPoolExecutor() as pool:
        return [found for found in pool.map(problem, recordings) if found]


def _encoder(checkpoint: Path, device: str, aid: Aid | None) -> "tuple[Encoder, int]":
    """The encoder to use with the checkpoint and the aid, and the samples per speech token."""
    from posttrain.machine.device import pick_device
    from posttrain.model import checkpoint as checkpoints
    from posttrain.model.encoders import loading as encoders

    spec = checkpoints.read_spec(checkpoint)
    if not spec.encoder:
        raise InputError(
            f"{checkpoint} ({spec.stage}) does not hear; name a stage from align on, such as runs/tiny/sft"
        )
    encoder = encoders.load(spec.encoder, device=pick_device(device))
    encoder = encoders.trained_with(aid.folder, encoder) if aid and aid.folder else encoder
    return encoder, spec.stack * encoder.frame_samples


def _hear(
    recordings: list[Recording],
    checkpoint: Path,
    encoder: "Encoder",
    batch_size: int,
    device: str,
    aid: Aid | None,
    task: str,
    out: Path | None,
    llama_alone: bool,
    drafts: bool,
    captions: dict[str, Path],
) -> tuple[list[dict[str, Any] | None], list[str]]:
    """A line for each recording, None if it could not be read after all; and the reasons.

    `captions`: where each recording's are written, if any.
    """
    from tqdm import tqdm

    from posttrain.machine.device import pick_device
    from posttrain.model import checkpoint as checkpoints
    from posttrain.use import listen

    llama = replace(checkpoints.load(checkpoint, pick_device(device)), drafts=drafts)
    if llama_alone:
        llama = replace(llama, spec=replace(llama.spec, together=None))
    longest_s = min(listen.LONGEST_S, listen.room_s(llama, encoder, task, MAX_NEW_TOKENS))
    timed = bool(captions)
    hear = listen.hearer(llama, encoder, task, batch_size, MAX_NEW_TOKENS, timed)
    done = _Lines(out, _key(recordings, checkpoint, aid, task, llama_alone, timed))
    left = recordings[len(done.lines) :]
    sources = (listen.pieces(recording.path, aid, task, longest_s, recording.segment) for recording in left)
    failed = []
    results = listen.listen(sources, hear, batch_size)
    for recording, heard in tqdm(zip(left, results, strict=True), "transcribing", len(left), unit="clip"):
        if isinstance(heard, ValueError):
            failed.append(f"{recording.where}{recording.name}: {heard}")
            done.add(None)
        else:
            whole = listen.stitched(heard)
            if timed:
                captioning.write(captions[recording.name], whole.words)
            done.add(_heard_line(recording, whole, task, timed))
    done.finish()
    return done.lines, failed


class _Lines:
    """The lines so far, each saved to OUT.partial at once; the first line of that file identifies the command."""

    def __init__(self, out: Path | None, key: str):
        self.out = out
        self.partial = out.with_name(out.name + ".partial") if out else None
        self.lines: list[dict[str, Any] | None] = []
        if self.partial is None:
            return
        self.lock = lock.held(self.partial)
        if self.partial.is_file():
            self.lines = _lines_of(self.partial, key)
        self.partial.write_text("", encoding="utf-8")
        self._append({"key": key}, *self.lines)

    def add(self, line: dict[str, Any] | None) -> None:
        self.lines.append(line)
        self._append(line)

    def finish(self) -> None:
        if self.out is None or self.partial is None:
            return
        files.write_json_lines(self.out, filter(None, self.lines))
        self.partial.unlink(missing_ok=True)
        self.lock.close()

    def _append(self, *lines: dict[str, Any] | None) -> None:
        if self.partial is not None:
            with self.partial.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _lines_of(partial: Path, key: str) -> list[dict[str, Any] | None]:
    """Lines that the same command saved; none if another command did, or if a crash broke a line before the last."""
    try:
        first, *kept = partial.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in kept[:-1]] if first == json.dumps({"key": key}) else []
    except ValueError:
        return []


def _key(
    recordings: list[Recording], checkpoint: Path, aid: Aid | None, task: str, llama_alone: bool, timed: bool
) -> str:
    """A hash of everything that a line depends on: checkpoint, task, aid, recordings and their texts."""
    used: list[Any] = [(checkpoint / "checkpoint.json").read_text(encoding="utf-8"), task, llama_alone, timed]
    if aid:
        used += [aid.identity, aid.audiogram.levels(aid.ear).tolist(), aid.ear, aid.denoise]
    for recording in recordings:
        state = recording.path.stat() if recording.path.is_file() else None
        used.append((recording.name, recording.text, str(recording.path), recording.segment))
        used.append((state.st_size, state.st_mtime_ns) if state else None)
    return files.content_hash(repr(used))[:16]


def _heard_line(recording: Recording, heard: "Heard", task: str, timed: bool) -> dict[str, Any]:
    alone = {"llama_hypothesis": heard.alone} if heard.alone else {}
    words = {"words": [asdict(word) for word in heard.words]} if timed else {}
    return _line(recording, heard.output, heard.encoder, task, heard.cut) | alone | words


def _line(recording: Recording, output: str, own: str, task: str, cut: bool = False) -> dict[str, Any]:
    """An abstention gives an empty transcript; an answer is kept as it is."""
    from posttrain.tasks.hearing import is_abstention

    abstained = is_abstention(output)
    said = {"hypothesis": "" if abstained else output} if task == REPEAT else {"answer": output}
    part = dict(zip(("offset_s", "duration_s", "channel"), recording.segment, strict=True))
    part = part if recording.segment != (0.0, None, None) else {}
    line = {"path": recording.name, **part, "text": recording.text, **said, "encoder_hypothesis": own}
    return line | {"abstained": abstained, "cut": cut}


def _scores(recordings: list[Recording], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Pooled error rates with bootstrap intervals over speakers and texts."""
    from posttrain.evals.errors import edit_errors, open_asr_errors
    from posttrain.evals.measures import Ratio

    scores: dict[str, Any] = {}
    told = [(r, line) for r, line in zip(recordings, lines, strict=True) if r.text is not None]
    units = {str(number): (str(r.text), r.speaker) for number, (r, _) in enumerate(told)}
    own = [("llama_", "llama_hypothesis")] if any("llama_hypothesis" in line for line in lines) else []
    for prefix, key in (("", "hypothesis"), ("encoder_", "encoder_hypothesis"), *own):
        for name, errors, total in RATES:
            parts = {}
            for number, (recording, line) in enumerate(told):
                counts = edit_errors(recording.text or "", line.get(key, ""))
                counts |= open_asr_errors(recording.text or "", line.get(key, ""))
                if counts.get(total):
                    parts[str(number)] = (float(counts[errors]), float(counts[total]))
            if parts:
                measure = Ratio(parts, total, units=units)
                ci = measure.interval(0, BOOTSTRAP)
                scores[prefix + name] = {"value": ci.value, "n": measure.n, "ci95": [ci.lo, ci.hi], **measure.extra()}
    return scores | _counts(lines) | ({} if told else {"transcripts": lines})


def _counts(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {"clips": len(lines)} | {what: sum(line[what] for line in lines) for what in ("abstained", "cut")}
