"""transcribe --captions: a folder of captions, what is refused, and what a line of --out keeps."""

import json

from tests.use.test_transcribe import model_folder, sentences, short_answers, speech, transcribe

__all__ = ["model_folder", "sentences", "short_answers", "speech"]  # its fixtures


def test_captions_are_written_for_each_recording(model_folder, speech, capsys):
    out, folder = speech / "out.jsonl", speech / "captions"
    arguments = ("--manifest", speech / "manifest.csv", "--checkpoint", model_folder / "align", "--out", out)
    assert transcribe(*arguments, "--captions", folder, "--dry-run") == 0 and not folder.exists()
    assert transcribe(*arguments, "--captions", folder) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for line, name in zip(lines, "abcd", strict=True):
        found = json.loads((folder / f"{name}.words.json").read_text())
        assert found["words"] == line["words"]
        assert [word["text"] for word in line["words"]] == line["hypothesis"].split()
        shown = " ".join(" ".join(cue["lines"]) for cue in found["cues"])
        assert shown == " ".join(line["hypothesis"].split())
        assert (folder / f"{name}.vtt").read_text(encoding="utf-8").startswith("WEBVTT\n")
        assert (folder / f"{name}.srt").read_text(encoding="utf-8").count(" --> ") == len(found["cues"])
    assert transcribe(*arguments) == 0
    assert "words" not in json.loads(out.read_text().splitlines()[0])
    (speech / "d.flac").write_bytes((speech / "b.flac").read_bytes())
    for given, what in {
        (speech / "d.wav", speech / "d.flac", "--captions", folder): "d.flac: its output would be that of",
        (speech / "d.wav", "--captions", out): "a file; name a folder",
        (speech / "d.wav", "--captions", speech / "x" / "y"): "expected a folder in one that is there",
        (speech / "d.wav", "--captions", folder, "--task", "answer"): "--captions is for transcripts",
    }.items():
        capsys.readouterr()
        assert transcribe(*given, "--checkpoint", model_folder / "align") == 2
        assert what in capsys.readouterr().err
