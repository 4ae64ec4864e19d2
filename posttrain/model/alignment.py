"""Whether speech embeddings are close to those of the same words, in order (Fathullah et al. 2023, section 4)."""

import jiwer
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from posttrain.corpus.instructions import PAUSE
from posttrain.corpus.normalise import normalise
from posttrain.corpus.types import Example
from posttrain.model.speech_llama import SpeechLlama
from posttrain.model.tokenizer import SpeechTokenizer


@torch.no_grad()
def alignment(llama: SpeechLlama, examples: list[Example], limit: int = 100) -> dict[str, float]:
    """Cosine and monotonicity, each also for another clip's words, and a WER, over the first `limit` clips.

    `cosine`: mean over text tokens of the largest cosine similarity with a speech token. `monotonicity`: mean Spearman
    correlation between a text token's place and the place of its most similar speech token (1 = in order).
    `nearest_words_wer`: WER of the words whose embeddings are nearest to the speech tokens, collapsed as in CTC.
    Deviation: 1. The paper shows similarity matrices (`similarity`); these numbers summarise them.
    """
    speech, text, said, read = [], [], [], []
    for example in [e for e in examples if len(e.text.split()) > 2][:limit]:
        spoken, typed = _embeddings(llama, example)
        speech.append(spoken)
        text.append(typed)
        said.append(example.text)
        read.append(nearest_words(llama, spoken))
    if not speech:
        return {}
    matched = [_pair(s, t) for s, t in zip(speech, text, strict=True)]
    shifted = [_pair(s, t) for s, t in zip(speech, text[1:] + text[:1], strict=True)]
    cosine, order = np.nanmean(matched, axis=0)
    chance_cosine, chance_order = np.nanmean(shifted, axis=0)
    return {
        "alignment/cosine": round(float(cosine), 4),
        "alignment/cosine_other_words": round(float(chance_cosine), 4),
        "alignment/monotonicity": round(float(order), 4),
        "alignment/monotonicity_other_words": round(float(chance_order), 4),
        "alignment/nearest_words_wer": round(jiwer.wer(said, read), 4),
        "alignment/n": len(matched),
    }


@torch.no_grad()
def similarity(llama: SpeechLlama, example: Example) -> torch.Tensor:
    """Cosine of every text token of the clip's words with every speech token of the clip. # (L, N)"""
    speech, text = _embeddings(llama, example)
    return _cosine(text, speech)


def pause_id(tokenizer: SpeechTokenizer) -> int:
    """The Llama's token for a written pause, used for speech tokens that add no word."""
    return tokenizer.word_ids(PAUSE)[-1]


def nearest_words(llama: SpeechLlama, speech: torch.Tensor) -> str:
    """Speech tokens (N, D) → the words nearest by cosine, with repeats collapsed and pauses left out."""
    words = F.normalize(llama.model.get_input_embeddings().weight.float(), dim=-1)  # (V, D)
    nearest = (F.normalize(speech, dim=-1) @ words.T).argmax(-1).unique_consecutive()
    kept = nearest[nearest != pause_id(llama.tokenizer)].tolist()
    return normalise(llama.tokenizer.decode(kept, skip_special_tokens=True))


def _pair(speech: torch.Tensor, text: torch.Tensor) -> tuple[float, float]:
    cosine = _cosine(text, speech)  # (L, N)
    best, where = cosine.max(dim=-1)
    order = spearmanr(np.arange(len(text)), where.cpu().numpy()).statistic if where.unique().numel() > 1 else 0.0
    return best.mean().item(), float(order)


def _embeddings(llama: SpeechLlama, example: Example) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of the clip's speech tokens (N, D) and of its words (L, D), as the Llama receives them."""
    embed, device = llama.model.get_input_embeddings(), llama.model.device
    spoken = torch.tensor(llama.tokenizer.clip_ids(example.clip or ""), device=device)  # (N,)
    typed = torch.tensor(llama.tokenizer.word_ids(example.text), device=device)  # (L,)
    return embed(spoken).float(), embed(typed).float()


def _cosine(text: torch.Tensor, speech: torch.Tensor) -> torch.Tensor:
    return F.normalize(text, dim=-1) @ F.normalize(speech, dim=-1).T  # (L, N)
