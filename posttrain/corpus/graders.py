"""How an answer is graded: pure functions (answer, example) → [0, 1], 1 is right."""

import json
from collections.abc import Callable

from posttrain.corpus.normalise import normalise
from posttrain.corpus.requests import HELP, problem_of
from posttrain.corpus.tasks import ABSTENTION
from posttrain.corpus.types import Example, Pair
from posttrain.corpus.vocabulary import is_critical


def grade(name: str, answer: str, example: Example | Pair) -> float:
    """The grade of an answer by the grader of that name; ValueError with the known names for another."""
    if name not in GRADERS:
        raise ValueError(f"grader of {example.id} is {name}, expected one of {', '.join(sorted(GRADERS))}")
    gold = example.chosen if isinstance(example, Pair) else example.answer
    return float(GRADERS[name](answer, gold, example.text))


def edits(reference: list[str], hypothesis: list[str]) -> int:
    """Word edit distance: substitutions + deletions + insertions."""
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1]


def critical_words(reference: str, hypothesis: str) -> dict[str, int]:
    """`critical_words` of the reference and the `critical_errors` among them: word edits between the critical words of
    both (numbers, names, negations), in order."""
    said, heard = ([word for word in _words(text) if is_critical(word)] for text in (reference, hypothesis))
    return {"critical_words": len(said), "critical_errors": edits(said, heard)}


def is_refusal(answer: str) -> bool:
    """Whether the answer declines: it must say so; an empty answer does not."""
    words = normalise(answer)
    return any(start in words for start in ("can not help with that", "cannot help with that", "can't help with that"))


def is_abstention(answer: str) -> bool:
    """Whether the answer says that no words were heard; an empty answer does not."""
    return normalise(answer) == normalise(ABSTENTION)


def is_plain(answer: str, complaint: str) -> bool:
    """Whether the answer is advice on that complaint in the plain style: at most ten words, all of them plain, at least
    half of those expected."""
    words = normalise(answer).split()
    problem = problem_of(complaint)
    if problem is None or not 2 <= len(words) <= 10 or _JARGON & set(words):
        return False
    return _overlap(words, normalise(HELP[problem][0]).split()) >= 0.5


def _words(text: str) -> list[str]:
    return normalise(text).split()


def _exact(answer: str, gold: str, _: str) -> float:
    """Same words; numbers in digits count as words."""
    return _words(answer) == _words(gold)


def _json(answer: str, gold: str, _: str) -> float:
    """Equal as JSON values: key order and spaces do not matter, one wrong value does."""
    try:
        return json.loads(answer) == json.loads(gold)
    except json.JSONDecodeError:
        return 0.0


def _wer(answer: str, gold: str, _: str) -> float:
    """1 − min(1, WER)."""
    reference = _words(gold)
    if not reference:
        return float(not _words(answer))
    return 1 - min(1.0, edits(reference, _words(answer)) / len(reference))


def _abstain(answer: str, gold: str, text: str) -> float:
    """With nothing audible: says so. With words: does not say so."""
    return is_abstention(answer) == (not text)


def _refusal(answer: str, gold: str, _: str) -> float:
    return is_refusal(answer)


def _helpful(answer: str, gold: str, _: str) -> float:
    """Neither empty nor a refusal, and at least half of the expected words."""
    return not is_refusal(answer) and _overlap(_words(answer), _words(gold)) >= 0.5


def _style(answer: str, gold: str, text: str) -> float:
    return is_plain(answer, text)


def _advice(answer: str, gold: str, text: str) -> float:
    """Advice on the complaint, in whichever style."""
    expected = HELP.get(problem_of(text) or "", ())
    return any(_overlap(_words(answer), _words(advice)) >= 0.5 for advice in expected)


def _overlap(words: list[str], expected: list[str]) -> float:
    return len(set(words) & set(expected)) / len(set(expected)) if expected else 0.0


GRADERS: dict[str, Callable[[str, str, str], float]] = {
    "exact": _exact,
    "json": _json,
    "wer": _wer,
    "abstain": _abstain,
    "refusal": _refusal,
    "helpful": _helpful,
    "style": _style,
    "advice": _advice,
}
_JARGON = frozenset(w for _, jargon in HELP.values() for w in _words(jargon)) - frozenset(
    w for plain, _ in HELP.values() for w in _words(plain)
)
