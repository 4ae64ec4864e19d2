"""The example persons: nothing of theirs is in the tiny world's splits, and who is made twice is the same."""

import pytest

from posttrain.corpus import example_person, grammar, personal, speech
from posttrain.corpus.example_person import PERSONS, TESTS

FILLINGS = {word for filling in grammar.SLOTS.values() for words in filling for word in words.split()}
WORDS = FILLINGS | {word for text in grammar.GENERAL + grammar.HARD + grammar.STORIES for word in text.split()}


@pytest.fixture(scope="module", params=range(len(PERSONS)))
def made(request, tmp_path_factory):
    return PERSONS[request.param], example_person.write(tmp_path_factory.mktemp("person"), request.param)


def test_voices_and_names_are_of_no_split_and_of_no_other_person():
    variants = [person.voice.split("+")[1] for person in PERSONS]
    names = [name for person in PERSONS for name in person.people + person.places]
    assert len(PERSONS) >= 2 and len(set(variants)) == len(variants) and not set(variants) & set(speech.VARIANTS)
    assert len(set(names)) == 5 * len(PERSONS) and not set(names) & WORDS


def test_each_name_is_learned_and_measured_in_sentences_of_other_wordings(made):
    person, manifest = made
    utterances = personal.load(manifest)
    train, test = ([u for u in utterances if u.split == split] for split in ("train", "test"))
    assert (len(train), len(test)) == (personal.MOST, TESTS)
    own = set(person.people + person.places)
    for split in (train, test):
        heard = [word for u in split for word in u.names]
        assert all(heard.count(name) >= len(split) / len(own) for name in own)
        assert all(set(u.names) == own & set(u.text.split()) for u in split)
    assert not _wordings(train, own) & _wordings(test, own)
    assert {word for u in utterances for word in u.text.split()} <= WORDS | own


def test_made_twice_it_is_the_same_to_the_byte(made, tmp_path):
    person, manifest = made
    again = example_person.write(tmp_path, PERSONS.index(person))
    files = sorted(path.name for path in manifest.parent.iterdir())
    assert len(files) == personal.MOST + TESTS + 1
    assert all((manifest.parent / name).read_bytes() == (again.parent / name).read_bytes() for name in files)


def _wordings(utterances, own):
    """What is left of the sentences without what fills their slots."""
    return {tuple(word for word in u.text.split() if word not in FILLINGS | own) for u in utterances}
