"""The same evaluation after every stage: answer every item greedily, grade it, and keep the answers.

What a stage leaves (StageSpec.leaves) says how: a Llama answers the typed items, an encoder the spoken ones as a
cascade (its transcript → base), a speech model all of them; an enhancer answers nothing and is measured in decibels.
`compute.compute`, a pure function, computes the figures from the answers.
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from posttrain import files
from posttrain.acoustics import SAMPLE_RATE, activity, speech_detector
from posttrain.config.sections import EvaluationConfig
from posttrain.config.stage_table import spec_of
from posttrain.corpus import former_names
from posttrain.corpus.instructions import REPEAT
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip, Example
from posttrain.evals import choices, compute, of_base, personal, ranking
from posttrain.evals.errors import edit_errors, open_asr_errors
from posttrain.evals.hearing import enhancement
from posttrain.machine.device import say
from posttrain.model import checkpoint as checkpoints
from posttrain.model import together
from posttrain.model.adapters import linear_bytes
from posttrain.model.divergence import kl_terms
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import run as encoded
from posttrain.model.frame_table import FrameTable
from posttrain.model.reference import Reference
from posttrain.model.speech_llama import SpeechLlama
from posttrain.tasks.graders import grade
from posttrain.tasks.hearing import is_abstention

Line = dict[str, Any]
ANSWERS, VALIDATION = "answers.jsonl", "validation.jsonl"
"""Files in a stage's folder: its answers to the test items and, where choices are made, to the validation items."""
DETECTED = (*compute.INAUDIBLE, "wer/")
"""Probes whose clips the speech detector judges too."""
TIMED = 16
"""Clips of which the real-time factor is measured."""


def evaluate(
    checkpoint: Path,
    stage: str,
    corpus: Corpus,
    table: FrameTable | None,
    references: dict[str, Path],
    parents: dict[str, Path],
    config: EvaluationConfig,
    device: str,
) -> tuple[list[Line], dict[str, float]]:
    """One line per item, and the costs measured on the way.

    `references` names the folders of `base` and `ctc`; `table` holds the frozen encoder's frames of every clip.
    """
    spec = spec_of(stage)
    if spec.leaves == "enhancer":
        return enhancement.evaluate(checkpoint, corpus, device)
    if spec.leaves == "reward":
        return _reward_row(checkpoint, parents["model"], corpus, table, config, device), {}
    if spec.leaves == "encoder":
        llama = checkpoints.load(references["base"], device)
        assert table is not None
        spoken = [item for item in corpus.items if item.clip]
        return _answers(llama, spoken, corpus, table, config, cascade=True), {}
    llama = checkpoints.load(checkpoint, device, table=table)
    if spec.leaves == "llama":
        typed = [item for item in corpus.items if item.clip is None]
        lines = _answers(llama, typed, corpus, None, config)
        itself = Reference(llama)
        lines += choices.lines(llama, corpus.choices, config.batch_size)
        return lines + _language(llama, itself, corpus, config) + _task(llama, itself, corpus, config), {}
    assert table is not None
    taken = _of_base(llama, references["base"], corpus, config)
    asked = [item for item in corpus.items if item.clip or not taken]
    lines = taken + _answers(llama, asked, corpus, table, config, drafts=_answered(parents.values()))
    base = Reference(llama, None if llama.shares_base else checkpoints.load(references["base"], device))
    if not taken:
        lines += choices.lines(llama, corpus.choices, config.batch_size)
        lines += _language(llama, base, corpus, config) + _task(llama, base, corpus, config)
    lines += _teacher(llama, base, corpus, config)
    lines += ranking.ranked(lambda pairs: ranking.likelihoods(llama, pairs, config.batch_size), corpus)
    if spec.adapter == "personal":
        lines += personal.lines(llama, checkpoint, config.batch_size, config.max_new_tokens)
    held, in_bfloat16 = linear_bytes(llama.model)
    costs = {"cost/linear_mb": round(held / 2**20, 3), "cost/linear_share_of_bfloat16": round(held / in_bfloat16, 4)}
    return lines, costs | {"cost/rtf": round(_real_time_factor(llama, corpus, config, device), 4)}


def validation(
    checkpoint: Path, corpus: Corpus, table: FrameTable | None, config: EvaluationConfig, device: str
) -> list[Line]:
    """One line per validation item and choice; without a table (a base has none), only for typed items."""
    llama = checkpoints.load(checkpoint, device, table=table)
    items = [item for item in corpus.valid_items if table is not None or item.clip is None]
    return _answers(llama, items, corpus, table, config) + choices.lines(llama, corpus.choices, config.batch_size)


