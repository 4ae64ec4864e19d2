from posttrain.evals.errors import edit_errors


def test_errors_match_a_hand_worked_example():
    found = edit_errors("call anna at nine not ten", "call hannah at nine ten")
    assert (found["errors"], found["words"]) == (2, 6)  # anna → hannah, not lost
    assert (found["critical_errors"], found["critical_words"]) == (2, 4)  # anna and not; nine and ten were right


def test_both_texts_are_normalised_alike():
    assert edit_errors("turn it up", "Turn it up!")["errors"] == 0


def test_an_empty_hypothesis_loses_every_word_and_character():
    found = edit_errors("turn it up", "")
    assert found["errors"] == found["words"] == 3
    assert found["char_errors"] == found["chars"] == 10
