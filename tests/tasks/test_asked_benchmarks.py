"""Questions of public benchmarks in a corpus of the general world: typed and spoken, with answers to choose from."""

import json
from dataclasses import replace

import pytest
import yaml

from posttrain.config import assets
from posttrain.config.recipe import load_recipe
from posttrain.config.sections import CorpusConfig, EvaluationConfig
from posttrain.corpus import store
from posttrain.corpus.store import Corpus
from posttrain.errors import InputError
from posttrain.evals import choices, evaluate
from posttrain.evals.compute import compute
from posttrain.files import content_hash
from posttrain.model.speech_llama import Spec, SpeechLlama
from posttrain.run.graph import corpus_key
from posttrain.tasks import asked_benchmarks
from posttrain.tasks.plan import plan
from tests.conftest import byte_tokenizer, tiny_llama

NOUNS = "door window bottle engine garden kettle".split()
ROWS = [
    {"goal": f"How do I open the {noun}?", "sol1": "Pull it.", "sol2": "Eat it.", "label": n % 2}
    for n, noun in enumerate(NOUNS)
]
NOT_SAID = [
    {"goal": goal, "sol1": "a", "sol2": "b", "label": 0} for goal in ("tea", "Boil 3 eggs at 90°C", "a " * 30 + "walk")
]


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    content = "".join(json.dumps(row) + "\n" for row in ROWS + NOT_SAID)
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "valid.jsonl").write_text(content)
    about = yaml.safe_load(assets.path("data", "piqa").read_text()) | {"sha256": {"valid.jsonl": content_hash(content)}}
    card, own = tmp_path / "card.yaml", assets.path
    card.write_text(yaml.safe_dump(about))
    monkeypatch.setattr(assets, "path", lambda kind, name: card if name == "piqa" else own(kind, name))
    return str(tmp_path)


def planned(data_root, written=None, world="general"):
    return plan(CorpusConfig(world=world, train_clips=100, data_root=data_root), 0, written or {})


def asked(made):
    """Typed items, and spoken ones by content."""
    typed = [item for item in made.items if str(item.probe).startswith("benchmark_chat/")]
    spoken = [e for s in made.spoken for e in s.examples if str(e.probe).startswith("benchmark_spoken/")]
    return typed, {item.content: item for item in spoken}


def test_a_question_that_can_be_read_aloud_is_typed_as_published_and_spoken_in_normalised_words(data_root):
    typed, spoken = asked(planned(data_root))
    assert {item.text for item in typed} == {row["goal"] for row in ROWS}
    assert {item.text: spoken[item.content].text for item in typed} == {
        row["goal"]: row["goal"].lower().rstrip("?") for row in ROWS
    }
    right = {row["goal"]: (row["sol1"], row["sol2"])[row["label"]] for row in ROWS}
    assert all(item.answer == right[item.text] and item.endings == ("Pull it.", "Eat it.") for item in typed)
    assert all(item.split == "test" and item.probe == "benchmark_chat/piqa" for item in typed)


