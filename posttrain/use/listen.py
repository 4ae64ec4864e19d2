"""Process recordings window by window: read blocks, cut at pauses, encode and answer windows with speech, stitch.

Memory holds one batch of windows and half a minute of sound, however long a recording is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from posttrain.acoustics import SAMPLE_RATE, activity
from posttrain.acoustics.speech_detector import spoken as with_speech
from posttrain.corpus import audio
from posttrain.corpus.instructions import ABSTENTION, INSTRUCTIONS, REPEAT
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.tasks.hearing import is_abstention
from posttrain.use.captions import Word

if TYPE_CHECKING:
    from posttrain.model.encoders.contract import Encoder
    from posttrain.model.speech_llama import SpeechLlama
    from posttrain.use.enhance import Aid

LONGEST_S = activity.LONGEST_S
"""Longest window that is transcribed, in seconds."""
LONGEST_TASK_S = 15.0
"""Most speech (s) in a recording that is answered rather than transcribed: the model gets all of it at once."""
TRANSCRIPT_TOKENS_S = 10
"""Tokens per second of speech in the encoder's transcript, for a model that reads it; fast speech has six."""


class Window(NamedTuple):
    """A part of a recording that holds speech."""

    first: int
    """Where it begins, in samples of the file at 16 kHz."""
    sound: np.ndarray
    """float32 (S,)."""


@dataclass(frozen=True)
class Heard:
    """The models' output for a window or a whole recording."""

    output: str
    """The Llama's answer; without speech, ABSTENTION (no words were heard)."""
    encoder: str
    """The encoder's own transcript; empty without speech."""
    cut: bool = False
    """Whether the answer was cut off at the token limit."""
    alone: str = ""
    """The Llama's own transcript, where head and Llama decide together."""
    words: tuple[Word, ...] = ()
    """When each word of a transcript is said, where that is asked for."""


def pieces(
    path: Path, aid: "Aid | None", task: str, longest_s: float, segment: audio.Segment = audio.ALL
) -> Iterator[Window]:
    """The windows of a recording that hold speech; for tasks other than repeat, one with all its speech.

    Raises ValueError as `audio.header` and `audio.blocks` do, and for such a task if there is too much speech.
    """
    found = audio.header(path, 1, audio.LONGEST_S, *segment)
    sound = audio.blocks(found)
    if aid is not None:
        sound = aid.blocks(sound, found.samples)
    begins = round(segment[0] * SAMPLE_RATE)
    spoken = _with_speech((begins + first, part) for first, part in activity.stream_windows(sound, longest_s))
    if task == REPEAT:
        yield from spoken
        return
    whole, samples = [], 0
    for window in spoken:
        whole.append(window.sound)
        samples += len(window.sound)
        if samples > LONGEST_TASK_S * SAMPLE_RATE:
            raise ValueError(too_long(task, f"over {LONGEST_TASK_S:.0f} s"))
    if whole:
        yield Window(0, np.concatenate(whole))


def _with_speech(windows: Iterable[tuple[int, np.ndarray]]) -> Iterator[Window]:
    begins: dict[int, int] = {}
    """id of a window that the detector holds → its first sample; the windows themselves are not kept."""

    def sounds() -> Iterator[np.ndarray]:
        for first, sound in windows:
            begins[id(sound)] = first
            yield sound

    for sound in with_speech(sounds()):
        yield Window(begins.pop(id(sound)), sound)


def too_long(task: str, length: str) -> str:
    """Message for a recording that has too much speech to be answered."""
    limit = f"expected at most {LONGEST_TASK_S:.0f} s for --task {task}"
    return f"audio has {length} of speech, {limit}; cut it into shorter files, or transcribe it"


def listen(
    sources: Iterable[Iterator[Window]], hear: Callable[[list[Window]], list[Heard]], batch_size: int
) -> Iterator[list[Heard] | ValueError]:
    """For each source, in order: the results of `hear` for its windows, or the error that stopped its reading.

    Windows of several sources share batches of `batch_size`.
    """
    results: list[list[Heard] | ValueError] = []
    waiting: list[tuple[list[Heard], Window]] = []

    def flush() -> None:
        for (result, _), heard in zip(waiting, hear([window for _, window in waiting]), strict=True):
            result.append(heard)
        waiting.clear()

    for source in sources:
        result: list[Heard] = []
        results.append(result)
        try:
            for window in source:
                waiting.append((result, window))
                if len(waiting) == batch_size:
                    flush()
        except ValueError as error:
            waiting[:] = [(other, window) for other, window in waiting if other is not result]
            results[-1] = error
        if not waiting:
            yield from results
            results = []
    if waiting:
        flush()
    yield from results


