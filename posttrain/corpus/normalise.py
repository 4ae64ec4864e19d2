"""What counts as text: lower-case words of a–z and apostrophe with single spaces, numbers as words."""

import re
import unicodedata

_words = str.split
ONES = _words(
    "zero one two three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
TENS = _words("zero ten twenty thirty forty fifty sixty seventy eighty ninety")
SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand"), (100, "hundred"))
NUMBER_WORDS = frozenset(ONES) | frozenset(TENS) | {name for _, name in SCALES}
_SYMBOLS = {"&": " and ", "%": " percent ", "+": " plus ", "=": " is ", "@": " at ", "’": "'", "‘": "'", "ʼ": "'"}
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})


def normalise(text: str) -> str:
    """The words of `text`; empty where it has no usable character, which callers must refuse or count.

    Accents are dropped, digits are read out (12 → twelve, 3.5 → three point five, 0704 → zero seven zero four).
    """
    for symbol, words in _SYMBOLS.items():
        text = text.replace(symbol, words)
    text = unicodedata.normalize("NFKD", text).lower().translate(_LETTERS)
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text)
    text = re.sub(r"(?<=[0-9])\.(?=[0-9])", " point ", text)
    text = re.sub(r"[0-9]+", lambda found: f" {_read_digits(found[0])} ", text)
    text = re.sub(r"[^a-z']+", " ", text)
    return " ".join(word for word in (w.strip("'") for w in text.split()) if word)


def number_words(number: int) -> str:
    """`number` (0 ≤ number < 10¹²) in words: 118 → one hundred eighteen."""
    if not 0 <= number < 10**12:
        raise ValueError(f"number is {number}, expected 0 to 999,999,999,999; read it out digit by digit")
    for scale, name in SCALES:
        if number >= scale:
            rest = number % scale
            return f"{number_words(number // scale)} {name}" + (f" {number_words(rest)}" if rest else "")
    if number < 20:
        return ONES[number]
    return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")


def _read_digits(digits: str) -> str:
    if len(digits) > 12 or (len(digits) > 1 and digits[0] == "0"):
        return " ".join(ONES[int(d)] for d in digits)
    return number_words(int(digits))
