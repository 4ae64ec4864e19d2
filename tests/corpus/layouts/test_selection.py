"""A card's list of rows gives exactly those rows, in its order."""

from posttrain.config import assets
from posttrain.corpus.layouts import selection
from posttrain.corpus.layouts.entry import Entry
from tests.corpus.layouts.reading import entries, make
from tests.corpus.layouts.test_speechocean762 import ocean


def test_rows_are_chosen_by_the_authors_names_in_the_order_of_the_list(tmp_path):
    found, problems = entries(ocean(tmp_path / "corpus"), "speechocean762")
    make(tmp_path, {"list.txt": "000030011\n000010003\n"})
    rows = selection.chosen(found, tmp_path / "list.txt", problems)
    assert [row.id for row in rows] == ["000030011", "000010003"] and problems == []


def test_names_that_the_folder_lacks_are_counted_and_the_first_is_named(tmp_path):
    found, problems = entries(ocean(tmp_path / "corpus"), "speechocean762")
    make(tmp_path, {"list.txt": "000010003\n999999999\n888888888\n"})
    assert len(selection.chosen(found, tmp_path / "list.txt", problems)) == 1
    assert "list.txt:2: 2 of the 3 recordings listed" in problems[0] and "'999999999'" in problems[0]


def test_the_list_of_speechocean762_has_the_rows_that_its_card_counts():
    names = assets.path("data", "rows/speechocean762.txt").read_text().split()
    assert len(names) == len(set(names)) == 2080 + 120 + 165
    assert len({name[1:5] for name in names}) == 104 + 6 + 15


def test_a_name_that_two_recordings_have_is_told(tmp_path):
    make(tmp_path, {"list.txt": "a\n"})
    problems = []
    twice = [Entry(tmp_path / "wav.scp", line, f"{line}.wav", id="a") for line in (1, 2)]
    assert [entry.line for entry in selection.chosen(twice, tmp_path / "list.txt", problems)] == [1]
    assert "wav.scp:2: 'a', which list.txt names, is also in" in problems[0]
