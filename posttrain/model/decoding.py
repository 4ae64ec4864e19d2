"""Greedy answers in batches of similar length, checked against drafts; an answer depends on neither batch nor draft.
A word is a token here.

A draft is what an answer probably is: the encoder's own transcript, or what another checkpoint answered. The Llama
reads a piece of it in one pass and accepts as much as it would have said itself. This is speculative decoding
(Leviathan et al. 2023, arXiv 2211.17192), greedy and with a text for its draft, as with IBM's CTC drafts (arXiv
2603.11243), which accept near misses too; here an answer is, token for token, what the Llama says without a draft.
After a mismatch the draft is taken up again where the Llama's own word is in it.

A close call, two words whose logits differ by no more than rounding may (TIE), is decided by the row alone, read once
from its beginning: one rule for every batch and draft.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from posttrain.machine.device import progress
from posttrain.model.limits import LOGITS_BYTES, PIECE

SHARED = 8
"""Tokens from which reading a common beginning once pays."""
TIE = 1e-3
"""Differences of logits that rounding may reverse, in 32 bits. In 16 bits many are as small, so there answers are the
same only up to rounding."""
SHORT = 4
"""Fewest words of a draft that are read in a pass after a wrong one."""
MISSES = 3
"""A draft does not pay, and is given up, after so many passes in which no word was right and none was found again."""
RIGHT, WRONG = 8, 2
"""Words of drafts that a batch counts as right and wrong before it has read any."""
OVERHEAD = {"cpu": 48, "cuda": 1000}
"""Device → words that a pass reads in the time that it takes without any, in all rows together: the weights are read
and the layers called once. Measured on SmolLM2-135M with two cores; for a GPU a guess, where calls count for most."""
BEFORE, BEHIND = 3, 8
"""Where the draft is taken up again: so many words before and behind the one that was not said."""


@dataclass
class Tally:
    """What decoding took."""

    passes: int = 0
    """Of rows: a pass over eight prompts counts eight times."""
    words: int = 0
    """In the answers, ends included."""


@torch.no_grad()
def generate_ids(
    model: Any,
    prompts: list[list[int]],
    pad_id: int,
    eos_ids: list[int],
    batch_size: int,
    max_new_tokens: int,
    drafts: Sequence[list[int]] | None = None,
    tally: Tally | None = None,
) -> list[list[int]]:
    """Greedy continuation ids per prompt, in the prompts' order, without the end token.

    drafts: ids that each answer may consist of, without an end; empty for none. tally: counts passes.

    Prompts are sorted by length, padded on the left and decoded with a KV cache; a row leaves the batch when it ends.
    What all prompts of a batch begin with, such as the system turn, is read once.

    The result equals `generate` without sampling (tested). It is written out for three reasons: `generate` keeps every
    row until the longest answer ends and reads a common beginning in each, its drafts take one row at a time, and there
    PEFT's prompt tuning puts its virtual tokens before the padding, so an answer depends on its batch.
    """
    answers: dict[int, list[int]] = {}
    drafts = drafts or [[]] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]) + len(drafts[i]), len(prompts[i])))
    training = model.training
    model.eval()
    with progress(len(prompts), "answering", "answer") as bar:
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            rows = [_Row(prompts[i], [], drafts[i]) for i in batch]
            _greedy(model, rows, pad_id, frozenset(eos_ids), max_new_tokens, tally or Tally())
            answers.update((i, row.answer) for i, row in zip(batch, rows, strict=True))
            bar.update(len(batch))
    model.train(training)
    return [answers[i] for i in range(len(prompts))]


@dataclass
class _Row:
    prompt: list[int]
    answer: list[int]
    draft: list[int]
    at: int = 0
    """Where in the draft its next piece begins."""
    size: int = PIECE
    misses: int = 0
    ended: bool = False

    def piece(self, width: int, longest: int) -> list[int]:
        """The next words of the draft: at most `width`, in an answer of at most `longest`."""
        return self.draft[self.at : self.at + min(self.size, width, longest - len(self.answer) - 1)]

    def take(self, piece: list[int], words: Sequence[int], ends: frozenset[int], longest: int) -> int:
        """Append the Llama's own words while they are the piece's, then one more; returns how many were the same.

        words: the Llama's, before the piece and after each of its words.
        """
        for right, word in enumerate(words):
            self.ended = word in ends
            if self.ended:
                return right
            self.answer.append(word)
            self.ended = len(self.answer) == longest
            if right == len(piece) or word != piece[right]:
                self.size = PIECE if right == len(piece) else min(PIECE, max(SHORT, 2 * right))
                self._realign(right, word)
                return right
            if self.ended:
                return right + 1
        raise AssertionError("one word more than the piece has was to be said")

    def _realign(self, right: int, word: int) -> None:
        """Go on after the Llama's word in the draft that is nearest to the mismatch; if none, after the mismatch."""
        missed = self.at + right
        places = [i for i in range(max(0, missed - BEFORE), missed + BEHIND) if self.draft[i : i + 1] == [word]]
        self.misses = 0 if right or places else self.misses + 1
        self.at = min(places, key=lambda i: abs(i - missed), default=missed) + 1
        if self.misses == MISSES:
            self.at = len(self.draft)