def write_answers(path: Path, lines: list[Line]) -> None:
    """Write JSON lines; the file appears only when complete."""
    files.write_json_lines(path, lines)


def read_answers(folder: Path, name: str = ANSWERS) -> list[Line]:
    """The lines saved in a finished stage's folder."""
    with (folder / name).open(encoding="utf-8") as file:
        return [former_names.renamed(json.loads(line)) for line in file]


def _real_time_factor(llama: SpeechLlama, corpus: Corpus, config: EvaluationConfig, device: str) -> float:
    """Seconds of encoding and answering per second of speech, over the first TIMED clean test clips at once."""
    items = [item for item in corpus.items if item.clip and item.probe == "wer/clean"][:TIMED]
    waveforms = [corpus.audio(item.clip or "") for item in items]
    encoder = encoders.load(llama.spec.encoder or "", device=device)
    clock = time.perf_counter()
    encoded(encoder, waveforms)
    llama.answer(items, config.batch_size, config.max_new_tokens)
    return (time.perf_counter() - clock) / (sum(map(len, waveforms)) / SAMPLE_RATE)


def saved_answers(folders: Iterable[Path]) -> list[Line]:
    """The lines saved in these folders; a folder that was moved without its answers has none."""
    return [line for folder in folders if files.damage(folder / ANSWERS) is None for line in read_answers(folder)]


def _answered(folders: Iterable[Path]) -> dict[str, str]:
    """Item → what the checkpoints in these folders answered it."""
    return {line["id"]: line["output"] for line in saved_answers(folders) if "output" in line}


def reference_answers(folder: Path, references: dict[str, Path]) -> list[Line]:
    """Row zero's typed answers and the cascade's spoken ones, without those of `folder` itself."""
    return saved_answers(path for path in references.values() if not path.samefile(folder))


def _of_base(llama: SpeechLlama, base: Path, corpus: Corpus, config: EvaluationConfig) -> list[Line]:
    """The base's saved answers to the typed items if the stage left the Llama as it was; none if they are of others."""
    if not of_base.answers_as(base, llama) or not of_base.evaluated_alike(base, corpus, config):
        return []
    found = of_base.taken(saved_answers([base]), corpus)
    if found:
        say(f"  its Llama is the base's: typed answers are those of {base.name}, not computed again")
    return found


def _answers(
    llama: SpeechLlama,
    items: list[Example],
    corpus: Corpus,
    table: FrameTable | None,
    config: EvaluationConfig,
    cascade: bool = False,
    drafts: Mapping[str, str] = MappingProxyType({}),
) -> list[Line]:
    """The model's answers; in a `cascade` it reads the CTC hypothesis instead of hearing the clip.

    A clip that is transcribed in several windows gets one answer: those of its windows, joined. drafts: what items are
    probably answered, such as by the stage before; answers are the same without.
    """
    prompts, counts, said = [], [], []
    for item in items:
        parts = table.parts.get(item.clip or "") if table and item.task == REPEAT else None
        clips = parts or [item.clip]
        counts.append(len(clips))
        for clip in clips:
            heard: dict[str, Any] = (
                {"clip": None, "text": table.hypotheses[clip]} if cascade and table and clip else {"clip": clip}
            )
            prompts.append(dataclasses.replace(item, **heard))
            said.append("" if parts else drafts.get(item.id, ""))
    outputs = _outputs(llama, prompts, said, config)
    answers = _joined(outputs, counts)
    lines = [_line(item, answer, corpus, table) for item, answer in zip(items, answers, strict=True)]
    if llama.spec.together and not cascade:
        _add_decided(lines, _joined(_decided(llama, prompts, outputs, config), counts))
    return lines


def _outputs(llama: SpeechLlama, prompts: list[Example], said: list[str], config: EvaluationConfig) -> list[str]:
    """Greedy answers, with `said` for drafts; to a prompt with answers to choose from, the likeliest of these."""
    free = [prompt for prompt in prompts if not prompt.endings]
    drafts = [draft or llama.draft(p) for p, draft in zip(prompts, said, strict=True) if not p.endings]
    answers = iter(llama.answer(free, config.batch_size, config.max_new_tokens, drafts))
    chosen = iter(choices.chosen(llama, [prompt for prompt in prompts if prompt.endings], config.batch_size))
    return [next(chosen if prompt.endings else answers) for prompt in prompts]


