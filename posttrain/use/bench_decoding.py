"""How long transcripts take: checked against the encoder's drafts, written word by word, and by Transformers' generate.

On test clips of a finished run, whose voices no stage has heard. With drafts the words are those written one by one; in
32 bits anything else is an error. `generate`, and 16 bits, may decide a close call otherwise (`decoding.TIE`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from posttrain.corpus.instructions import INSTRUCTIONS, REPEAT
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import checkpoint as checkpoints
from posttrain.model import origin
from posttrain.model.corpus_table import table_of
from posttrain.model.decoding import Tally, left_padded
from posttrain.model.encoders import loading as encoders
from posttrain.model.folder import checkpoint_problems
from posttrain.model.speech_llama import SpeechLlama
from posttrain.use.bench_case import Case

BATCHES = (1, 16)
CLIPS = 32
MAX_NEW_TOKENS = 64


def cases(llama: SpeechLlama, examples: list[Example]) -> Iterator[Case]:
    """Drafts against each of the other two, at each of BATCHES; InputError if they do not give the same words."""
    for size in BATCHES:
        tally = Tally()
        said = [text for text, _ in llama.complete(examples, size, MAX_NEW_TOKENS, tally=tally)]
        name = f"transcripts, drafted, {tally.words / tally.passes:.1f} tokens a pass, batch of {size}"
        own = partial(llama.answer, examples, size, MAX_NEW_TOKENS)
        plainly = partial(replace(llama, drafts=False).answer, examples, size, MAX_NEW_TOKENS)
        if said != plainly() and llama.model.dtype == torch.float32:
            raise InputError(f"drafts change what {llama.spec.stage} answers; report it, with this checkpoint")
        for peer_name, peer in (("word by word", plainly), ("generate", partial(generated, llama, examples, size))):
            same = sum(a == b for a, b in zip(said, peer(), strict=True))
            yield Case(name, own, f"{peer_name} (same text for {same} of {len(said)} clips)", peer, "clip", len(said))


def generated(llama: SpeechLlama, examples: Sequence[Example], batch_size: int) -> list[str]:
    """As Transformers' generate gives them, prompts of like length in a batch."""
    prompts = [llama.tokenizer.prompt_ids(example) for example in examples]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, str] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        ids, mask = left_padded([prompts[i] for i in batch], llama.tokenizer.pad_token_id)
        out = llama.model.generate(
            input_ids=ids.to(llama.model.device),
            attention_mask=mask.to(llama.model.device),
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            eos_token_id=llama.eos_ids,
            pad_token_id=llama.tokenizer.pad_token_id,
        )
        texts = llama.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        found |= {i: text.strip() for i, text in zip(batch, texts, strict=True)}
    return [found[i] for i in range(len(prompts))]


def loaded(folder: Path, clips: int = CLIPS, split: str = "test") -> tuple[SpeechLlama, list[Example], Corpus]:
    """A checkpoint of a run, requests to repeat clips of a split of its corpus, people's first, spread evenly, and the
    corpus. Of the training split it can be trained on.

    InputError if it is no finished checkpoint that hears.
    """
    if wrong := checkpoint_problems(folder, hears=True):
        raise InputError(wrong)
    llama = checkpoints.load(folder, "cpu", trainable=split == "train")
    known = Corpus.load(origin.resolve(folder).corpus)
    spoken = sorted((clip for clip in known.clips_of(split) if clip.text), key=lambda clip: not clip.recorded)
    chosen = [spoken[i * len(spoken) // clips] for i in range(min(clips, len(spoken)))]
    table = table_of(encoders.load(llama.spec.encoder or ""), {clip.id: known.audio(clip.id) for clip in chosen})
    asked = [Example(c.id, split, REPEAT, INSTRUCTIONS[REPEAT], c.text, c.id, c.text, "wer") for c in chosen]
    return llama.attach(table), asked, known
