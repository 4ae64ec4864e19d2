"""The train, valid or test split of a text: determined by its words, so that no seed changes it."""

from collections.abc import Sequence

from posttrain.files import content_hash


def fraction(text: str) -> float:
    """A fixed number in [0, 1), hashed from the text."""
    return int(content_hash(text)[:16], 16) / 2**64


def split_of(text: str, test: float = 0.15, valid: float = 0.05) -> str:
    """train, valid or test, for texts drawn from an open grammar."""
    place = fraction(text)
    return "test" if place < test else "valid" if place < test + valid else "train"


def may_hold(split: str, text: str, test: float = 0.15) -> bool:
    """Whether a text of `split` may contain this one, as a sentence or as an answer: training may contain nothing of
    validation or test, and validation nothing of test."""
    return split_of(text, test) in {"train": ("train",), "valid": ("train", "valid")}.get(
        split, ("train", "valid", "test")
    )


def hold_out(wordings: Sequence[str], test: int, valid: float = 0.25) -> dict[str, str]:
    """Split of each wording of one content: `test` of them held out and at least one for training, so that the content
    can be learned but the wording is new."""
    if not 0 <= test < len(wordings):
        raise ValueError(f"test is {test}, expected 0 to {len(wordings) - 1} of {len(wordings)} wordings; add wordings")
    ranked = sorted(wordings, key=fraction)
    splits = dict.fromkeys(ranked[:test], "test")
    for place, text in enumerate(ranked[test:]):
        splits[text] = "valid" if place and fraction("valid " + text) < valid else "train"
    return splits


def divide(wordings: Sequence[str], test: int, valid: int) -> dict[str, str]:
    """Split of each wording of one content, exactly `test` and `valid` held out: all contents are equally frequent."""
    if not 0 <= test + valid < len(wordings):
        raise ValueError(
            f"test and valid are {test} and {valid}, expected less than {len(wordings)} wordings together; add wordings"
        )
    splits = ["test"] * test + ["valid"] * valid + ["train"] * (len(wordings) - test - valid)
    return dict(zip(sorted(wordings, key=fraction), splits, strict=True))