def _decided(llama: SpeechLlama, prompts: list[Example], outputs: list[str], config: EvaluationConfig) -> list[str]:
    """The outputs, those of transcription probes as the word head and the Llama decide together."""
    asked = [i for i, prompt in enumerate(prompts) if prompt.grader == "wer" and prompt.clip]
    own = [outputs[i] for i in asked]
    decided = together.decided(llama, [prompts[i] for i in asked], own, config.batch_size)
    changed = dict(zip(asked, decided, strict=True))
    return [changed.get(i, output) for i, output in enumerate(outputs)]


def _add_decided(lines: list[Line], answers: list[str]) -> None:
    for line, answer in zip(lines, answers, strict=True):
        if "errors" in line:
            errors = edit_errors(line["text"], "" if is_abstention(answer) else answer)
            line |= {"together_output": answer, "together_errors": errors["errors"]}


def _joined(outputs: list[str], counts: list[int]) -> list[str]:
    """One answer per recording from those of its windows, of which there are `counts`."""
    parts = iter(outputs)
    return [stitched(list(itertools.islice(parts, count))) for count in counts]


def stitched(outputs: list[str]) -> str:
    """Join the answers to the windows of one recording; abstentions are dropped if there is any other answer."""
    said = [output for output in outputs if not is_abstention(output)]
    return " ".join(said) if said else outputs[0]


def _content(item: Example, clip: Clip | None) -> str:
    """The content that the item shares with others; for a clip without speech, the kind of sound."""
    if clip is not None and not clip.text and not item.content:
        return clip.noise or clip.condition
    return item.content_id


def _line(item: Example, output: str, corpus: Corpus, table: FrameTable | None) -> Line:
    """The item, the answer and its grade; for repeated speech also word and character errors, and the encoder's own."""
    clip = corpus.clips[item.clip] if item.clip else None
    line: Line = {
        "id": item.id,
        "probe": item.probe,
        "instruction": item.instruction,
        "text": item.text,
        "content": _content(item, clip),
        "clip": clip and clip.id,
        "speaker": clip and clip.speaker,
        "condition": clip and clip.condition,
        "source": clip and clip.source,
        "answer": item.answer,
        "output": output,
        "score": grade(item.grader, output, item),
    }
    if item.endings:
        line["endings"] = len(item.endings)
    if clip is not None and item.probe and item.probe.startswith(DETECTED):
        line["speech"] = _has_speech(corpus, clip.id)
    if item.grader == "wer" and clip is not None and table is not None:
        heard = table.hypotheses[clip.id]
        said = "" if is_abstention(output) else output  # an abstention: every word lost, none inserted
        line |= edit_errors(clip.text, said) | {"encoder_output": heard}
        line |= {f"encoder_{k}": v for k, v in edit_errors(clip.text, heard).items() if k in ("errors", "char_errors")}
        if clip.raw:
            line |= open_asr_errors(clip.raw, said)
            line |= {f"encoder_{name}": value for name, value in open_asr_errors(clip.raw, heard).items()}
    return line


_SPEECH: dict[tuple[str, str], bool] = {}
"""(corpus, clip) → whether it has speech: all stages of a run are evaluated on the same clips."""


def _has_speech(corpus: Corpus, clip: str) -> bool:
    """Whether the speech detector finds any in the clip's windows, as for a recording that is transcribed."""
    key = (corpus.fingerprint, clip)
    if key not in _SPEECH:
        sound = corpus.audio(clip).numpy()
        windows = (sound[first:last] for first, last in activity.windows(sound))
        _SPEECH[key] = next(speech_detector.spoken(windows), None) is not None
    return _SPEECH[key]


def _language(llama: SpeechLlama, base: Reference, corpus: Corpus, config: EvaluationConfig) -> list[Line]:
    """Per held-out general text, summed over its tokens, in nats: −log p, KL(base ‖ stage) and L_f.

    The synthetic world's lines are `language/perplexity`, those of a data card `language/perplexity/NAME`.

    L_f is the cross-entropy of the stage against the base's predictions instead of the text's own next token
    (Kalajdzievski 2024, arXiv 2401.05605), here against their whole distribution: the base's entropy plus the KL.
    """
    by_source: dict[str, list[str]] = {}
    for text in corpus.texts:
        if text["split"] == "test":
            by_source.setdefault(text.get("source", ""), []).append(text["text"])
    lines = []
    for source, texts in by_source.items():
        rows = [llama.tokenizer.text_ids(text) for text in texts]
        spans = [(1, len(row)) for row in rows]
        of = f"/{source}" if source else ""
        for i, ours, theirs, targets in _paired_logprobs(llama, rows, spans, base, rows, spans, config.batch_size):
            nll = -ours.gather(-1, targets[:, None]).sum().item()
            kl = kl_terms(theirs, ours).sum().item()
            ce = -(theirs.exp() * ours).sum().item()
            line = {"id": f"language{of}/{i}", "probe": f"language/perplexity{of}", "nll": nll, "tokens": len(targets)}
            lines.append(line | {"kl_base": kl, "ce_base": ce})
    return lines


