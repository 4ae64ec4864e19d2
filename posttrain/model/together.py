"""The word head and the Llama decide a transcript together: the head's likeliest transcripts, scored by both.

score = log p_Llama(words, end | clip) + ctc · log p_CTC(words | clip) + length · number of tokens [+ encoder]

The Llama knows what people say, the head only what it hears: alone, the one invents and the other misspells. The
candidates are the head's n best by prefix beam search (Hannun et al. 2014, arXiv 1408.2873), the Llama's own greedy
transcript, and the encoder's, which may have a bonus. `stages/training/together.py` chooses the weights on
validation clips.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from posttrain.corpus.normalise import normalise
from posttrain.corpus.types import Example
from posttrain.model.speech_llama import SpeechLlama
from posttrain.tasks.hearing import is_abstention

BEAM, UNITS = 24, 12
"""Prefixes that are kept, and units that are tried, per speech token."""
SURE = math.log(0.999)
"""A speech token whose blank is likelier than this tries no unit."""


TEXTS = 4
"""A batch has so many times fewer clips than prompts alone: each has several texts."""


@dataclass(frozen=True)
class Weights:
    """What counts beside the Llama's log-probability, in nats."""

    ctc: float = 0.0
    """Per nat of the head's log-probability."""
    length: float = 0.0
    """Per token."""
    encoder: float = 0.0
    """For the encoder's own transcript."""


@dataclass(frozen=True)
class Candidate:
    """A transcript of a clip that both have scored."""

    text: str
    llama: float
    """Log-probability of the words and the end, in nats."""
    ctc: float
    """Log-probability of the words in nats, over all alignments; −inf if the head lacks one of them."""
    tokens: int
    encoders: bool = False
    """Whether it is the encoder's own transcript."""

    def score(self, weights: Weights) -> float:
        """The sum that the best candidate has the most of."""
        ctc = weights.ctc * self.ctc if weights.ctc else 0.0
        return self.llama + ctc + weights.length * self.tokens + weights.encoder * self.encoders


def decided(llama: SpeechLlama, examples: Sequence[Example], own: Sequence[str], batch_size: int) -> list[str]:
    """The transcripts by the checkpoint's weights; where the Llama heard no words (abstains), that stands."""
    weights = llama.spec.together
    asked = [i for i, output in enumerate(own) if output and not is_abstention(output)]
    if weights is None or not asked:
        return list(own)
    candidates = scored(llama, [examples[i] for i in asked], [own[i] for i in asked], batch_size, llama.spec.candidates)
    won = {i: best(of_clip, Weights(*weights)).text for i, of_clip in zip(asked, candidates, strict=True)}
    return [won.get(i, output) for i, output in enumerate(own)]


def best(candidates: Sequence[Candidate], weights: Weights) -> Candidate:
    """The candidate with the highest score; the first of equals."""
    return max(candidates, key=lambda candidate: candidate.score(weights))


def scored(
    llama: SpeechLlama, examples: Sequence[Example], own: Sequence[str], batch_size: int, count: int
) -> list[list[Candidate]]:
    """Each clip's candidates, of `examples` that ask to repeat it; `own`: the Llama's greedy transcripts.

    `count`: how many the head proposes; `batch_size`: of clips.
    Never empty: the Llama's own transcript is always among them. ValueError without a word head.
    """
    if llama.head is None or llama.table is None:
        raise ValueError(f"{llama.spec.stage} has no word head; train align with align.ctc_steps above 0")
    texts, ctc = [], []
    encoders = [normalise(llama.table.hypotheses.get(str(example.clip), "")) for example in examples]
    stacked = llama.table.stacked(llama.spec.stack)
    for example, greedy, encoder in zip(examples, own, encoders, strict=True):
        first, tokens = stacked.spans[str(example.clip)]
        with torch.no_grad():
            log_probs = llama.head(stacked.rows(torch.arange(first, first + tokens))).log_softmax(-1).cpu()  # (N, U)
        proposed = prefix_beam(log_probs.numpy(), llama.head.blank, count)
        read = [llama.tokenizer.decode(llama.head.ids[list(units)].tolist()).strip() for units in proposed]
        texts.append(list(dict.fromkeys([greedy, *filter(None, [encoder, *read])])))
        ctc.append(_ctc(llama, log_probs, texts[-1]))
    found = _llama(llama, examples, texts, batch_size)
    return [
        [
            Candidate(text, p, q, len(llama.tokenizer.word_ids(f" {text}")), text == encoder)
            for text, p, q in zip(*clip, strict=True)
        ]
        for encoder, clip in zip(encoders, zip(texts, found, ctc, strict=True), strict=True)
    ]


