"""Log-probabilities of continuations, of which several follow one prompt and are read as a tree.

The prompt is read once for all of them, and so is what several begin with: each word sees the prompt and the words
before it in its own continuation (tree attention, as of drafts in SpecInfer, arXiv 2305.09781).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel

from posttrain.machine.device import progress
from posttrain.model.decoding import by_length, read_prompts

MOST = 16
"""Continuations in a tree."""


@torch.no_grad()
def log_likelihoods(
    model: Any, rows: Sequence[list[int]], spans: Sequence[tuple[int, int]], pad_id: int, batch_size: int
) -> list[tuple[torch.Tensor, bool]]:
    """For each row of ids, of the tokens in its span after what is before it: log-probabilities in nats, float32 (L,),
    and whether each token is the likeliest one.

    A span begins at 1 or later. Rows that follow each other and are the same before their spans share a tree;
    `batch_size`: trees at once.
    """
    same = itertools.groupby(range(len(rows)), key=lambda i: rows[i][: spans[i][0]])
    runs = [list(numbers) for _, numbers in same]
    groups = [run[first : first + MOST] for run in runs for first in range(0, len(run), MOST)]
    prompts = [rows[group[0]][: spans[group[0]][0]] for group in groups]
    trees = [Tree.of([rows[i][slice(*spans[i])] for i in group]) for group in groups]
    found: dict[int, tuple[torch.Tensor, bool]] = {}
    training = model.training
    model.eval()
    nodes = [1 + len(tree.words) for tree in trees]
    lengths = [len(prompt) + count for prompt, count in zip(prompts, nodes, strict=True)]
    with progress(len(rows), "scoring", "text") as bar:
        for batch in by_length(lengths, batch_size, model.config.vocab_size, nodes):
            of_batch = _read(model, [prompts[i] for i in batch], [trees[i] for i in batch], pad_id)
            for number, of_tree in zip(batch, of_batch, strict=True):
                found.update(zip(groups[number], of_tree, strict=True))
                bar.update(len(groups[number]))
    model.train(training)
    return [found[i] for i in range(len(rows))]


def _read(
    model: Any, prompts: list[list[int]], trees: "list[Tree]", pad_id: int
) -> list[list[tuple[torch.Tensor, bool]]]:
    """For each tree after its prompt, the log-probabilities of each sequence, and whether greedy decoding gives it."""
    llama = model.get_base_model() if isinstance(model, PeftModel) else model
    out, mask, at = read_prompts(model, prompts, pad_id)
    first, logits = out.logits.float(), out.logits[:, :0].float()  # (B, 1, V), after the prompt; (B, N, V)
    totals, likeliest = first.logsumexp(-1), first.argmax(-1)  # (B, 1 + N): after it, and after each node
    size = max(len(tree.words) for tree in trees)
    if size:
        words, depths = torch.full((len(trees), size), pad_id), torch.zeros(len(trees), size, dtype=torch.long)
        sees = torch.zeros(len(trees), size, size, dtype=torch.bool)
        for row, tree in enumerate(trees):
            count = len(tree.words)
            words[row, :count], depths[row, :count] = torch.tensor(tree.words), torch.tensor(tree.depths)
            sees[row, :count, :count] = tree.ancestors()
        sees |= torch.eye(size, dtype=torch.bool)  # padding sees itself, so that no row is empty
        words, depths, sees = (tensor.to(mask.device) for tensor in (words, depths, sees))
        seen = torch.cat([mask.bool()[:, None].expand(-1, size, -1), sees], -1)[:, None]  # (B, 1, N, L + N)
        hidden = torch.zeros(seen.shape, dtype=out.logits.dtype, device=mask.device)
        after = llama(
            input_ids=words,
            attention_mask=hidden.masked_fill(~seen, torch.finfo(out.logits.dtype).min),
            position_ids=at[:, -1:] + 1 + depths,
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        logits = after.logits.float()
        totals = torch.cat([totals, logits.logsumexp(-1)], 1)
        likeliest = torch.cat([likeliest, logits.argmax(-1)], 1)
    found = []
    for row, tree in enumerate(trees):
        of_tree = []
        for path in tree.paths:
            nodes, said = [node for node, _ in path], [word for _, word in path]
            own = torch.cat([first[row, 0, said[:1]], logits[row, [node - 1 for node in nodes[1:]], said[1:]]])
            of_tree.append((own - totals[row, nodes], likeliest[row, nodes].tolist() == said))
        found.append(of_tree)
    return found


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
        """The tree of these sequences."""
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
