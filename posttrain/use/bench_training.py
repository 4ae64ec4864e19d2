"""How long training steps take on spoken rows of a finished run: beside typed rows of as many tokens, beside an encoder
that runs in every step, as in trainers without a table of frames, and beside float32 where bfloat16 is used.

Every step is TRL's, with the checkpoint's own trainable parts.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers.trainer_callback import PrinterCallback

from posttrain.config.sections import SFTConfig
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import run as encoded
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.training import supervised
from posttrain.stages.training.bfloat16 import quick
from posttrain.stages.training.context import StageContext
from posttrain.use.bench_case import Case

STEPS, ROWS = 2, 8
"""Steps that are timed at once, and rows in each."""
CLIPS = STEPS * ROWS


def cases(llama: SpeechLlama, examples: list[Example], corpus: Corpus) -> Iterator[Case]:
    """Spoken rows against each of the others; InputError if there are not CLIPS `examples`, of the training split."""
    if len(examples) < CLIPS:
        raise InputError(
            f"{corpus.folder} has {len(examples)} spoken training clips, expected {CLIPS} to time steps on"
        )
    encoder = encoders.load(llama.spec.encoder or "")

    def encode(ids: list[str]) -> None:
        encoded(encoder, [corpus.audio(i) for i in ids], words=[False] * len(ids))

    with TemporaryDirectory(prefix="posttrain-bench-") as folder:
        context = StageContext(0, "cpu", Path(folder), {}, corpus)
        ours, bfloat16 = _steps(llama, examples, context)
        others = [
            ("the encoder run in every step", _steps(llama, examples, context, before=encode)[0]),
            ("typed rows of as many tokens", _steps(llama, examples, context, typed=True)[0]),
        ]
        if bfloat16:
            others.append(("the same in float32", _steps(llama, examples, context, bf16=False)[0]))
        name = f"training on speech, {STEPS} steps of {ROWS} rows"
        for peer_name, peer in others:
            yield Case(name, ours, peer_name, peer, "row", CLIPS)


def _steps(
    llama: SpeechLlama,
    examples: list[Example],
    context: StageContext,
    before: Callable[[list[str]], None] | None = None,
    typed: bool = False,
    **extra: Any,
) -> tuple[Callable[[], None], bool]:
    """STEPS steps of a trainer, and whether it uses bfloat16.

    `before` is called with the clips of each batch; `typed`: speech is replaced by words.
    """
    config = SFTConfig(steps=STEPS, batch_size=ROWS, learning_rate=1e-9, projector_learning_rate=1e-9)
    trainer = supervised.build(llama, examples, config, context, **extra, disable_tqdm=True)
    trainer.remove_callback(PrinterCallback)
    if typed:
        trainer.train_dataset = trainer.train_dataset.map(lambda row: {"input_ids": _words(llama, row["input_ids"])})
    if before is not None:
        collate = trainer.data_collator

        def collated(rows: list[dict[str, Any]]) -> Any:
            before([row["id"] for row in rows])
            return collate(rows)

        trainer.data_collator = collated

    def work() -> None:
        with quick(trainer):
            trainer.train()

    return work, trainer.args.bf16


def _words(llama: SpeechLlama, ids: list[int]) -> list[int]:
    """The row with a word in place of each speech token."""
    known = torch.tensor(ids)
    return torch.where(known < llama.spec.num_words, known, known % llama.spec.num_words).tolist()
