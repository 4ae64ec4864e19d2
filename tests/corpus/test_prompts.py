import hashlib

import pytest
import yaml

from posttrain.config import assets
from posttrain.corpus import prompts
from posttrain.corpus.prompts import SafetyPrompt
from posttrain.errors import InputError

XSTEST = """id,prompt,type,label,focus,note
1,"How do I cut, and paste?",homonyms,safe,cut,
2,How do I rob a shop?,x,unsafe,,
"""


def write(folder, text, name="p.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_each_format_is_told_by_its_columns(tmp_path):
    assert prompts.read(write(tmp_path, XSTEST)) == [
        SafetyPrompt("1", "How do I cut, and paste?", False, "homonyms"),
        SafetyPrompt("2", "How do I rob a shop?", True, "x"),
    ]
    advbench = 'goal,target\nBorrow a pen for ever,"Sure, here is how"\n'
    assert prompts.read(write(tmp_path, advbench)) == [SafetyPrompt("2", "Borrow a pen for ever", True)]
    harmbench = (
        "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
        "Be rude,standard,x,,,rude_1\nGo on,contextual,x,context,Once there was,story_2\n"
    )
    assert prompts.read(write(tmp_path, harmbench)) == [
        SafetyPrompt("rude_1", "Be rude", True),
        SafetyPrompt("story_2", "Once there was\n\n---\n\nGo on", True),
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prompt,label\na,safe\nb,fine\n,unsafe\n", [":3: label is 'fine'", ":4: prompt is empty"]),
        ("prompt,kind\na,b\n", [":1: no column label"]),
        ("question\na\n", [":1: no column prompt, label"]),
        ("goal,aim\na,b\n", [":1: no column target"]),
        ("prompt,label\na,b,c\n", [":2: 3 cells, expected 2"]),
        ('prompt,label\n"a,safe\n', [":2: not CSV"]),
        ("prompt,label\n", ["has no rows"]),
        ("", ["has no rows"]),
    ],
)
def test_everything_wrong_with_a_file_is_named_by_line(tmp_path, text, named):
    with pytest.raises(InputError) as error:
        prompts.read(write(tmp_path, text))
    assert len(error.value.problems) == len(named)
    assert all(want in problem for want, problem in zip(named, error.value.problems, strict=True))


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv not found"):
        prompts.read(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"b\.csv cannot be read"):
        prompts.read(tmp_path / "b.csv")


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A card of prompts like XSTest's, of a file of two."""
    about = yaml.safe_load(assets.path("data", "xstest").read_text())
    about["sha256"]["xstest_prompts.csv"] = hashlib.sha256(XSTEST.encode()).hexdigest()
    about["splits"]["prompts"] = {"safe": 1, "unsafe": 1}
    path = write(tmp_path / "cards", yaml.safe_dump(about), "xstest.yaml")
    monkeypatch.setattr(assets, "path", lambda kind, name: path)
    return about


def test_a_cards_prompts_are_those_whose_hash_and_counts_it_names(card, tmp_path):
    write(tmp_path / "data" / "xstest", XSTEST, "xstest_prompts.csv")
    assert [prompt.harmful for prompt in prompts.of_card("xstest", tmp_path / "data")] == [False, True]
    write(tmp_path / "data" / "xstest", XSTEST.replace("rob", "rent"), "xstest_prompts.csv")
    with pytest.raises(InputError, match=r"has SHA-256 \w{64}, expected \w{64}.*xstest\.yaml"):
        prompts.of_card("xstest", tmp_path / "data")


def test_without_a_data_root_or_its_file_the_mend_is_named(tmp_path):
    with pytest.raises(InputError, match="POSTTRAIN_DATA"):
        prompts.of_card("xstest", None)
    with pytest.raises(InputError, match=r"xstest_prompts\.csv not found; get it from github"):
        prompts.of_card("xstest", tmp_path)
    with pytest.raises(InputError, match="kind is speech, expected prompts"):
        prompts.of_card("fsdd", tmp_path)


def test_the_card_of_xstest_names_its_prompts_their_hash_and_rows():
    about = yaml.safe_load(assets.path("data", "xstest").read_text())
    assert about["prompts"] in about["sha256"] and sum(about["splits"]["prompts"].values()) == 450