def prefix_beam(log_probs: np.ndarray, blank: int, count: int) -> list[tuple[int, ...]]:
    """Unit sequences of a clip's log-probabilities (N, U), likeliest first, at most `count`; without the blank."""
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}  # log p, ending in blank or not
    likeliest = np.argsort(-log_probs)[:, :UNITS].tolist()
    for row, units in zip(log_probs.tolist(), likeliest, strict=True):  # plain numbers are quicker than numpy's
        tried = [] if row[blank] > SURE else [unit for unit in units if unit != blank]
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (in_blank, in_unit) in beams.items():
            either = _sum(in_blank, in_unit)
            here = grown.setdefault(prefix, [-math.inf, -math.inf])
            here[0] = _sum(here[0], either + row[blank])
            if prefix:
                here[1] = _sum(here[1], in_unit + row[prefix[-1]])
            for unit in tried:
                after = in_blank if prefix and unit == prefix[-1] else either
                longer = grown.setdefault((*prefix, unit), [-math.inf, -math.inf])
                longer[1] = _sum(longer[1], after + row[unit])
        kept = sorted(grown.items(), key=lambda item: -_sum(*item[1]))[:BEAM]
        beams = {prefix: (ends[0], ends[1]) for prefix, ends in kept}
    return list(beams)[:count]


def _sum(a: float, b: float) -> float:
    """Logarithm of the sum of two probabilities."""
    more, less = max(a, b), min(a, b)
    return more if less == -math.inf else more + math.log1p(math.exp(less - more))


def _ctc(llama: SpeechLlama, log_probs: torch.Tensor, texts: Sequence[str]) -> list[float]:
    """Log-probability of each text over all alignments with a clip's log_probs (N, U)."""
    assert llama.head is not None
    unit = {word: number for number, word in enumerate(llama.head.ids.tolist())}
    spelled = [[unit.get(word, -1) for word in llama.tokenizer.word_ids(f" {text}")] for text in texts]
    known = [i for i, units in enumerate(spelled) if -1 not in units]
    values = [-math.inf] * len(texts)
    if known:
        losses = F.ctc_loss(
            log_probs[:, None].expand(-1, len(known), -1),
            torch.tensor([u for i in known for u in spelled[i]], dtype=torch.long),
            torch.full((len(known),), len(log_probs)),
            torch.tensor([len(spelled[i]) for i in known]),
            blank=llama.head.blank,
            reduction="none",
        )
        for i, loss in zip(known, losses.tolist(), strict=True):
            values[i] = -loss
    return values


def _llama(
    llama: SpeechLlama, examples: Sequence[Example], texts: Sequence[Sequence[str]], batch_size: int
) -> list[list[float]]:
    """Log-probability of each text and its end after its clip's prompt."""
    rows: list[list[int]] = []
    spans: list[tuple[int, int]] = []
    for example, of_clip in zip(examples, texts, strict=True):
        prompt = llama.tokenizer.prompt_ids(example)
        rows += [prompt + llama.tokenizer.answer_ids(text) for text in of_clip]
        spans += [(len(prompt), len(row)) for row in rows[len(spans) :]]
    found = iter(llama.token_logprobs(rows, spans, max(1, batch_size // TEXTS)))
    return [[next(found).sum().item() for _ in of_clip] for of_clip in texts]
