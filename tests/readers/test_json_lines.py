"""JSON lines end at line ends alone, and everything that is not one is named."""

import pytest

from posttrain.readers import json_lines


def read(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = []
    return list(json_lines.each(path, "a file of JSON lines", problems)), problems


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c", "\x1e"])
def test_a_line_ends_at_a_line_end_alone(tmp_path, separator):
    inside = separator if separator > "\x20" else f"\\u{ord(separator):04x}"
    found, problems = read(tmp_path, f'{{"text": "one{inside}two"}}\n{{"text": "three"}}\n')
    assert [(n, o["text"]) for n, o in found] == [(1, f"one{separator}two"), (2, "three")] and not problems


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_mark_and_blank_lines_are_skipped_and_counted(tmp_path, end):
    found, problems = read(tmp_path, "\ufeff" + end.join(['{"a": 1}', "", '{"a": 2}', "  ", ""]))
    assert [number for number, _ in found] == [1, 3] and not problems


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"not json", "is not a JSON object"),
        (b"[1]", "it is a list"),
        (b"3", "it is a int"),
        (b'{"a": 1} {"a": 2}', "Extra data"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there more than once"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b'"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": "x\\u0000y"}', "NUL"),
        (b'{"a": "x\0y"}', "NUL byte at character 9"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"a": "caf\xe9"}', "byte 0xE9"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_each_bad_line_is_named_and_the_good_ones_are_read(tmp_path, line, named):
    found, problems = read(tmp_path, b'{"a": 0}\n' + line + b'\n{"a": 3}\n')
    assert [number for number, _ in found] == [1, 3]
    assert len(problems) == 1 and "line 2" in problems[0] and named in problems[0]


@pytest.mark.parametrize("text", ['{\n "a": 1\n}\n', '[\n{"a": 1},\n{"a": 2}\n]\n'])
def test_one_document_over_several_lines_is_named_as_such(tmp_path, text):
    _, (problem,) = read(tmp_path, text)
    assert "one JSON document over several lines" in problem


def test_utf16_a_folder_and_a_missing_file_are_named(tmp_path):
    assert "UTF-16" in read(tmp_path, '{"a": 1}\n'.encode("utf-16"))[1][0]
    for path, named in ((tmp_path, "is a folder"), (tmp_path / "none.jsonl", "not found")):
        problems = []
        assert list(json_lines.each(path, "a file of JSON lines", problems)) == [] and named in problems[0]
