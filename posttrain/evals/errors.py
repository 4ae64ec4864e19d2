"""Word and character errors of one hypothesis."""

from functools import cache

import jiwer
from whisper_normalizer.english import EnglishTextNormalizer

from posttrain.corpus.normalise import normalise
from posttrain.corpus.vocabulary import is_critical


def edit_errors(reference: str, hypothesis: str) -> dict[str, int]:
    """Levenshtein errors and reference lengths, in words and characters, after normalising both texts.

    `critical_errors` counts the critical words (numbers, names, negations) that were lost or replaced, not insertions.
    """
    reference, hypothesis = normalise(reference), normalise(hypothesis)
    words = jiwer.process_words(reference, hypothesis)
    chars = jiwer.process_characters(reference, hypothesis)
    said = reference.split()
    wrong = _lost(words, said)
    return {
        "errors": words.substitutions + words.deletions + words.insertions,
        "words": len(said),
        "char_errors": chars.substitutions + chars.deletions + chars.insertions,
        "chars": len(reference),
        "critical_errors": sum(map(is_critical, wrong)),
        "critical_words": sum(map(is_critical, said)),
    }


def open_asr_errors(reference: str, hypothesis: str) -> dict[str, int]:
    """Word errors as the Open ASR leaderboard counts them: both texts through Whisper's English normaliser.

    reference: as its authors write it. Empty if nothing is left of the reference.
    """
    reference, hypothesis = _whisper()(reference), _whisper()(hypothesis)
    if not reference:
        return {}
    words = jiwer.process_words(reference, hypothesis)
    errors = words.substitutions + words.deletions + words.insertions
    return {"open_asr_errors": errors, "open_asr_words": len(reference.split())}


@cache
def _whisper() -> EnglishTextNormalizer:
    return EnglishTextNormalizer()


def lost_words(reference: str, hypothesis: str) -> list[str]:
    """Words of the reference that the hypothesis drops or replaces, after normalising both."""
    reference = normalise(reference)
    return _lost(jiwer.process_words(reference, normalise(hypothesis)), reference.split())


def _lost(words: jiwer.WordOutput, said: list[str]) -> list[str]:
    return [
        said[i]
        for chunk in words.alignments[0]
        if chunk.type in ("substitute", "delete")
        for i in range(chunk.ref_start_idx, chunk.ref_end_idx)
    ]
