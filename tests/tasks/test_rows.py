"""Rows of files in the plan of a corpus: splits, shares, overlap with tests, spoken prompts, a teacher's answers."""

import json
from collections import Counter

import pytest

from posttrain.config.recipe import load_recipe
from posttrain.config.sections import CorpusConfig
from posttrain.corpus.normalise import normalise
from posttrain.corpus.plan import file_of, without
from posttrain.corpus.splits import split_of
from posttrain.run import combinations
from posttrain.run.graph import corpus_key
from posttrain.run.outline import outline
from posttrain.tasks import rows
from posttrain.tasks.plan import plan

SMALL = {
    "train_clips": 120,
    "rl_clips": 10,
    "valid_clips": 10,
    "test_sentences": 20,
    "probe_items": 8,
    "spoken_items": 4,
}
THINGS = [f"{colour} {thing}" for colour in ("red", "blue", "green", "old", "new", "big", "odd", "thin", "flat", "warm")
          for thing in ("tent", "boat", "pan", "jar", "wall", "shoe", "lamp", "door", "cup", "hat")]  # fmt: skip


def write(path, found):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in found), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path):
    """A hundred instructions, and as many preferences, every fourth of which cannot be said."""
    asked = [{"prompt": f"Describe a {thing}.", "answer": f"A {thing} is <b>fine</b>."} for thing in THINGS]
    pairs = [
        {"prompt": f"Why is a {thing} {'<here>' if n % 4 == 0 else 'here'}?", "chosen": "It is.", "rejected": "No."}
        for n, thing in enumerate(THINGS)
    ]
    return {
        "instructions": (write(tmp_path / "asked.jsonl", asked),),
        "preferences": (write(tmp_path / "pairs.jsonl", pairs),),
    }


def planned(files, seed=0, taught=None, **options):
    return plan(CorpusConfig(**{**SMALL, **files, **options}), seed, taught=taught or {})


def of_files(made):
    """Every example and pair of a file."""
    spoken = [example for said in made.spoken for example in said.examples]
    return [row for row in (*spoken, *made.typed, *made.pairs) if file_of(row)]


def test_rows_are_in_the_split_of_their_prompts_words_and_take_their_share_of_training(files):
    made = planned(files, file_share=1 / 3)
    assert made.rows["instructions/asked"].keys() == {"train", "valid"}, "a free answer cannot be graded"
    assert made.rows["instructions/asked"]["train"] == made.rows["preferences/pairs"]["train"] == 60
    assert 4 <= made.rows["preferences/pairs"]["test"] <= 20
    for row in of_files(made):
        assert row.split == split_of(normalise(row.text) if "<" not in row.text else row.text.casefold().rstrip("?"))
    kinds = Counter((type(row).__name__, row.clip is None) for row in of_files(made))
    assert kinds.keys() == {("Example", True), ("Pair", True)}, "typed, if they are not to be spoken"
    assert {pair.kind for pair in made.pairs if pair.id.startswith("pair/test/preferences/")} == {"preference/pairs"}
    assert all(row.answer.endswith("<b>fine</b>.") for row in made.typed)


def test_the_seed_draws_the_training_rows_alone(files):
    one, again, other = (planned(files, seed, file_share=0.2) for seed in (0, 0, 1))
    assert of_files(one) == of_files(again)
    texts = [{row.text for row in of_files(made) if row.split == "train"} for made in (one, other)]
    held = [[row for row in of_files(made) if row.split != "train"] for made in (one, other)]
    assert texts[0] != texts[1] and held[0] == held[1]


def test_without_files_nothing_is_drawn_otherwise(files):
    plain, more = planned({}), planned(files, speak_prompts=True)
    assert more.spoken[: len(plain.spoken)] == plain.spoken and more.items == plain.items
    assert not plain.typed and not plain.rows


def test_short_prompts_are_spoken_on_clips_of_their_own_and_repeated_too(files):
    made = planned(files, file_share=1 / 3, speak_prompts=True)
    by_id = {said.id: said for said in made.spoken}
    assert len(by_id) == len(made.spoken)
    for row in of_files(made):
        if "<" in row.text:
            assert row.clip is None
        else:
            said = by_id[row.clip]
            assert (said.text, said.split) == (row.text, row.split) and row.text == normalise(row.text)
            tasks = [example.task for example in said.examples]
            own = ["follow"] if row.id.split("/")[1] == "instructions" else []
            assert tasks == own + ["repeat"] * (row.split != "test")
    assert 10 < sum(row.clip is None for row in of_files(made)) < len(of_files(made)) / 2
    long = " ".join(["very"] * 26)
    row = rows.row_files.Row("instructions/x", 1, long, "y", words=long)
    assert not rows._spoken(row, CorpusConfig(speak_prompts=True)), "too long to be said"


