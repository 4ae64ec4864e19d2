"""The one reader of tables: what it accepts, what it refuses, and that nobody has another."""

import re
from pathlib import Path

import pytest

from posttrain.readers import tables

ROOT = Path(__file__).parent.parent.parent


def read(tmp_path, content, name="t.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = []
    rows = tables.read(path, [("a", "b")], problems, **options)
    return [(row.line, tuple(row.cells.values())) for row in rows], problems


def test_rows_have_the_line_that_they_begin_on(tmp_path):
    text = 'a,b\n1,"x, y"\n\n2,"say ""hi"""\n , "spaces" \n3,"two\nlines"\n4,z'
    rows, problems = read(tmp_path, text, multiline=True)
    assert rows == [
        (2, ("1", "x, y")), (4, ("2", 'say "hi"')), (5, ("", "spaces")), (6, ("3", "two\nlines")), (8, ("4", "z"))
    ] and not problems  # fmt: skip


def test_cells_are_kept_as_written_where_that_is_asked(tmp_path):
    rows, _ = read(tmp_path, "a,b\n 1 , 2 \n", as_written=("b",))
    assert rows == [(2, ("1", " 2 "))]


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("a,b\n1,2,\n", 2, "3 cells, expected 2"),
        ("a,b\n1\n", 2, "1 cells, expected 2"),
        ("a,b,\n1,2,\n", 1, "column 3 has no name"),
        ("a,b,B\n1,2,3\n", 1, "column b is there 2 times"),
        ("a,c\n1,2\n", 1, "no column b among a, c; expected a,b"),
        ("1,2\n3,4\n", 1, "no column a, b among 1, 2"),
        ("x;y\n1;2\n", 1, "seem to be separated by semicolons"),
        ("# remark\na,b\n1,2\n", 1, "is a comment, expected the header"),
        ("sep=;\na;b\n1;2\n", 1, "is a hint for Excel"),
        ("a;b\n1;2\n", 1, "separated by semicolons"),
        ('"a";"b"\n"1";"2"\n', 1, "separated by semicolons"),
        ('"a"\t"b"\n"1"\t"2"\n', 1, "separated by tabs"),
        ('a,b\n"1";"2"\n', 2, "separated by semicolons"),
        ("a|b\n1|2\n", 1, "separated by vertical bars"),
        ("a\tb\n1\t2\n", 1, "name the file .tsv"),
        ('a,"b\n1,2\n', 1, "the quote that opens here is never closed"),
        ('a,b\n"1\n2",3\n', 2, "the next quote is on line 3"),
        ('a,b\n1,2"\n', 2, "a quote inside a cell"),
        ('a,b\n"1"2,3\n', 2, "text follows a closing quote"),
        ('a,b\n"1""",""2"\n', 2, "text follows a closing quote"),
        (b"a,b\n1,\xe9\xe8\n", 2, "byte 0xE9"),
        (b"a,b\n1,\xff\n", 2, "byte 0xFF"),
        (b"a,b\n1,x\0\n", 2, "NUL byte"),
    ],
)
def test_what_is_wrong_is_named_by_line(tmp_path, text, line, named):
    _, problems = read(tmp_path, text)
    assert problems[0].startswith(f"{tmp_path}/t.csv:{line}: ") and named in problems[0]


@pytest.mark.parametrize(
    "kind",
    [b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0", b"\xff\xfe", b"\xfe\xff", b"RIFF", b"fLaC", b"OggS", bytes(9)],
)
def test_files_of_another_kind_are_named(tmp_path, kind):
    rows, (problem,) = read(tmp_path, kind + b"rest")
    assert not rows and "t.csv cannot be read: it is" in problem


@pytest.mark.parametrize("path", ["none.csv", "a\0b.csv", "x" * 300, "."])
def test_a_file_that_cannot_be_opened_is_a_problem_not_a_traceback(tmp_path, path):
    problems = []
    assert tables.read(tmp_path / path, [("a",)], problems) == []
    assert re.search("cannot be read|not found", problems[0]) and problems[0].isprintable()


def test_all_problems_are_listed_by_line_and_the_good_rows_are_read(tmp_path):
    text = b'a,b\n1,2\n"3,4\n5,\xe9\n6\n7,8"\n9,10\n'
    rows, problems = read(tmp_path, text)
    assert rows == [(2, ("1", "2")), (7, ("9", "10"))]
    assert [re.search(r":(\d+): ", problem)[1] for problem in problems] == ["3", "4", "5", "6"]


def test_reading_goes_on_in_linear_time(tmp_path):
    rows, problems = read(tmp_path, "a,b\n" + "1,2\n" * 9_999 + '3,"\n' + "4,5\n" * 9_999)
    assert len(rows) == 19_998 and len(problems) == 1


def test_nothing_else_reads_tables_or_splits_lines_at_other_characters():
    """`csv` is there to write, and `str.splitlines` splits at U+2028, form feeds and more."""
    readers = re.compile(r"csv\.(reader|DictReader|Sniffer)|\bpandas\b|genfromtxt|loadtxt")
    splits = re.compile(r"\.splitlines\(\)")
    data = [*(ROOT / "posttrain" / part for part in ("corpus", "acoustics", "evals", "report"))]
    files = sorted((ROOT / "posttrain").rglob("*.py"))
    assert len(files) > 40
    assert [str(p) for p in files if readers.search(p.read_text())] == []
    of_data = [p for p in files if p.parent in data and p.name != "general_text.py"]  # a text of a fixed hash
    assert len(of_data) > 40 and [str(p) for p in of_data if splits.search(p.read_text())] == []