def _task(llama: SpeechLlama, base: Reference, corpus: Corpus, config: EvaluationConfig) -> list[Line]:
    """Per held-out item of the new tasks, typed for both: forward KL(base ‖ stage) over the right answer's tokens.

    Source: Shenfeld et al. 2025 (arXiv 2509.04259), where this divergence on the new task predicts how much is
    forgotten of the old ones. Deviations: (1) over the right answer instead of the base's samples, so it has no
    sampling noise.
    """
    items = [dataclasses.replace(item, clip=None) for item in of_base.tasks(corpus)]
    rows, spans = _rows(llama, items)
    name, lines = compute.KL_TASK, []
    for i, ours, theirs, targets in _paired_logprobs(llama, rows, spans, base, rows, spans, config.batch_size):
        kl = kl_terms(theirs, ours).sum().item()
        line = {"id": f"{name}/{items[i].id}", "probe": name, "content": items[i].content_id}
        lines.append(line | {"kl": kl, "tokens": len(targets)})
    return lines


def _teacher(llama: SpeechLlama, base: Reference, corpus: Corpus, config: EvaluationConfig) -> list[Line]:
    """Per spoken item: KL(teacher ‖ student) over the answer's tokens; the teacher is the base reading the text."""
    items = [i for i in corpus.items if i.clip and i.probe in ("wer/clean", "task/spoken_qa")]
    students, spans = _rows(llama, items)
    teachers, teacher_spans = _rows(llama, [dataclasses.replace(item, clip=None) for item in items])
    lines, size = [], config.batch_size
    for i, ours, theirs, targets in _paired_logprobs(llama, students, spans, base, teachers, teacher_spans, size):
        kl = kl_terms(theirs, ours).sum().item()
        item = items[i]
        line = {"id": f"teacher/{item.id}", "probe": "distill/kl_teacher", "content": item.content_id}
        lines.append(line | ranking.heard(corpus, item.clip) | {"kl": kl, "tokens": len(targets)})
    return lines


def _rows(llama: SpeechLlama, items: list[Example]) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Token ids of prompt and right answer, and the answer's span in them."""
    prompts = [llama.tokenizer.prompt_ids(item) for item in items]
    answers = [llama.tokenizer.answer_ids(item.answer) for item in items]
    pairs = list(zip(prompts, answers, strict=True))
    return [p + a for p, a in pairs], [(len(p), len(p) + len(a)) for p, a in pairs]


def _paired_logprobs(
    llama: SpeechLlama,
    rows: list[list[int]],
    spans: list[tuple[int, int]],
    base: Reference,
    base_rows: list[list[int]],
    base_spans: list[tuple[int, int]],
    batch_size: int,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Row number, the stage's and the base's log-probabilities over the span (L, V), and its tokens (L,)."""
    for batch in llama.batches(rows, batch_size):
        ours = theirs = llama.span_logprobs([rows[i] for i in batch], [spans[i] for i in batch])
        if not (base.itself and rows is base_rows):
            with base.loaded() as reference:
                theirs = reference.span_logprobs([base_rows[i] for i in batch], [base_spans[i] for i in batch])
        for i, a, b in zip(batch, ours, theirs, strict=True):
            first, last = spans[i]
            yield i, a, b, torch.tensor(rows[i][first:last], device=a.device)


def _reward_row(
    checkpoint: Path,
    parent: Path,
    corpus: Corpus,
    table: FrameTable | None,
    config: EvaluationConfig,
    device: str,
) -> list[Line]:
    """The parent's lines, with the pairs ranked by the reward model instead of by likelihood."""
    from posttrain.stages.reward import load_reward, score

    model = load_reward(checkpoint, device, table)
    kept = [line for line in read_answers(parent) if not line["probe"].startswith(compute.PAIRS)]
    return kept + ranking.ranked(lambda answers: score(model, answers, config.batch_size), corpus)