def stitched(windows: Sequence[Heard]) -> Heard:
    """Join the results of a recording's windows: the words in order; an abstention if no window has any."""
    said = [heard for heard in windows if not is_abstention(heard.output)]
    own, cut = " ".join(heard.encoder for heard in windows if heard.encoder), any(heard.cut for heard in windows)
    if not said:
        return Heard(ABSTENTION, own, cut)
    alone = " ".join(heard.alone for heard in said).strip()
    words = tuple(word for heard in said for word in heard.words)
    return Heard(" ".join(heard.output for heard in said).strip(), own, cut, alone, words)


def hearer(
    llama: "SpeechLlama", encoder: "Encoder", task: str, batch_size: int, max_new_tokens: int, timed: bool = False
) -> Callable[[list[Window]], list[Heard]]:
    """A function from windows to the outputs of encoder and Llama; the Llama gets only windows with CTC words.

    So a window without a word in the encoder's own transcript cannot yield an answer, and thus no command. Transcripts
    are decided by the word head too if the checkpoint has weights for it. `timed`: say when each word is said.
    """
    import torch

    from posttrain.model import word_times
    from posttrain.model.corpus_table import table_of
    from posttrain.model.together import decided as decide

    shortest = llama.spec.stack * encoder.frame_samples

    def words(window: Window, name: str, output: str) -> tuple[Word, ...]:
        said = [] if is_abstention(output) else output.split()
        found = word_times.aligned(llama, name, said, encoder.frame_samples)
        encoded = next(iter(activity.speech_spans(window.sound)), (0, len(window.sound)))  # without silence around it
        start_s = (window.first + (encoded[0] if found else 0)) / SAMPLE_RATE
        times = found or word_times.shared(said, len(window.sound) / SAMPLE_RATE)
        last_s = (window.first + len(window.sound)) / SAMPLE_RATE  # its last speech token may be longer
        spans = [(min(start_s + start, last_s), min(start_s + end, last_s)) for start, end in times]
        return tuple(
            Word(word, round(start, 3), round(end, 3), bool(found))
            for word, (start, end) in zip(said, spans, strict=True)
        )

    def hear(windows: list[Window]) -> list[Heard]:
        sounds = [window.sound for window in windows]
        padded = [np.pad(sound, (0, max(0, shortest - len(sound)))) for sound in sounds]
        table = table_of(encoder, {str(number): torch.tensor(window) for number, window in enumerate(padded)})
        llama.attach(table)
        asked = [name for name in table.spans if table.hypotheses[name].split()]
        examples = [Example(name, "test", task, INSTRUCTIONS[task], "", name, "", "wer") for name in asked]
        answers = llama.complete(examples, batch_size, max_new_tokens)
        alone = [output for output, _ in answers]
        both = task == REPEAT and llama.spec.together is not None
        decided = decide(llama, examples, alone, batch_size) if both else alone
        found = {
            name: Heard(
                *(output, table.hypotheses[name], cut, own if both else ""),
                words(windows[int(name)], name, output) if timed else (),
            )
            for name, output, (own, cut) in zip(asked, decided, answers, strict=True)
        }
        return [found.get(name, Heard(ABSTENTION, table.hypotheses[name])) for name in table.spans]

    return hear


def room_s(llama: "SpeechLlama", encoder: "Encoder", task: str, max_new_tokens: int) -> float:
    """Seconds of speech that the encoder takes and the Llama's context holds with instruction, transcript and answer.

    InputError if the context holds less than one second.
    """
    example = Example("", "test", task, INSTRUCTIONS[task], "", None, "", "wer")
    room = llama.model.config.max_position_embeddings - max_new_tokens - len(llama.tokenizer.prompt_ids(example))
    seconds = room * llama.spec.stack * encoder.frame_samples / SAMPLE_RATE
    if llama.spec.transcript:
        seconds /= 1 + TRANSCRIPT_TOKENS_S * llama.spec.stack * encoder.frame_samples / SAMPLE_RATE
    if seconds < 1:
        raise InputError(
            f"the Llama holds {llama.model.config.max_position_embeddings} tokens, which leaves {max(room, 0)} for"
            " speech; use a model with a longer context"
        )
    return min(seconds, encoder.longest_samples / audio.SAMPLE_RATE)
