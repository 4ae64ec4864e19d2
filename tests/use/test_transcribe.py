"""posttrain transcribe: every bad input is refused before a model loads, and what comes out is what the parts say."""

import copy
import json
import shutil
from typing import get_args

import numpy as np
import pytest
import soundfile
import soxr
import torch
from conftest import byte_tokenizer, tiny_llama

from posttrain.__main__ import run
from posttrain.acoustics import enhancer
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.acoustics.scenes import active_rms
from posttrain.cli.options import Task
from posttrain.cli.show import visible
from posttrain.corpus import instructions
from posttrain.corpus import speech as voices
from posttrain.corpus.normalise import normalise
from posttrain.evals.errors import edit_errors
from posttrain.model import checkpoint
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders import parakeet
from posttrain.model.encoders.contract import state_hash
from posttrain.model.frame_table import FrameTable
from posttrain.use import listen
from posttrain.use import transcribe as transcribing

ENCODER_DIM = 16


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """An untrained checkpoint with ears: tiny Llama, tiny Parakeet."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    parakeet.tiny(ENCODER_DIM, 1, 2, 4, 8, 80).save(folder / "ctc")
    tokenizer = byte_tokenizer()
    checkpoint.save_base(folder / "base", tiny_llama(tokenizer), tokenizer)
    table = FrameTable(torch.zeros(3, ENCODER_DIM), {"a": (0, 3)})
    llama = checkpoint.create(folder / "base", folder / "ctc", table, stack=3)
    checkpoint.save(folder / "align", llama, "align", {"llm": folder / "base", "encoder": folder / "ctc"})
    return folder


@pytest.fixture(autouse=True)
def short_answers(monkeypatch):
    """An untrained Llama does not end its answers."""
    monkeypatch.setattr(transcribing, "MAX_NEW_TOKENS", 20)


@pytest.fixture(scope="module")
def sentences():
    """Four sentences by four made voices."""
    espeak, texts = voices.Espeak(), ("turn it up", "number twelve", "it is too loud", "help me please")
    spoken = [espeak.say(t, v, 130, 50, 50) for t, v in zip(texts, voices.voices("valid")[:8:2], strict=True)]
    return [(0.05 * clip / active_rms(clip)).astype(np.float32) for clip in spoken]


@pytest.fixture
def speech(tmp_path, sentences):
    """Four recordings at three rates, one of them stereo, and their manifest."""
    rates = {"a.wav": 16_000, "b.flac": 8_000, "c.wav": 44_100, "d.wav": 16_000}
    for (name, rate), clip in zip(rates.items(), sentences, strict=True):
        clip = soxr.resample(clip, 16_000, rate)
        soundfile.write(tmp_path / name, np.stack([clip] * (2 if name == "d.wav" else 1), 1), rate)
    rows = ["a.wav,Turn it UP,anna", "b.flac,number 12,anna", "c.wav,too loud,ben", "d.wav,help,cleo"]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,text,speaker", *rows]) + "\n")
    return tmp_path


def transcribe(*arguments) -> int:
    return run(["transcribe", *map(str, arguments)])


def test_a_manifest_gives_error_rates_with_intervals_and_a_file_of_hypotheses(model_folder, speech, capsys):
    out = speech / "out.jsonl"
    arguments = ("--manifest", speech / "manifest.csv", "--checkpoint", model_folder / "align", "--out", out, "--json")
    assert transcribe(*arguments) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["clips"] == 4
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["path"] for line in lines] == ["a.wav", "b.flac", "c.wav", "d.wav"]
    assert [line["text"] for line in lines][:2] == ["Turn it UP", "number 12"]
    for prefix, key in (("", "hypothesis"), ("encoder_", "encoder_hypothesis")):
        counted = [edit_errors(line["text"], line[key]) for line in lines]
        score = scores[f"{prefix}wer"]
        assert score["value"] == pytest.approx(sum(c["errors"] for c in counted) / sum(c["words"] for c in counted))
        assert score["n"] == 4 and score["speakers"] == 3
        assert score["ci95"][0] <= score["value"] <= score["ci95"][1]
        chars = sum(c["char_errors"] for c in counted) / sum(c["chars"] for c in counted)
        assert scores[f"{prefix}cer"]["value"] == pytest.approx(chars)


def test_files_alone_give_their_transcripts_whatever_they_are_batched_with(model_folder, speech, capsys):
    files = [speech / name for name in ("a.wav", "b.flac", "c.wav", "d.wav")]
    found = []
    for arguments in (files, [*files, "--batch-size", 1]):
        assert transcribe(*arguments, "--checkpoint", model_folder / "align", "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["transcripts"])
    assert found[0] == found[1]
    assert [line["path"] for line in found[0]] == list(map(str, files))


def test_another_task_gives_the_models_answer_to_its_instruction_and_no_error_rate(model_folder, speech, capsys):
    arguments = ("--manifest", speech / "manifest.csv", "--checkpoint", model_folder / "align")
    answers = {}
    for task in instructions.INSTRUCTIONS:
        assert transcribe(*arguments, "--task", task, "--json") == 0
        scores = json.loads(capsys.readouterr().out)
        assert ("wer" in scores) == (task == "repeat")
        answers[task] = [line["answer"] for line in scores.get("answers", [])]
    assert all(len(said) == 4 for task, said in answers.items() if task != "repeat")
    assert len({tuple(said) for said in answers.values()}) > 2, "what is asked makes no difference"
    assert transcribe(*arguments, "--task", "simplify") == 0
    shown = capsys.readouterr().out
    assert f"a.wav: {visible(answers['simplify'][0])}\n  encoder: " in shown
    assert set(get_args(Task)) == set(instructions.INSTRUCTIONS)


def test_every_bad_recording_is_listed_with_its_line_before_anything_is_transcribed(model_folder, speech, capsys):
    (speech / "broken.wav").write_bytes(b"RIFF not really")
    (speech / "empty.wav").write_bytes(b"")
    soundfile.write(speech / "short.wav", np.zeros(1_919), 16_000)
    soundfile.write(speech / "none.wav", np.zeros(0), 16_000)
    soundfile.write(speech / "nan.wav", np.array([0.1, np.nan] * 4000), 16_000, subtype="FLOAT")
    names = ["broken", "empty", "short", "none", "nan"]
    worse = "../a.wav,hello\na.wav,?\n"
    (speech / "bad.csv").write_text("path,text\n" + "".join(f"{name}.wav,hello\n" for name in names) + worse)
    out = speech / "out.jsonl"
    arguments = ("--manifest", speech / "bad.csv", "--checkpoint", model_folder / "align", "--out", out)
    assert transcribe(*arguments) == 2
    error = capsys.readouterr().err
    for line, name in enumerate(names, 2):
        assert f"bad.csv:{line}: {name}.wav" in error
    assert "bad.csv:7: path ../a.wav leaves" in error and "bad.csv:8: text '?'" in error
    assert "Traceback" not in error and not out.exists()


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("", "no rows"),
        ("a.wav,\n", ":2: text ''"),
        ("a.wav,?!…\n", ":2: text '?!…'"),
        ("a.wav,hello\nnowhere.wav,hello\n", ":3: path nowhere.wav not found"),
        ("../a.wav,hello\n", ":2: path ../a.wav leaves"),
        ("/etc/passwd,hello\n", ":2: path /etc/passwd leaves"),
    ],
)
def test_a_bad_manifest_is_refused_by_line(model_folder, speech, capsys, rows, named):
    (speech / "bad.csv").write_text("path,text\n" + rows)
    assert transcribe("--manifest", speech / "bad.csv", "--checkpoint", model_folder / "align") == 2
    assert named in capsys.readouterr().err


def test_a_checkpoint_without_ears_or_of_another_shape_is_refused(model_folder, speech, capsys):
    assert transcribe(speech / "a.wav", "--checkpoint", model_folder / "base") == 2
    assert "does not hear" in capsys.readouterr().err
    assert transcribe(speech / "a.wav", "--checkpoint", speech / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err


def test_neither_files_nor_manifest_or_both_is_refused(model_folder, speech, capsys):
    assert transcribe("--checkpoint", model_folder / "align") == 2
    both = (speech / "a.wav", "--manifest", speech / "manifest.csv")
    assert transcribe(*both, "--checkpoint", model_folder / "align") == 2
    assert capsys.readouterr().err.count("one of the two") == 2


def lines_of(capsys, *arguments):
    assert transcribe(*arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    return found.get("transcripts") or found["answers"], found


def silence(seconds, rate=16_000):
    return np.zeros(int(seconds * rate), np.float32)


def test_a_long_recording_is_transcribed_from_pause_to_pause_as_its_sentences_are_alone(
    model_folder, tmp_path, sentences, capsys
):
    parts = [silence(2)]
    for clip in sentences:
        parts += [clip, silence(2)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts * 12), 16_000, subtype="FLOAT")
    for number, clip in enumerate(sentences):
        padded = np.concatenate([silence(1 + number), clip, silence(2.5)])
        soundfile.write(tmp_path / f"{number}.wav", padded, 16_000, subtype="FLOAT")
    files = [tmp_path / name for name in ("long.wav", *(f"{n}.wav" for n in range(4)))]
    (whole, *alone), _ = lines_of(capsys, *files, "--checkpoint", model_folder / "align")
    assert soundfile.info(files[0]).duration > 130, "longer than the Llama holds at once"
    assert all(line["encoder_hypothesis"] for line in alone)
    for key in ("hypothesis", "encoder_hypothesis"):
        # windows may begin a few samples earlier or later, and an untrained model is easily moved
        assert len(whole[key]) == pytest.approx(12 * sum(len(line[key]) + 1 for line in alone), rel=0.15)


def test_what_is_around_the_speech_changes_nothing(model_folder, tmp_path, sentences, capsys):
    rng = np.random.default_rng(0)
    for number, (level, seconds) in enumerate(((0, 0.5), (0, 2), (10**-4.5, 1), (10**-4, 9))):
        pad = (level * rng.standard_normal(int(seconds * 16_000))).astype(np.float32)
        padded = np.concatenate([pad, sentences[0], pad])
        soundfile.write(tmp_path / f"{number}.wav", padded, 16_000, subtype="FLOAT")
    files = [tmp_path / f"{number}.wav" for number in range(4)]
    lines, _ = lines_of(capsys, *files, "--checkpoint", model_folder / "align")
    zeros, more_zeros, *noisy = lines
    assert zeros["encoder_hypothesis"] == more_zeros["encoder_hypothesis"] != ""
    for line in noisy:
        assert abs(len(line["encoder_hypothesis"]) - len(zeros["encoder_hypothesis"])) <= 3


@pytest.mark.parametrize("task", instructions.INSTRUCTIONS)
def test_nothing_is_answered_where_nothing_is_said(model_folder, tmp_path, capsys, task):
    time = np.arange(3 * 16_000) / 16_000
    sounds = {
        "zeros": silence(20),
        "hiss": 10**-3 * np.random.default_rng(0).standard_normal(20 * 16_000),
        "chord": sum(np.sin(2 * np.pi * hz * time) for hz in (262, 330, 392)) / 10,
    }
    for name, sound in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", sound, 16_000)
    files = [tmp_path / f"{name}.wav" for name in sounds]
    lines, scores = lines_of(capsys, *files, "--checkpoint", model_folder / "align", "--task", task)
    assert scores["abstained"] == 3 and scores["cut"] == 0
    assert [line.get("answer", instructions.ABSTENTION) for line in lines] == [instructions.ABSTENTION] * 3
    assert not any(line.get("hypothesis") or line["encoder_hypothesis"] for line in lines)


def test_no_command_comes_from_a_clip_in_which_the_encoder_hears_no_words(model_folder, speech, capsys, monkeypatch):
    monkeypatch.setattr(parakeet.Parakeet, "words", lambda self, units: "")
    lines, _ = lines_of(capsys, speech / "a.wav", "--checkpoint", model_folder / "align", "--task", "command")
    assert lines[0]["answer"] == instructions.ABSTENTION


def test_too_much_speech_for_an_answer_is_refused_before_anything_is_encoded(
    model_folder, speech, sentences, capsys, monkeypatch
):
    soundfile.write(speech / "long.wav", np.concatenate([*sentences, silence(0.5)] * 30), 16_000)
    monkeypatch.setattr(encoders, "load", lambda *_, **__: pytest.fail("the encoder was loaded"))
    arguments = (speech / "a.wav", speech / "long.wav", "--checkpoint", model_folder / "align")
    assert transcribe(*arguments, "--task", "command") == 2
    assert "long.wav: audio has over 15 s of speech, expected at most 15 s" in capsys.readouterr().err


def test_limits_are_told_from_the_header_before_anything_is_encoded(model_folder, speech, capsys, monkeypatch):
    monkeypatch.setattr(encoders, "load", lambda *_, **__: pytest.fail("the encoder was loaded"))
    monkeypatch.setattr(listen.audio, "LONGEST_S", 60.0)
    soundfile.write(speech / "day.flac", np.zeros(16_000 * 61), 16_000)
    assert transcribe(speech / "a.wav", speech / "day.flac", "--checkpoint", model_folder / "align") == 2
    assert "day.flac: audio is 61 s long, expected at most 60 s" in capsys.readouterr().err


def test_answers_that_end_at_the_limit_of_tokens_are_marked(model_folder, speech, capsys):
    arguments = (speech / "a.wav", "--checkpoint", model_folder / "align")
    for task in ("repeat", "simplify"):
        lines, scores = lines_of(capsys, *arguments, "--task", task)
        assert lines[0]["cut"] is True and scores["cut"] == 1
    assert transcribe(*arguments) == 0
    assert "cut off at the limit" in capsys.readouterr().out


def test_what_is_done_is_kept_and_the_same_command_goes_on(model_folder, speech, capsys, monkeypatch):
    out = speech / "out.jsonl"
    arguments = ("--manifest", speech / "manifest.csv", "--checkpoint", model_folder / "align", "--out", out)
    arguments += ("--batch-size", 1)
    hearer, calls = listen.hearer, []

    def breaks(*options):
        hear = hearer(*options)

        def third_fails(windows):
            calls.append(len(windows))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return hear(windows)

        return third_fails

    monkeypatch.setattr(listen, "hearer", breaks)
    with pytest.raises(KeyboardInterrupt):
        transcribing.transcribe([], speech / "manifest.csv", model_folder / "align", out, batch_size=1)
    assert not out.exists()
    kept = (speech / "out.jsonl.partial").read_text().splitlines()
    assert [json.loads(line)["path"] for line in kept[1:]] == ["a.wav", "b.flac"]
    monkeypatch.setattr(listen, "hearer", lambda *options: lambda w: calls.append(len(w)) or hearer(*options)(w))
    calls.clear()
    assert transcribe(*arguments) == 0
    assert calls == [1, 1], "the first two were heard again"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["path"] for line in lines] == ["a.wav", "b.flac", "c.wav", "d.wav"]
    assert not (speech / "out.jsonl.partial").exists()
    assert transcribe(*arguments) == 0 and len(calls) == 6, "a finished file is made again, whole"


def test_a_recording_that_vanishes_does_not_lose_the_others(model_folder, speech, capsys, monkeypatch):
    hearer = listen.hearer

    def vanishes(*options):
        (speech / "b.flac").unlink()
        return hearer(*options)

    monkeypatch.setattr(listen, "hearer", vanishes)
    out = speech / "out.jsonl"
    arguments = ("--manifest", speech / "manifest.csv", "--checkpoint", model_folder / "align", "--out", out, "--json")
    assert transcribe(*arguments) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["clips"] == 3 and json.loads(printed.out)["wer"]["n"] == 3
    assert "b.flac: file not found" in printed.err
    assert [json.loads(line)["path"] for line in out.read_text().splitlines()] == ["a.wav", "c.wav", "d.wav"]


@pytest.mark.parametrize("peer", ["", "wiener"])
def test_with_enhance_it_hears_what_the_enhancer_gives(peer, model_folder, speech, capsys):
    (speech / "aid").mkdir()
    torch.manual_seed(0)
    enhancer.save(speech / "aid", Enhancer(EnhancerSpec(width=16, sub_width=8)))
    figures = '{"wer_enhanced/clean": {"delta_vs_without": 0.02, "delta_without_ci95": [0.01, 0.03]}}'
    (speech / "aid" / "figures.json").write_text(figures)
    named, asked = peer or str(speech / "aid"), ("--checkpoint", model_folder / "align", "--json")
    aid, recorded, written = ("--audiogram", "N4"), ("a.wav", "c.wav"), ("ea.wav", "ec.wav")
    for name, out in zip(recorded, written, strict=True):
        assert run(["enhance", str(speech / name), str(speech / out), "--checkpoint", named, *aid]) == 0
    capsys.readouterr()
    heard = []
    for names, options in ((recorded, ("--enhance", "--enhancer", named, *aid)), (written, ()), (recorded, ())):
        assert transcribe(*map(speech.joinpath, names), *asked, *options) == 0
        heard.append(json.loads((said := capsys.readouterr()).out))
        assert ("known to cost words" in said.err) == (bool(options) and not peer)
    assert heard[0]["enhancer"] == named and heard[0]["audiogram"] == "N4"
    enhanced, from_file, plain = ([{**line, "path": ""} for line in h["transcripts"]] for h in heard)
    assert enhanced == from_file != plain


def test_with_enhance_the_encoder_that_learned_with_the_enhancer_hears(model_folder, speech, capsys):
    (speech / "aid").mkdir()
    model, made = model_folder / "align", Enhancer(EnhancerSpec(width=16, sub_width=8))
    own = encoders.load(checkpoint.read_spec(model).encoder)
    learner = copy.deepcopy(own)
    with torch.no_grad():
        learner.model.ctc_head.weight.neg_()
    encoders.save(learner, speech / "aid" / encoders.TRAINED_WITH)
    old, new = (state_hash(encoder.model) for encoder in (own, learner))
    enhancer.save(speech / "aid", made, {"weights": new, "learned_from": old})
    asked = (speech / "a.wav", "--checkpoint", model)
    aided = (*asked, "--enhance", "--enhancer", speech / "aid")
    heard = []
    for arguments in (aided, asked):
        assert transcribe(*arguments, "--json") == 0
        heard.append(json.loads(capsys.readouterr().out)["transcripts"][0]["encoder_hypothesis"])
    assert heard[0] != heard[1]
    for hashes, said in (
        ({"weights": old, "learned_from": old}, "is not the encoder"),
        ({"weights": new, "learned_from": new}, "learned from another"),
    ):
        enhancer.save(speech / "aid", made, hashes)
        assert transcribe(*aided) == 2
        assert said in capsys.readouterr().err
    shutil.rmtree(speech / "aid" / encoders.TRAINED_WITH)
    enhancer.save(speech / "aid", made, {"weights": new, "learned_from": old})
    assert transcribe(*aided) == 2
    assert str(speech / "aid" / encoders.TRAINED_WITH) in capsys.readouterr().err


def test_an_audiogram_without_enhance_is_refused(model_folder, speech, capsys):
    assert transcribe(speech / "a.wav", "--checkpoint", model_folder / "align", "--audiogram", "N3") == 2
    assert "--enhance" in capsys.readouterr().err


def test_numbers_in_texts_are_scored_as_the_words_they_are_read_as():
    assert edit_errors("number 12", "number twelve")["errors"] == 0
    assert normalise("number 12") == "number twelve"


def test_where_the_model_says_it_heard_no_words_the_transcript_has_none(tmp_path):
    recording = transcribing.Recording(tmp_path / "a.wav", "a.wav", "zero", "a.wav")
    line = transcribing._line(recording, "I did not hear any words.", "z", instructions.REPEAT)
    assert (line["hypothesis"], line["abstained"], line["encoder_hypothesis"]) == ("", True, "z")
    assert transcribing._scores([recording], [line])["wer"]["value"] == 1
    assert transcribing._line(recording, "zero", "z", instructions.REPEAT)["hypothesis"] == "zero"


def test_segments_are_heard_as_files_of_their_own_and_are_told_apart(model_folder, speech, sentences, capsys):
    first, second = sentences[0], sentences[3]
    noise = np.tile(sentences[0], 1 + 60 * 16_000 // len(sentences[0]))
    soundfile.write(speech / "long.wav", np.concatenate([noise, first, second]), 16_000, subtype="FLOAT")
    soundfile.write(speech / "e.wav", second, 16_000, subtype="FLOAT")
    start_s, length_s = (len(noise) + len(first)) / 16_000, len(second) / 16_000
    (speech / "parts.csv").write_text(f"path,text,offset_s,duration_s\nlong.wav,hi,{start_s},{length_s}\ne.wav,hi,,\n")
    arguments = ("--manifest", speech / "parts.csv", "--checkpoint", model_folder / "align", "--out", speech / "o")
    assert transcribe(*arguments) == 0
    part, whole = map(json.loads, (speech / "o").read_text().splitlines())
    assert part["hypothesis"] == whole["hypothesis"]
    assert (part["offset_s"], part["duration_s"]) == (start_s, length_s) and "offset_s" not in whole
    assert transcribe(*arguments, "--task", "simplify", "--dry-run") == 0, capsys.readouterr().err
