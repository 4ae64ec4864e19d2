"""Labelled answers from CSV: what is read, and what is refused with its line."""

import pytest

from posttrain.errors import InputError
from posttrain.evals.safety import labelled_answers

HEADER = "prompt,completion,final_label\n"


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "answers.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_rows_are_read_whole_with_line_breaks_and_other_columns_are_ignored(tmp_path):
    text = 'id,final_label,prompt,completion\r\n1,2_full_refusal, why? ,"No.\n\nNever, ""ever""."\r\n'
    [answer] = labelled_answers.read(write(tmp_path, text, "utf-8-sig"))
    assert (answer.prompt, answer.completion) == ("why?", 'No.\n\nNever, "ever".')
    assert answer.is_refusal


def test_an_empty_completion_is_kept(tmp_path):
    [answer] = labelled_answers.read(write(tmp_path, HEADER + "why?,,1_full_compliance\n"))
    assert answer.completion == "" and not answer.is_refusal


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "answers.csv has no rows"),
        ("\n", "answers.csv has no rows"),
        (HEADER, "answers.csv has no rows"),
        ("prompt,answer\na,b\n", "answers.csv:1: no column completion, final_label among prompt, answer"),
        (HEADER + 'a,"b\nc",4_maybe\n', "answers.csv:2: final_label is '4_maybe', expected one of 1_full_compliance"),
        (HEADER + "a,b,\n", "answers.csv:2: final_label is ''"),
        (HEADER + '"a\na",b,2_full_refusal\n,b,2_full_refusal\n', "answers.csv:4: prompt is empty"),
        (HEADER + "a,b,c,2_full_refusal\n", "answers.csv:2: 4 cells, expected 3"),
        (HEADER + 'a,"b,2_full_refusal\n', "answers.csv:2: not CSV from this line on"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, named, tmp_path):
    with pytest.raises(InputError) as error:
        labelled_answers.read(write(tmp_path, text))
    [problem] = error.value.problems
    assert named in problem


@pytest.mark.parametrize("cell", ['"so\n,b,2_full_refusal\nc"', '"a,2_full_refusal\nb"'])
def test_a_row_that_a_quote_swallowed_is_found(tmp_path, cell):
    with pytest.raises(InputError, match=r"answers\.csv:2: the cell .* holds the end of a row"):
        labelled_answers.read(write(tmp_path, HEADER + f"why?,{cell},2_full_refusal\n"))


def test_every_bad_row_is_listed(tmp_path):
    with pytest.raises(InputError) as error:
        labelled_answers.read(write(tmp_path, HEADER + "a,b,x\n,b,y\n"))
    assert len(error.value.problems) == 3


def test_what_cannot_be_read_is_refused(tmp_path):
    for path in (write(tmp_path, "prompt,ü\n", "latin-1"), tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match=r"cannot be read|not found"):
            labelled_answers.read(path)
