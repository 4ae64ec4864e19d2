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


def test_recordings_that_would_share_an_output_are_named(tmp_path):
    given = ["b/x.wav", "b/y.wav", "c/y.wav", "b/X.flac", "/far/y.v2.wav", "../y.v2.wav", "b/y.wav"]
    places, problems = outputs.places(given, tmp_path, ".srt")
    assert places["b/y.wav"] == tmp_path / "b" / "y" and places["c/y.wav"] == tmp_path / "c" / "y"
    assert places["/far/y.v2.wav"] == tmp_path / "y.v2", "never outside the folder"
    assert [problem.partition(" ")[0] for problem in problems] == ["b/X.flac:", "../y.v2.wav:", "b/y.wav"]
    assert "would be that of b/x.wav" in problems[0] and "x.srt" in problems[0].lower() and "rename one" in problems[0]
    assert "is there more than once" in problems[2]


def test_files_to_write_that_are_read_or_have_something_in_their_way_are_named(tmp_path):
    for name in ("read.wav", "file"):
        (tmp_path / name).write_text("")
    (tmp_path / "hard.wav").hardlink_to(tmp_path / "read.wav")
    (tmp_path / "folder.wav").mkdir()
    outs = [tmp_path / name for name in ("hard.wav", "folder.wav", "file/a.wav", "b.wav", "b.wav/c.wav", "new/d.wav")]
    problems = outputs.blocked(outs, [tmp_path / "read.wav", tmp_path / "gone.wav"], tmp_path)
    assert [problem.partition(" ")[0].strip(",") for problem in problems] == [str(outs[i]) for i in (0, 1, 2, 4)]
    wanted = ("that the command reads", "folder.wav is in its way", "file is in its way", "b.wav is an output too")
    for problem, word in zip(problems, wanted, strict=True):
        assert word in problem


def test_a_link_out_of_the_folder_is_named(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "mine.wav").write_text("kept")
    (tmp_path / "out" / "a.wav").symlink_to(tmp_path / "mine.wav")
    (tmp_path / "out" / "s").symlink_to(tmp_path)
    outs = [tmp_path / "out" / name for name in ("a.wav", "s/b.wav", "c.wav")]
    problems = outputs.blocked(outs, [], tmp_path / "out")
    assert len(problems) == 2 and all("is a link out of" in problem for problem in problems)
