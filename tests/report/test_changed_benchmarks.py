"""Items of public benchmarks whose chosen answer changed are shown with what was asked and, if known, what is right."""

from posttrain.report.changes import Transition, changed

ASKED = "Question: Where is the door?\nAnswer:"


def item(number: int, output: str, score: float, text: str = ASKED) -> dict:
    """A line as a ranking of continuations writes it: without instruction and right answer."""
    about = {"id": f"benchmark/piqa/{number}", "probe": "benchmark/piqa", "text": text, "content": "the door"}
    return about | {"output": output, "score": score}


def test_a_changed_choice_is_shown_with_the_question_and_the_right_answer():
    old = [item(1, "There.", 1.0), item(2, "Here.", 0.0), item(3, "No.", 0.0, text=""), item(4, "Same.", 1.0)]
    new = [item(1, "Gone.", 0.0), item(2, "Up.", 1.0), item(3, "Yes.", 0.0, text=""), item(4, "Same.", 1.0)]
    [found] = changed(Transition("sft", {False: "base", True: "ctc"}, "sft", old, new), 9)
    assert (found.n, found.lost, found.won) == (4, 1, 1)
    lost, won, other = found.shown
    assert (lost.asked, lost.gold, lost.before, lost.after) == (ASKED, "There.", "There.", "Gone.")
    assert won.gold == "Up." and (other.asked, other.gold) == ("the door", "")
