from posttrain.evals.errors import edit_errors, open_asr_errors


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


def test_the_open_asr_leaderboards_count_reads_numbers_and_spellings_as_one():
    found = open_asr_errors("The colour is twenty-five, Mr. Smith!", "the color is 25 mister smith")
    assert found == {"open_asr_errors": 0, "open_asr_words": 6}
    assert open_asr_errors("I won't go", "") == {"open_asr_errors": 4, "open_asr_words": 4}
    assert open_asr_errors("uh, um", "hello") == {}
