"""Words that an enhancer is known to cost: read from the figures beside it, and said before a transcription."""

import json

import pytest

from posttrain.use.enhance import FIGURES, words_lost

LOST = {"value": 0.5, "delta_vs_without": 0.021, "delta_without_ci95": [0.01, 0.03]}
UNSURE = {"value": 0.5, "delta_vs_without": 0.021, "delta_without_ci95": [-0.01, 0.05]}
BROKEN = [
    None,
    "",
    "[1]",
    '{"metrics": []}',
    *(
        json.dumps({"wer_enhanced/clean": metric})
        for metric in (
            3,
            {"delta_without_ci95": 3, "delta_vs_without": 1},
            {"delta_without_ci95": [1, 2, 3], "delta_vs_without": 1},
            {"delta_without_ci95": [1, 2]},
            {"delta_without_ci95": ["a", "b"], "delta_vs_without": "c"},
        )
    ),
]
METRICS = {
    "wer_enhanced/clean": LOST,
    "wer_enhanced/snr0": UNSURE,
    "wer_real_enhanced/people": LOST,
    "encoder_wer_enhanced/clean": LOST,
    "wer_enhanced/snr5": {"value": 0.5},
}


@pytest.mark.parametrize(
    ("name", "content"), [(FIGURES, METRICS), ("metrics.json", {"stage": "x", "metrics": METRICS})]
)
def test_conditions_in_which_words_are_surely_lost_are_named(name, content, tmp_path):
    (tmp_path / name).write_text(json.dumps(content))
    assert words_lost(tmp_path) == ["clean +2.1 points [1.0, 3.0]", "people +2.1 points [1.0, 3.0]"]


@pytest.mark.parametrize("content", BROKEN)
def test_where_nothing_is_known_nothing_is_said(content, tmp_path):
    if content is not None:
        (tmp_path / FIGURES).write_text(content)
    assert words_lost(tmp_path) == []


def test_a_name_cannot_write_to_the_terminal(tmp_path):
    (tmp_path / FIGURES).write_text(json.dumps({"wer_enhanced/\u001b[2J": LOST}))
    assert words_lost(tmp_path) == ["\\x1b[2J +2.1 points [1.0, 3.0]"]