def test_answers_of_the_teacher_replace_the_files_and_what_it_does_not_answer_is_left_out(files):
    options = {"answers": "teacher", "speak_prompts": True, "file_share": 1 / 3}
    asked = rows.to_answer(CorpusConfig(**SMALL, **files, **options), 0)
    assert len(asked) > 60 and all(text == normalise(text) for text in asked)
    made = planned(files, taught={text: f"a word on {text}" for text in asked[1:]}, **options)
    found = [row for row in of_files(made) if row.id.split("/")[1] == "instructions"]
    assert {row.text for row in found} == set(asked[1:])
    assert all(row.answer == f"a word on {row.text}" and row.task == "answer" for row in found)
    assert made.rows["instructions/asked"]["not answered by the base in one line"] == 1
    test = [row for row in found if row.split == "test"]
    assert test and {(row.probe, row.grader) for row in test} == {("task/request/asked", "agreement")}
    assert rows.to_answer(CorpusConfig(**SMALL, **files), 0) == []


def test_no_row_says_what_is_held_out_in_other_rows_or_in_a_test_of_the_run(files, tmp_path):
    plain = planned({})
    item = next(item for item in plain.items if item.probe == "safety/harmful/text" and split_of(item.text) == "train")
    sentence = next(s.text for s in plain.spoken if s.split == "test" and s.text.count(" ") > 3)
    held = next(row for row in of_files(planned(files)) if row.split == "test")
    planted = [
        {"prompt": f"{item.text.capitalize()}!", "answer": "No."},
        {"prompt": "What is a typical sentence?", "answer": f"Well. {sentence.capitalize()}. Yes."},
        {"prompt": f"Listen: {held.text} Now you.", "answer": "Well."},
    ]
    planted = [row for row in planted for _ in (0,)] + [
        {"prompt": f"Draw a {t}.", "answer": "I can not."} for t in THINGS
    ]
    files["instructions"] += (write(tmp_path / "planted.jsonl", planted),)
    made = planned(files, file_share=0.9)
    said = " ".join(f"{normalise(row.text)} {normalise(row.answer)}" for row in made.typed)
    splits = [split_of(normalise(row["prompt"])) for row in planted[:3]]
    assert made.rows["instructions/planted"]["says a text of a test or validation item"] >= splits.count("train") >= 2
    assert normalise(item.text) not in said and f"{sentence} yes" not in said and "now you" not in said
    assert "draw a red tent" in said or "draw a blue tent" in said


def test_the_projects_own_clips_that_say_a_held_out_prompt_are_taken_out(files, tmp_path):
    plain = planned({}, train_clips=1500)
    trained = {s.text for s in plain.spoken if s.split == "train" and " " in s.text and not s.in_a_row}
    text = next(text for text in sorted(trained) if split_of(text) == "test")
    pair = {"prompt": f"{text.capitalize()}?", "chosen": "Yes.", "rejected": "No."}
    made = planned({"preferences": (write(tmp_path / "own.jsonl", [pair]),)}, speak_prompts=True, train_clips=1500)
    assert [p.split for p in made.pairs if file_of(p)] == ["test"]
    assert not any(s.text == text for s in made.spoken if s.split != "test")


def test_rows_that_say_what_recordings_hold_out_are_left_out_later_too(files):
    made = planned(files, speak_prompts=True)
    typed = next(row for row in made.pairs if file_of(row) and row.clip is None and row.split == "train")
    spoken = next(row for row in of_files(made) if row.clip and row.split == "train")
    left = without(made, {normalise(typed.text), spoken.text})
    assert not {typed.id, spoken.id} & {row.id for row in of_files(left)}
    assert len(of_files(left)) == len(of_files(made)) - 2
    assert sum(counts.get("says a text of a test or validation item", 0) for counts in left.rows.values()) == 2
    assert not any(said.text == spoken.text for said in left.spoken)


def test_the_key_of_the_corpus_covers_the_files_content_and_is_as_before_without_them(files, tmp_path):
    def key(*changes):
        return corpus_key(load_recipe("smoke", list(changes)))

    named = f"corpus.instructions=[{files['instructions'][0]}]"
    before = key(named)
    assert before != key() and before == key(named) and key(named, "corpus.speak_prompts=true") != before
    with (tmp_path / "asked.jsonl").open("a") as file:
        file.write('{"prompt": "One more", "answer": "Yes"}\n')
    assert key(named) != before
    assert key() == key("corpus.file_share=0.2")


def test_the_outline_says_how_many_rows_a_run_takes(files):
    changes = [f"corpus.{kind}=[{paths[0]}]" for kind, paths in files.items()]
    about = outline(load_recipe("smoke", [*changes, "corpus.file_share=0.25", "corpus.longest_row=60"]))
    assert about.rows["instructions/asked"]["train"] == about.rows["preferences/pairs"]["train"] == 40
    assert outline(load_recipe("smoke")).rows == {}


def test_a_teacher_needs_a_loaded_base_and_files_need_training_clips(files):
    def found(*changes):
        recipe = load_recipe("smoke", [f"corpus.instructions=[{files['instructions'][0]}]", *changes])
        return combinations.problems(recipe, ())

    assert not found()
    assert "answers is teacher" in found("corpus.answers=teacher")[0]
    assert "file_share is 0" in found("corpus.file_share=0")[0]
