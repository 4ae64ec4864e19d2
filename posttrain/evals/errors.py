"""Word and character errors of one hypothesis."""

import jiwer

from posttrain.corpus.normalise import normalise


def edit_errors(reference: str, hypothesis: str) -> dict[str, int]:
    """Levenshtein errors and reference lengths, in words and characters, both texts normalised alike."""
    reference, hypothesis = normalise(reference), normalise(hypothesis)
    words = jiwer.process_words(reference, hypothesis)
    chars = jiwer.process_characters(reference, hypothesis)
    return {
        "errors": words.substitutions + words.deletions + words.insertions,
        "words": len(reference.split()),
        "char_errors": chars.substitutions + chars.deletions + chars.insertions,
        "chars": len(reference),
    }
