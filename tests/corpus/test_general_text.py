import pytest
import yaml

from posttrain.config import assets
from posttrain.corpus import general_text
from posttrain.errors import InputError
from tests.corpus.made_text import SENTENCE, hold_out


def test_passages_are_whole_words_of_paragraphs_spread_over_the_file_the_same_each_time(tmp_path, monkeypatch):
    paragraphs = [f"paragraph {i} " + SENTENCE * 20 for i in range(4)]
    hold_out(tmp_path, "\n = a heading = \n" + " \n".join([paragraphs[0], "short", *paragraphs[1:]]), monkeypatch)
    found = general_text.passages(tmp_path)
    assert [set(line) for line in found] == [{"split", "text", "source"}] * 4
    assert {(line["split"], line["source"]) for line in found} == {("test", "wikitext")}
    for text, paragraph in zip((line["text"] for line in found), paragraphs, strict=True):
        assert paragraph.startswith(f"{text} ") and 480 < len(text) <= general_text.CHARACTERS
    assert general_text.passages(str(tmp_path)) == found
    card = assets.path("data", "wikitext")  # the copy that names this text
    card.write_text(yaml.safe_dump(yaml.safe_load(card.read_text()) | {"splits": {"test": {"passages": 2}}}))
    assert [line["text"].split()[1] for line in general_text.passages(tmp_path)] == ["0", "2"]


def test_without_a_data_root_that_holds_it_there_is_none(tmp_path):
    assert general_text.passages(None) == general_text.passages(tmp_path) == []


def test_another_text_than_the_cards_is_refused(tmp_path):
    file = tmp_path / "wikitext" / "test.txt"
    file.parent.mkdir()
    file.write_text("my own text " * 100)
    with pytest.raises(InputError, match=r"test\.txt has SHA-256 \w{64}, expected 59e7487c.*wikitext\.yaml"):
        general_text.passages(tmp_path)


@pytest.mark.parametrize("name", general_text.CARDS)
def test_a_card_names_its_text_and_how_many_passages_are_read(name):
    about = yaml.safe_load(assets.path("data", name).read_text())
    assert about["held_out"] in about["sha256"]
    assert about["splits"]["test"]["passages"] > 100  # enough for an interval
