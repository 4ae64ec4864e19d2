"""What can be read aloud: one short sentence, letters alone."""

import re

from posttrain.corpus.normalise import normalise

FEWEST = 3
_LETTERS = re.compile(r"[A-Za-z][A-Za-z' ,]*[.?!]?")


def aloud(line: str, most: int = 16) -> str:
    """The normalised words of a line that can be read aloud, FEWEST to `most` of them; else nothing."""
    line = line.strip()
    words = normalise(line) if _LETTERS.fullmatch(line) else ""
    return words if FEWEST <= len(words.split()) <= most else ""