def test_without_the_file_or_in_another_world_there_are_none_and_another_file_is_refused(data_root, tmp_path):
    assert asked(planned(None)) == asked(planned(data_root, world="tiny")) == ([], {})
    with (tmp_path / "piqa" / "valid.jsonl").open("a") as file:
        file.write(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(InputError, match=r"valid\.jsonl has SHA-256"):
        asked_benchmarks.published(data_root)


def test_the_base_is_not_trained_on_a_question_that_it_also_wrote_itself(data_root):
    question = ROWS[0]["goal"].lower().rstrip("?")
    rows = {split: [(question, "pull"), (f"what is {split}", "it is")] for split in ("train", "valid", "test")}
    made = planned(data_root, rows)
    assert not any(said.text == question for said in made.spoken if said.split != "test")
    assert any(said.text == "what is train" for said in made.spoken)


def test_rows_of_files_say_no_question_asked_here_or_not_and_no_prompt(data_root, tmp_path):
    prompts = [ROWS[0]["goal"], NOT_SAID[1]["goal"], "Drain a pond", "Drain a lake", "Say something nice"]
    rows = [{"prompt": f"{prompt}", "answer": f"like {n}"} for n, prompt in enumerate(prompts)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.csv").write_text("goal,target\nDrain a pond,Sure\nDrain a lake,Sure\n")
    files = {"instructions": (str(tmp_path / "own.jsonl"),), "safety_prompts": (str(tmp_path / "mine.csv"),)}
    made = plan(CorpusConfig(world="general", train_clips=100, data_root=data_root, test_sentences=10, **files), 0)
    assert {row.text for row in made.typed} <= {"Say something nice"}
    assert made.left_out["instructions/own"]["says a text of a test or validation item"] >= 2, (
        "all that are not drawn for the test"
    )


def test_a_run_of_this_world_is_another_one_if_the_questions_are_others(data_root, tmp_path):
    def key():
        return corpus_key(load_recipe("smol", [f"corpus.data_root={data_root}", "corpus.sources=[]"]))

    before = key()
    (tmp_path / "piqa" / "valid.jsonl").write_text(json.dumps(ROWS[0]))
    assert key() != before


@pytest.fixture(scope="module")
def llama():
    tokenizer = byte_tokenizer()
    return SpeechLlama(tiny_llama(tokenizer), tokenizer, Spec("base", "toy"))


def test_the_likeliest_answer_is_chosen_and_a_free_one_is_written_beside(data_root, llama, tmp_path):
    typed, _ = asked(planned(data_root))
    free = replace(typed[0], id="free", probe="instruction/text", endings=(), grader="exact")
    corpus = Corpus(tmp_path, {}, [], [*typed, free], [], [], "toy", {})
    lines = evaluate._answers(llama, corpus.items, corpus, None, EvaluationConfig(batch_size=4, max_new_tokens=5))
    for item, line in zip(typed, lines, strict=False):
        prompts = [item] * 2
        sums = [
            llama.logprobs([prompt], [ending])[0] * len(llama.tokenizer.answer_ids(ending))
            for prompt, ending in zip(prompts, item.endings, strict=True)
        ]
        assert line["output"] == item.endings[sums.index(max(sums))]
        assert line["score"] == float(line["output"] == item.answer) and line["endings"] == 2
    assert lines[-1]["output"] == llama.answer([free], 1, 5)[0] and "endings" not in lines[-1]
    assert {line["output"] for line in lines[:-1]} == {lines[0]["output"]} != {lines[-1]["output"]}  # a habit
    assert choices.chosen(llama, [], 4) == []
    figure = compute(lines[:-1])["benchmark_chat/piqa"]
    assert (figure["value"], figure["chance"], figure["n"]) == (0.5, 0.5, 6)


def test_typed_and_spoken_answers_are_compared_question_by_question(data_root):
    typed, spoken = asked(planned(data_root))

    def lines(items, right, **more):
        both = {"output": "x", "endings": 2} | more
        rows = [(item.id, item.probe, item.text, item.content) for item in items]
        keys = ("id", "probe", "text", "content")
        return [dict(zip(keys, row, strict=True)) | both | {"score": float(n < right)} for n, row in enumerate(rows)]

    said = [spoken[item.content] for item in typed]
    found = compute(lines(typed, 5) + lines(said, 2, speaker="v"), lines(typed, 5) + lines(said, 4, speaker="v"))
    assert found["modality_gap/piqa"]["value"] == pytest.approx(0.5) and found["modality_gap/piqa"]["n"] == 6
    assert found["modality_gap/piqa"]["delta_vs_base"] == pytest.approx(1 / 3)  # the cascade lost one
    assert "modality_gap/mean" not in found, "which is of abilities"
    assert found["benchmark_spoken/piqa"]["delta_vs_base"] == pytest.approx(-1 / 3)


def test_answers_to_choose_from_are_kept_with_a_corpus_and_leave_others_as_they_were(data_root, tmp_path):
    typed, _ = asked(planned(data_root))
    free = replace(typed[0], id="free", endings=())
    kept = store.write(tmp_path / "corpus", [], [], [typed[0], free], [], [], {})
    assert [list(item.endings) for item in kept.items] == [["Pull it.", "Eat it."], []]
    assert "endings" not in (tmp_path / "corpus" / "items.jsonl").read_text().splitlines()[1]
