"""Lines are read one at a time and are the same as those of the whole file, packed or not."""

import gzip

import pytest

from posttrain.readers import text_files, text_lines


def read(path, **options):
    problems = []
    return list(text_lines.read(path, "a file of lines", problems, **options)), problems


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_lines_are_numbered_as_in_the_whole_file_wherever_blocks_end(tmp_path, monkeypatch, end, block):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", max(block, 4))  # a character has up to four bytes, a mark three
    text = end.join(["first é日😀", "", "  ", "x\u2028y", "last"])
    path = tmp_path / "a.txt"
    path.write_bytes(("\ufeff" + text).encode())
    whole = [(n, line) for n, line in enumerate(text_files.LINE_END.split(text), 1) if line.strip()]
    found, problems = read(path)
    assert [(n, line) for n, line, _ in found] == whole and not problems and not any(bad for *_, bad in found)


def test_bad_characters_are_told_with_their_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\ncaf\xe9\na\0b\nlost \xef\xbf\xbd\n")
    found, _ = read(path)
    assert [bad and bad.split(" at ")[0] for *_, bad in found] == [
        None,
        "not UTF-8: byte 0xE9",
        "a NUL byte",
        "U+FFFD",
    ]
    assert read(path, lost=False)[0][3][2] is None


def test_a_packed_file_is_unpacked_and_one_that_is_cut_off_is_named_after_its_good_lines(tmp_path):
    packed = gzip.compress(("".join(f"line {n}\n" for n in range(200_000))).encode())
    path = tmp_path / "a.txt.gz"
    path.write_bytes(packed)
    found, problems = read(path)
    assert len(found) == 200_000 and found[-1][:2] == (200_000, "line 199999") and not problems
    path.write_bytes(packed[: len(packed) // 2])
    found, problems = read(path)
    assert found and "cannot be unpacked" in problems[0]
    path.write_bytes(b"plain")
    assert "cannot be unpacked" in read(path)[1][0]


def test_a_small_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_lines, "PACKED_BYTES", 1 << 16)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"x\n" * (1 << 21)))
    assert "bytes unpacked" in read(path)[1][0]
    monkeypatch.setattr(text_lines, "LONGEST_LINE", 1 << 10)
    monkeypatch.setattr(text_lines, "PACKED_BYTES", 1 << 30)
    path.write_bytes(gzip.compress(b"x" * (1 << 21)))
    assert "line 1 has over 1,024 characters" in read(path)[1][0]


@pytest.mark.parametrize("content", ["hello".encode("utf-16"), b"PK\x03\x04", b"fLaC", b"\0\1" * 300])
def test_what_is_not_text_is_named_as_it_is_for_the_whole_file(tmp_path, content):
    path, problems = tmp_path / "a.txt", []
    path.write_bytes(content)
    text_files.read(path, "a file of lines", problems)
    assert read(path) == ([], problems) and problems


def test_a_missing_file_a_folder_and_an_empty_file(tmp_path):
    assert "not found" in read(tmp_path / "none")[1][0] and "it is a folder" in read(tmp_path)[1][0]
    (tmp_path / "empty").touch()
    assert read(tmp_path / "empty") == ([], [])
