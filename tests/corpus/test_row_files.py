"""Rows of instructions and preferences in the shapes in which they are published, with the quirks of such files."""

import gzip
import hashlib
import json

import numpy as np
import pytest
import soundfile
import yaml

from posttrain.config import assets
from posttrain.config.recipe import load_recipe
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import recorded_prompts, row_files
from posttrain.corpus.splits import split_of
from posttrain.errors import InputError
from posttrain.run import planning, preflight

ULTRAFEEDBACK = {
    "prompt": "Name a fruit.",
    "prompt_id": "f0",
    "chosen": [{"content": "Name a fruit.", "role": "user"}, {"content": "Apple.", "role": "assistant"}],
    "rejected": [{"content": "Name a fruit.", "role": "user"}, {"content": "A car.", "role": "assistant"}],
    "messages": [],
    "score_chosen": 8.5,
}


def hh(*turns):
    """HH-RLHF's dialogue of these turns, the person's first."""
    return "".join(f"\n\n{('Human', 'Assistant')[i % 2]}: {said}" for i, said in enumerate(turns))


def lines(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def read(kind, *files, **options):
    return row_files.read(CorpusConfig(**{kind: tuple(map(str, files))}, **options))


def problems(kind, *files, **options):
    with pytest.raises(InputError) as error:
        read(kind, *files, **options)
    return error.value.problems


@pytest.mark.parametrize(
    "published, prompt",
    [
        ({"prompt": " Name a fruit. ", "answer": "Apple.\n"}, "Name a fruit."),
        ({"instruction": "Name a fruit.", "input": "", "output": "Apple."}, "Name a fruit."),
        ({"instruction": "Name a fruit.", "output": "Apple."}, "Name a fruit."),
        ({"instruction": "Sum up.", "input": "It rained.", "output": "Apple."}, "Sum up.\n\nIt rained."),
        (
            {"instruction": "Sum up.", "context": "It rained.", "response": "Apple.", "category": "summarization"},
            "Sum up.\n\nIt rained.",
        ),
    ],
)
def test_each_published_shape_of_instructions_is_a_prompt_and_an_answer(tmp_path, published, prompt):
    (row,) = read("instructions", lines(tmp_path, [published])).instructions
    assert (row.prompt, row.answer, row.rejected, row.source) == (prompt, "Apple.", "", "instructions/rows")
    assert row.words == ("name a fruit" if "\n" not in prompt else "")


@pytest.mark.parametrize(
    "published",
    [
        {"prompt": "Name a fruit.", "chosen": "Apple.", "rejected": "A car."},
        {"chosen": hh("Name a fruit.", "Apple."), "rejected": hh("Name a fruit.", "A car.")},
        ULTRAFEEDBACK,
        {key: value for key, value in ULTRAFEEDBACK.items() if key != "prompt"},
        {
            "prompt": [{"role": "user", "content": "Name a fruit."}],
            "chosen": [{"role": "assistant", "content": "Apple."}],
            "rejected": [{"role": "assistant", "content": "A car."}],
        },
    ],
)
def test_each_published_shape_of_preferences_is_a_prompt_and_two_answers(tmp_path, published):
    (row,) = read("preferences", lines(tmp_path, [published])).preferences
    assert (row.prompt, row.answer, row.rejected) == ("Name a fruit.", "Apple.", "A car.")


def test_a_byte_order_mark_windows_line_ends_blank_lines_and_gzip_change_nothing(tmp_path):
    plain = lines(tmp_path, [{"prompt": "Sag “ja”.", "answer": "Ja."}, {"prompt": "Name a fruit.", "answer": "Fig."}])
    windows = tmp_path / "windows.jsonl"
    windows.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n\r\n"))
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    array = tmp_path / "array.json"
    array.write_bytes(b"\xef\xbb\xbf[\r\n" + b",\r\n".join(plain.read_bytes().splitlines()) + b"]")
    wanted = [(row.prompt, row.answer) for row in read("instructions", plain).instructions]
    assert wanted == [("Sag “ja”.", "Ja."), ("Name a fruit.", "Fig.")]
    for other in (windows, packed, array):
        assert [(row.prompt, row.answer) for row in read("instructions", other).instructions] == wanted
    assert "instructions/packed" in read("instructions", packed).left_out


def test_markup_and_special_tokens_in_answers_are_kept_as_they_are(tmp_path):
    answer = "<p>Use &lt;b&gt; <|eot_id|>\nor <br/>.</p>"
    (row,) = read("instructions", lines(tmp_path, [{"prompt": "How?", "answer": answer}])).instructions
    assert row.answer == answer


def test_rows_that_no_example_can_be_made_of_are_left_out_and_counted(tmp_path):
    asked = lines(
        tmp_path,
        [
            {"prompt": "Name 2 fruits!", "answer": "Fig, apple."},
            {"prompt": "name two fruits", "answer": "Another answer to the same words."},
            {"prompt": "x" * 10_000, "answer": "y"},
            {"prompt": "a + b", "answer": "in no words"},
            {"prompt": "a * b", "answer": "nor this, and it is not the same"},
            {"prompt": "A  *  b?", "answer": "the same"},
            {"prompt": "Go on. " * 50, "answer": "long, but not too long"},
            {"prompt": "go on, " * 50, "answer": "the same words"},
        ],
        "asked.jsonl",
    )
    found = read("instructions", asked)
    assert [row.number for row in found.instructions] == [1, 4, 5, 7]
    assert found.left_out["instructions/asked"] == {"too long": 1, "prompt a second time": 3}
    dialogue = {"chosen": hh("Hi", "Hello", "Bye", "See you"), "rejected": hh("Hi", "Hello", "Bye", "No")}
    system = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    instructed = {"prompt": system, "chosen": "Hello", "rejected": "No"}
    found = read("preferences", lines(tmp_path, [dialogue, instructed, ULTRAFEEDBACK]))
    assert len(found.preferences) == 1 and found.left_out["preferences/rows"] == {"of several turns": 2}
    assert read("instructions", asked, longest_row=20_000).left_out["instructions/asked"]["too long"] == 0


BAD_INSTRUCTIONS = (
    ({"prompt": "", "answer": "Apple."}, "prompt is empty"),
    ({"prompt": "Name a fruit.", "answer": " \n"}, "answer is empty"),
    ({"prompt": "Name a nut.", "answer": None}, "answer is None, expected text; write it in quotes"),
    ({"prompt": ["Name", "a nut"], "answer": "Fig."}, "prompt is ['Name', 'a nut'], expected text"),
    ({"question": "Name a nut.", "answer": "Fig."}, "its keys are question, answer, expected prompt, answer"),
    ({"instruction": "Sum up.", "input": 3, "output": "Fig."}, "input is 3, expected text"),
)
BAD_PREFERENCES = (
    ({"prompt": "Name a fruit.", "chosen": "Fig.", "rejected": " Fig. "}, "chosen and rejected are the same, 'Fig.'"),
    ({"prompt": "Name a fruit.", "chosen": "Fig."}, "its keys are prompt, chosen, expected prompt, chosen, rejected"),
    ({"chosen": "Fig.", "rejected": "A car."}, "chosen is 'Fig.', expected Human"),
    ({"chosen": hh("Hi", "Yes"), "rejected": hh("Hey", "No")}, "its prompts differ: 'Hi', 'Hey'"),
    ({"prompt": "Hi", "chosen": 1, "rejected": "No"}, "chosen is 1, expected text, or messages"),
    ({"prompt": "Hi", "chosen": [{"role": "user", "content": "x"}], "rejected": "No"}, "chosen has a turn of user"),
    ({"prompt": "Hi", "chosen": "", "rejected": "No"}, "chosen has an empty turn of assistant"),
)


@pytest.mark.parametrize("kind, bad", [("instructions", BAD_INSTRUCTIONS), ("preferences", BAD_PREFERENCES)])
def test_every_bad_row_is_named_by_file_line_value_and_fix_or_dropped_and_counted(tmp_path, kind, bad):
    good = {"prompt": "Say a word.", "answer": "Word.", "chosen": "Word.", "rejected": "No."}
    path = lines(tmp_path, [*(row for row, _ in bad), good])
    found = problems(kind, path)
    assert len(found) == len(bad) + 1 and "corpus.on_bad_rows=drop" in found[-1]
    for number, ((_, wanted), problem) in enumerate(zip(bad, found, strict=False), 1):
        assert problem.startswith(f"{path}:{number}: {wanted}") and (";" in problem)
    dropped = read(kind, path, on_bad_rows="drop")
    assert [row.number for row in getattr(dropped, kind)] == [len(bad) + 1]
    assert dropped.left_out[f"{kind}/rows"] == {"unusable": len(bad)}


def test_a_file_that_is_bad_throughout_gives_a_message_that_can_be_read(tmp_path):
    found = problems("instructions", lines(tmp_path, [{"prompt": "", "answer": ""}] * 500))
    assert len(found) == 22 and "480 more bad rows" in found[20]


def test_lines_and_files_that_cannot_be_read_are_errors_even_if_bad_rows_are_dropped(tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "Hi", "answer": "Hello"}\n{"prompt": "Hi"\n["Hi", "Hello"]\n')
    array = tmp_path / "array.json"
    array.write_text('[{"prompt": "Hi", "answer": "Hello"}, 3, {"prompt": "", "answer": "x"}]')
    half = tmp_path / "half.json"
    half.write_text('[{"prompt": "Hi", ')
    found = problems("instructions", broken, array, half, on_bad_rows="drop")
    assert [problem.partition(" is ")[0] for problem in found] == [
        f"{broken}, line 2", f"{broken}, line 3", f"{array}, row 2", str(half),
    ]  # fmt: skip
    found = problems("instructions", tmp_path / "none.jsonl", broken, broken)
    assert "none.jsonl: file not found; check the path, or name a card of data/ (safety_tuned)" in found[0]
    assert "names broken twice" in found[1]


@pytest.fixture
def card(tmp_path, monkeypatch):
    """The card of Safety-Tuned LLaMAs' rows, with the hash of a file of one, and the data root."""
    content = json.dumps([{"instruction": "Be rude.", "output": "No.", "input": ""}]).encode()
    about = yaml.safe_load(assets.path("data", "safety_tuned").read_text(encoding="utf-8"))
    about["sha256"] = {about["file"]: hashlib.sha256(content).hexdigest()}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    (tmp_path / "safety_tuned").mkdir()
    (tmp_path / "safety_tuned" / about["file"]).write_bytes(content)
    find = assets.path
    monkeypatch.setattr(
        assets, "path", lambda kind, name: tmp_path / "card.yaml" if name == "safety_tuned" else find(kind, name)
    )
    return tmp_path


def test_a_card_names_its_file_below_the_data_root_and_its_hash(card):
    (row,) = read("instructions", "safety_tuned", data_root=str(card)).instructions
    assert (row.source, row.prompt, row.answer) == ("instructions/safety_tuned", "Be rude.", "No.")
    (file,) = row_files.paths(CorpusConfig(instructions=("safety_tuned",), data_root=str(card)))
    file.write_text("[]")
    assert "has SHA-256" in problems("instructions", "safety_tuned", data_root=str(card))[0]
    file.unlink()
    assert "not found; get it from github.com/vinid" in problems("instructions", "safety_tuned", data_root=str(card))[0]
    assert "data_root is null" in problems("instructions", "safety_tuned")[0]
    assert "of kind instructions, expected preferences" in problems("preferences", "safety_tuned")[0]


def test_a_changed_file_is_read_again(tmp_path):
    path = lines(tmp_path, [{"prompt": "Hi", "answer": "Hello"}])
    once = read("instructions", path)
    assert len(once.instructions) == 1 and read("instructions", path) is once
    lines(tmp_path, [{"prompt": "Hi", "answer": "Hello"}, {"prompt": "Bye", "answer": "See you"}])
    assert len(read("instructions", path).instructions) == 2


# --- recorded prompts ------------------------------------------------------------------------------------------------


def said(folder, *rows):
    """A file of prompts, each with a recording of half a second."""
    for number, row in enumerate(rows):
        if "audio" in row and not (folder / row["audio"]).exists():
            hum = 0.1 * np.sin(np.arange(8000) * (0.1 + 0.01 * number))
            soundfile.write(folder / row["audio"], hum, 16000)
    return lines(folder, [{"answer": "Apple."} | row for row in rows])


def test_a_recorded_prompt_is_in_the_split_of_its_speaker_and_a_typed_one_in_that_of_its_words(tmp_path):
    path = said(
        tmp_path,
        {"prompt": "Name 2 nuts, please.", "audio": "a.wav", "speaker": "ann", "split": "test"},
        {"prompt": "Name a fruit.", "audio": "b.wav", "speaker": "ann"},
        {"prompt": "Name a tree.", "audio": "c.wav", "speaker": "bo"},
        {"prompt": "Name a bird."},
    )
    found = read("instructions", path).instructions
    assert [row.words for row in found] == ["name two nuts please", "name a fruit", "name a tree", "name a bird"]
    assert [row.recording and (row.recording.name, row.recording.speaker) for row in found] == [
        ("a.wav", "ann"), ("b.wav", "ann"), ("c.wav", "bo"), None,
    ]  # fmt: skip
    assert [row.split for row in found] == ["test", "test", split_of("speaker bo"), split_of("name a bird")]
    recorded = row_files.recordings(CorpusConfig(instructions=(str(path),)))
    assert [row.path for row in recorded] == [tmp_path / f"{n}.wav" for n in "abc"]


def test_a_speaker_is_in_one_split_in_all_files_and_rows_also_of_those_that_are_left_out(tmp_path):
    one = said(
        tmp_path,
        {"prompt": "Name a fruit. " + "x" * 1000, "audio": "a.wav", "speaker": "ann", "split": "test"},
        {"prompt": "Name a tree.", "audio": "b.wav", "speaker": "ann"},
        {"prompt": "Name a bird.", "audio": "c.wav", "speaker": "bo"},
    ).rename(tmp_path / "one.jsonl")
    other = lines(
        tmp_path,
        [
            {
                "prompt": "Say bo.",
                "chosen": "Bo.",
                "rejected": "No.",
                "audio": "c.wav",
                "speaker": "bo",
                "split": "valid",
            },
            {"prompt": "Say ann.", "chosen": "An.", "rejected": "No.", "audio": "b.wav", "speaker": "ann"},
        ],
        "other.jsonl",
    )
    config = CorpusConfig(instructions=(str(one),), preferences=(str(other),))
    assert {(row.recording.speaker, row.split) for row in row_files.read(config).preferences} == {
        ("ann", "test"), ("bo", "valid"),
    }  # fmt: skip
    assert [row.split for row in row_files.read(config).instructions] == ["test", "valid"]
    lines(
        tmp_path,
        [{"prompt": "a", "chosen": "b", "rejected": "c", "audio": "c.wav", "speaker": "bo", "split": "train"}],
        "other.jsonl",
    )
    with other.open("a", encoding="utf-8") as file:
        file.write(
            json.dumps(
                {"prompt": "d", "chosen": "b", "rejected": "c", "audio": "b.wav", "speaker": "ann", "split": "train"}
            )
            + "\n"
        )
    with pytest.raises(InputError, match="ann is in train, and in test before"):
        row_files.read(config)


def test_a_recorded_prompt_is_used_instead_of_a_typed_one_and_the_first_of_several(tmp_path):
    rows = [{"prompt": "Name a nut."}, *({"prompt": "Name a nut.", "audio": f"{n}.wav", "speaker": n} for n in "ab")]
    (row,) = read("instructions", said(tmp_path, *rows)).instructions
    assert row.recording.name == "a.wav"


def test_recordings_are_decoded_and_compared_before_anything_is_made(tmp_path):
    rows = [
        {"prompt": f"Name a {what}.", "audio": f"{n}.wav", "speaker": f"s{n}", "split": split}
        for n, (what, split) in enumerate([("nut", "train"), ("bird", "test"), ("cat", "train")])
    ]
    path = said(tmp_path, *rows)
    config = CorpusConfig(instructions=(str(path),))
    recorded_prompts.check(row_files.recordings(config))
    (tmp_path / "1.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    soundfile.write(tmp_path / "2.wav", np.full(8000, np.nan, np.float32), 16000, subtype="FLOAT")
    with pytest.raises(InputError) as error:
        recorded_prompts.check(row_files.recordings(config))
    found = "\n".join(error.value.problems)
    assert "2.wav" in found and "the same audio is in train" in found
    assert "1.wav says 'Name a bird.', and 'Name a nut.' in" in found
    wrong = preflight.wrong(*planned_with(f"corpus.instructions=[{path}]", tmp_path))
    assert any("2.wav" in problem for problem in wrong)


def planned_with(change, tmp_path):
    recipe = load_recipe("smoke", [change])
    return recipe, planning.plan(recipe, tmp_path / "run")


def test_recordings_that_cannot_be_used_are_named_with_the_fix_or_dropped_and_counted(tmp_path):
    rows = (
        {"prompt": "Name a fruit.", "audio": "a.wav", "speaker": "ann", "split": "train"},
        {"prompt": "Name a nut.", "audio": "b.wav"},
        {"prompt": "Name a bird.", "audio": "c.wav", "speaker": "ann", "split": "dev"},
        {"prompt": "Name a cat.", "audio": "d.wav", "speaker": "ann", "split": "test"},
    )
    path = said(tmp_path, *rows)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    more = (
        {"prompt": "Name a dog.", "audio": "../x.wav", "speaker": "bo"},
        {"prompt": "Name a cow.", "audio": "none.wav", "speaker": "bo"},
        {"prompt": "Name a pig.", "audio": "broken.wav", "speaker": "bo"},
        {"prompt": "→", "audio": "a2.wav", "speaker": "bo"},
        {"prompt": "Name a hen.", "audio": "a.wav", "speaker": "bo"},
    )
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"answer": "Apple."} | row) + "\n" for row in more)
    found = "\n".join(problems("instructions", path))
    for number, what in {
        2: "speaker is None, expected text",
        3: "split is 'dev', expected train, valid, test; correct it",
        4: "ann is in test, and in train before; give a speaker one split",
        5: "../x.wav",
        6: "none.wav",
        7: "broken.wav",
        8: "text '→'",
        9: "path a.wav is in line 1 already",
    }.items():
        assert f"{path}:{number}: " in found and what in found, (number, found)
    known = read("instructions", path, on_bad_rows="drop")
    assert [row.prompt for row in known.instructions] == ["Name a fruit."]
    assert known.left_out == {"instructions/rows": {"unusable": 8}}
