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
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peft import PeftModel

from posttrain.corpus.normalise import normalise
from posttrain.corpus.types import Example
from posttrain.model.decoding import read_prompts
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
    for row in log_probs:
        tried = [] if row[blank] > SURE else [int(u) for u in np.argsort(-row)[:UNITS] if u != blank]
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (in_blank, in_unit) in beams.items():
            either = np.logaddexp(in_blank, in_unit)
            here = grown.setdefault(prefix, [-math.inf, -math.inf])
            here[0] = np.logaddexp(here[0], either + row[blank])
            if prefix:
                here[1] = np.logaddexp(here[1], in_unit + row[prefix[-1]])
            for unit in tried:
                after = in_blank if prefix and unit == prefix[-1] else either
                longer = grown.setdefault((*prefix, unit), [-math.inf, -math.inf])
                longer[1] = np.logaddexp(longer[1], after + row[unit])
        kept = sorted(grown.items(), key=lambda item: -np.logaddexp(item[1][0], item[1][1]))[:BEAM]
        beams = {prefix: (ends[0], ends[1]) for prefix, ends in kept}
    return list(beams)[:count]


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


@torch.no_grad()
def _llama(
    llama: SpeechLlama, examples: Sequence[Example], texts: Sequence[Sequence[str]], batch_size: int
) -> list[list[float]]:
    """Log-probability of each text and its end after its clip's prompt.

    The prompt is read once for all texts, and so is what several of them begin with: they are read as a tree.
    """
    model: Any = llama.model.get_base_model() if isinstance(llama.model, PeftModel) else llama.model
    pad = llama.tokenizer.pad_token_id
    prompts = [llama.tokenizer.prompt_ids(example) for example in examples]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, list[float]] = {}
    step = max(1, batch_size // TEXTS)
    for start in range(0, len(order), step):
        batch = order[start : start + step]
        out, mask, at = read_prompts(llama.model, [prompts[i] for i in batch], pad)
        trees = [Tree.of([llama.tokenizer.answer_ids(text) for text in texts[i]]) for i in batch]
        size = max(len(tree.words) for tree in trees)
        words, depths = torch.full((len(batch), size), pad), torch.zeros(len(batch), size, dtype=torch.long)
        sees = torch.zeros(len(batch), size, size, dtype=torch.bool)
        for row, tree in enumerate(trees):
            count = len(tree.words)
            words[row, :count], depths[row, :count] = torch.tensor(tree.words), torch.tensor(tree.depths)
            sees[row, :count, :count] = tree.ancestors()
        sees |= torch.eye(size, dtype=torch.bool)  # padding sees itself, so that no row is empty
        words, depths, sees = (tensor.to(mask.device) for tensor in (words, depths, sees))
        seen = torch.cat([mask.bool()[:, None].expand(-1, size, -1), sees], -1)[:, None]  # (B, 1, N, L + N)
        hidden = torch.zeros(seen.shape, dtype=out.logits.dtype, device=mask.device)
        after = model(
            input_ids=words,
            attention_mask=hidden.masked_fill(~seen, torch.finfo(out.logits.dtype).min),
            position_ids=at[:, -1:] + 1 + depths,
            past_key_values=out.past_key_values,
            use_cache=True,
        ).logits
        logits = torch.cat([out.logits, after], 1).float()  # (B, 1 + N, V): after the prompt, then after each node
        totals = logits.logsumexp(-1)
        for row, (i, tree) in enumerate(zip(batch, trees, strict=True)):
            found[i] = []
            for path in tree.paths:
                before, said = zip(*path, strict=True)
                found[i].append((logits[row, list(before), list(said)] - totals[row, list(before)]).sum().item())
    return [found[i] for i in range(len(prompts))]


@dataclass(frozen=True)
class Tree:
    """Sequences of ids in which what several begin with is there once; the last id of each, its end, is no node."""

    words: list[int]
    """Id of each node."""
    parents: list[int]
    """Number of the node before each, −1 at the root."""
    depths: list[int]
    paths: list[list[tuple[int, int]]]
    """For each sequence and each of its ids: 1 + the node before it, and the id."""

    @staticmethod
    def of(sequences: Sequence[Sequence[int]]) -> "Tree":
        """The tree of sequences of one id or more."""
        tree, known = Tree([], [], [], []), dict[tuple[int, int], int]()
        for ids in sequences:
            node, path = -1, []
            for depth, word in enumerate(ids):
                path.append((node + 1, word))
                if depth < len(ids) - 1:
                    if (node, word) not in known:
                        known[node, word] = len(tree.words)
                        tree.words.append(word)
                        tree.parents.append(node)
                        tree.depths.append(depth)
                    node = known[node, word]
            tree.paths.append(path)
        return tree

    def ancestors(self) -> torch.Tensor:
        """Which nodes each sees: itself and those before it, a mask (N, N)."""
        found = torch.eye(len(self.words), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                found[node] |= found[parent]
        return found
