"""Text normalisation: lower-case words of a–z and apostrophe with single spaces, written forms read out.

References, hypotheses and training texts all go through `normalise`. Texts from users go through `read_out`,
which also rejects what has no reading, or several.
"""

import re
import unicodedata

from posttrain.corpus.written_forms import abbreviated, ambiguous, cardinal, spelled_out

_words = str.split
NUMBER_WORDS = frozenset(
    _words(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million"
        " billion"
    )
)
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h", "ŋ": "ng"}
)
_PUNCTUATION = frozenset('.,;:!?"()-_/\\…«»“”„‚‹›¿¡•·‧*、。') | frozenset("'")
"""Written but not spoken. Square, curly and angle brackets are not included: they hold remarks, not words."""
_PLAIN = re.compile(r"(?:[a-zA-Z' ]|[.,?!;:](?= |$))*")
"""Words and the punctuation after them."""


def normalise(text: str) -> str:
    """The words of `text`; empty when it has no usable character, which callers must refuse or count.

    Accents are dropped; numbers, times, money, units and abbreviations are read out ($5.50 → five dollars fifty cents,
    0704 → zero seven zero four). What cannot be read is left out: use `read_out` for texts that must be right.
    """
    if not _PLAIN.fullmatch(text) or abbreviated(text):
        text = _letters(spelled_out(text))
    text = re.sub(r"[^a-z']+", " ", text.lower())
    words = text.split()
    if "'" in text:
        words = [word for word in (w.strip("'") for w in words) if word]
    return " ".join(words)


def read_out(text: str) -> str:
    """`normalise`, but ValueError names every part that cannot be read, or that can be read in several ways."""
    wrong = unreadable(text)
    if wrong:
        raise ValueError(
            f"text has {', '.join(map(repr, wrong))}, which cannot be read out; write the words that are said"
        )
    return normalise(text)


def unreadable(text: str) -> list[str]:
    """The parts of `text` that `normalise` would leave out or has to guess: other scripts, emoji, remarks, dates."""
    found = ambiguous(text)
    if _left_over(text):
        alone = [word for word in text.split() if _left_over(word)]
        found += alone or sorted(_left_over(text))
    return list(dict.fromkeys(found))


def number_words(number: int) -> str:
    """`number` (0 ≤ number < 10¹²) in words: 118 → one hundred eighteen."""
    if not 0 <= number < 10**12:
        raise ValueError(f"number is {number}, expected 0 to 999,999,999,999; read it out digit by digit")
    return cardinal(number)


def _letters(text: str) -> str:
    """Lower case without accents."""
    text = unicodedata.normalize("NFKD", text).lower().translate(_LETTERS)
    return "".join(c for c in text if not unicodedata.combining(c))


def _left_over(text: str) -> set[str]:
    """Characters that are neither words nor punctuation once everything is read out."""
    if _PLAIN.fullmatch(text):
        return set()
    return {
        c
        for c in _letters(spelled_out(text))
        if not ("a" <= c <= "z" or c.isspace() or c in _PUNCTUATION or unicodedata.category(c) in ("Cf", "Mn"))
    }
