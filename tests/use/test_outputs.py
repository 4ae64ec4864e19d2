"""What a command reads is never what it writes."""

import pytest

from posttrain.use import outputs


@pytest.mark.parametrize("way", ["itself", "link", "dots", "hard"])
def test_an_input_is_not_written_over(tmp_path, way):
    read = tmp_path / "answers.csv"
    read.write_text("a")
    (tmp_path / "sub").mkdir()
    out = {
        "itself": read,
        "link": tmp_path / "l",
        "dots": tmp_path / "sub" / ".." / "answers.csv",
        "hard": tmp_path / "h",
    }
    (tmp_path / "l").symlink_to(read)
    (tmp_path / "h").hardlink_to(read)
    assert "would overwrite" in str(outputs.problem(out[way], [tmp_path / "other", read]))
    assert outputs.problem(tmp_path / "new.csv", [read]) is None and outputs.problem(None, [read]) is None


def test_a_folder_and_a_file_in_none_are_no_outputs(tmp_path):
    assert "expected a file" in str(outputs.problem(tmp_path, []))
    assert "expected a file" in str(outputs.problem(tmp_path / "gone" / "x.csv", []))