def _greedy(model: Any, rows: list[_Row], pad_id: int, ends: frozenset[int], max_new_tokens: int, tally: Tally) -> None:
    """Fill the answers of one batch."""
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    overhead = OVERHEAD.get(next(model.parameters()).device.type, OVERHEAD["cuda"])
    found, missed = RIGHT, WRONG
    width = _width(overhead / len(rows), found / (found + missed))
    pieces = [row.piece(width, max_new_tokens) for row in rows]
    out, mask, _ = read_prompts(model, [row.prompt for row in rows], pad_id, pieces)
    read = 0
    """Columns of this pass before its pieces: the word that was said last."""
    while True:
        words, close = _said(out.logits)
        right = []
        for place, (row, piece) in enumerate(zip(rows, pieces, strict=True)):
            tally.passes += 1
            before = len(row.answer)
            for k in range(len(piece) + 1):
                if close[place][k]:
                    tally.passes += 1
                    words[place][k] = _alone(model, row.prompt + row.answer + piece[:k], pad_id)
                if words[place][k] != [*piece, None][k]:
                    break
            told = piece or row.draft[row.at : row.at + 1]  # one that is not read is compared with what is said
            right.append(row.take(piece, words[place], ends, max_new_tokens))
            same = right[-1] if piece else int(told == words[place][:1])
            found, missed = found + same, missed + (same < len(told))
            tally.words += len(row.answer) - before + (row.ended and len(row.answer) < max_new_tokens)
        kept = [place for place, row in enumerate(rows) if not row.ended]
        if not kept:
            return
        cache, mask = _kept(
            out.past_key_values, mask, kept, [read + right[place] for place in kept], read + max(map(len, pieces))
        )
        rows = [rows[place] for place in kept]
        width = _width(overhead / len(rows), found / (found + missed))
        pieces = [row.piece(width, max_new_tokens) for row in rows]
        ids, fed = right_padded([row.answer[-1:] + piece for row, piece in zip(rows, pieces, strict=True)], pad_id)
        positions = mask.sum(1, keepdim=True) + torch.arange(ids.shape[1], device=mask.device)
        mask = torch.cat([mask, fed.to(mask.device)], dim=1)
        out = llama(
            input_ids=ids.to(mask.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        read = 1


def _width(overhead: float, right: float) -> int:
    """How many words of a draft a pass had best read: with the most new words for what a pass takes.

    overhead: that of a pass in words, for each row; right: the share of words of drafts that is right. A row gets
    1 + right + right² + … new words. A large batch takes as long as its words, wrong ones included, so it reads few.
    """
    new, next_one, best = 0.0, 1.0, []
    for width in range(PIECE + 1):
        new, next_one = new + next_one, next_one * right
        best.append(new / (overhead + 1 + width))
    return best.index(max(best))


def _said(logits: torch.Tensor) -> tuple[list[list[int]], list[list[bool]]]:
    """The likeliest word at each place of logits (B, K, V), and whether that is a close call."""
    values, words = logits.topk(2, dim=-1)  # (B, K, 2)
    close = values[..., 0] - values[..., 1] < (TIE if logits.dtype == torch.float32 else 0.0)
    return words[..., 0].tolist(), close.tolist()


def _alone(model: Any, row: list[int], pad_id: int) -> int:
    """The likeliest next word where the row is read alone and from its beginning."""
    out, _, _ = read_prompts(model, [row], pad_id)
    return int(out.logits[0, -1].argmax())


def _kept(cache: Any, mask: torch.Tensor, rows: list[int], right: list[int], columns: int) -> tuple[Any, torch.Tensor]:
    """Cache and mask (B, L) of the rows that go on: of the last `columns`, each row keeps as many as were right, and
    columns that no row keeps are dropped."""
    if len(rows) < len(mask):
        places = torch.tensor(rows, device=mask.device)
        cache.batch_select_indices(places)
        mask = mask[places]
    seen = torch.tensor(right, device=mask.device)[:, None] > torch.arange(columns, device=mask.device)
    mask = torch.cat([mask[:, : mask.shape[1] - columns], seen.to(mask.dtype)], dim=1)
    unseen = columns - max(right)
    if unseen:
        cache.crop(-unseen)
        mask = mask[:, :-unseen]
    return cache, mask


def read_prompts(
    model: Any, rows: list[list[int]], pad_id: int, pieces: Sequence[list[int]] = ()
) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The Llama's output after prompts, with logits (B, 1, V) and a KV cache; their mask and positions (B, L).

    Prompts are padded on the left, after what all begin with. pieces: words to read after each prompt, padded on the
    right to K; then there are logits (B, 1 + K, V).
    """
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    cache, shared = beginning(model, rows)
    embeddings, mask = prompt_embeddings(model, [row[shared:] for row in rows], pad_id)  # (B, L, D), (B, L)
    mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)  # (B, L)
    longest = max(map(len, pieces), default=0)
    if longest:
        ids, fed = right_padded([list(piece) for piece in pieces], pad_id)
        embeddings = torch.cat([embeddings, llama.get_input_embeddings()(ids.to(mask.device))], dim=1)
        mask = torch.cat([mask, fed.to(mask.device)], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # (B, L)
    out = llama(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions[:, shared:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1 + longest,
    )
    return out, mask, positions


def beginning(model: Any, rows: list[list[int]]) -> tuple[Any, int]:
    """Keys and values of what all rows begin with, for each row, and its length: 0 if it is short, or if virtual tokens
    come first."""
    columns = zip(*(row[:-1] for row in rows), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda ids: len(set(ids)) == 1, columns))
    if _virtual(model) or len(rows) == 1 or shared < SHARED:
        return None, 0
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    ids = torch.tensor([rows[0][:shared]], device=model.device)
    cache = llama(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_repeat_interleave(len(rows))
    return cache, shared


def _virtual(model: Any) -> int:
    """How many virtual tokens come before a prompt: none without prompt tuning, or where that is switched off."""
    if not isinstance(model, PeftModel) or not model.active_peft_config.is_prompt_learning or model._adapters_disabled:
        return 0
    return int(model.active_peft_config.num_virtual_tokens)


def prompt_embeddings(model: Any, rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (B, L, D) and mask (B, L) of prompts padded on the left, with virtual tokens right before each."""
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    count = _virtual(model)
    ids, mask = left_padded([[pad_id] * count + row for row in rows], pad_id)
    ids, mask = ids.to(model.device), mask.to(model.device)
    embeddings = llama.get_input_embeddings()(ids)  # (B, L, D)
    if count:
        first = ids.shape[1] - mask.sum(1, keepdim=True)  # (B, 1)
        at = first + torch.arange(count, device=ids.device)  # (B, count)
        prompts = model.get_prompt(batch_size=len(rows)).to(embeddings.dtype)  # (B, count, D)
        embeddings = embeddings.scatter(1, at[..., None].expand_as(prompts), prompts)
    return embeddings, mask


def check_generation(config: GenerationConfig | None, options: dict[str, Any]) -> None:
    """Raise ValueError for `encoder_repetition_penalty`, which indexes the logits with the speech ids and crashes.

    The repetition and n-gram penalties are safe.
    """
    asked = options.get("encoder_repetition_penalty", config and config.encoder_repetition_penalty)
    if asked not in (None, 1.0):
        raise ValueError(
            f"encoder_repetition_penalty is {asked}, expected 1.0: speech ids have no logits; "
            "use repetition_penalty or no_repeat_ngram_size"
        )


def by_length(
    lengths: Sequence[int], batch_size: int, words: int, scored: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Numbers of rows of like length, at most `batch_size` at once, and no more than have logits in LOGITS_BYTES.

    scored: how many places of each row have logits; by default all.
    """
    batch: list[int] = []
    most = 0
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        most = max(most, (scored or lengths)[i])
        if batch and (len(batch) == batch_size or 4 * (len(batch) + 1) * most * words > LOGITS_BYTES):
            yield batch
            batch, most = [], (scored or lengths)[i]
        batch.append(i)
    if batch:
        yield batch


def left_padded(rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask (B, L), padded on the left."""
    return _padded(rows, pad_id, "left")


def right_padded(rows: list[list[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask (B, L), padded on the right."""
    return _padded(rows, pad_id, "right")


def _padded(rows: list[list[int]], pad_id: int, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=side)
    return pad_sequence(ids, batch_first=True, padding_value=pad_id, padding_side=side), mask  # (B, L), (B, L)
