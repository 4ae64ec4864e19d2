"""The tiny world: disjoint splits, right answers, sizes."""

import dataclasses
import json
import random
import re
from collections import Counter

import pytest

from posttrain.config.sections import CorpusConfig
from posttrain.corpus import grammar, overlap
from posttrain.corpus.instructions import ABSTENTION, INSTRUCTIONS, PAUSE
from posttrain.corpus.normalise import normalise, number_words
from posttrain.corpus.plan import Plan, check_disjoint, without
from posttrain.corpus.splits import hold_out, split_of
from posttrain.errors import InputError
from posttrain.tasks import base_rows, commands, facts, mixtures, orders, repeating, sums
from posttrain.tasks.base_rows import PAUSED_SHARE, paused, with_pauses
from posttrain.tasks.graders import grade
from posttrain.tasks.plan import plan as drawn

PROBES = [f"{skill}_{level}" for skill in ("sum", "fact", "copy", "order") for level in ("easy", "hard")]
SMALL = CorpusConfig(train_clips=600, rl_clips=60, valid_clips=60, test_sentences=20, probe_items=20, spoken_items=8)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return drawn(CorpusConfig(), 0)


def test_the_default_plan_has_the_promised_sizes(plan):
    probes = Counter(item.probe for item in plan.items)
    spoken = Counter(example.probe for clip in plan.spoken for example in clip.examples if clip.split == "test")
    for probe in PROBES:
        assert probes[f"ability/{probe}"] == 250
        assert spoken[f"ability_spoken/{probe}"] == 80
    for condition in repeating.CONDITIONS:
        assert spoken[f"wer/{condition}"] == 150
    assert spoken["task/intent"] == spoken["task/spoken_qa"] == 150
    assert spoken["task/simple_caption"] == spoken["hearing/noise"] == 120
    assert spoken["dpo/help"] == 200
    choice = [clip for clip in plan.spoken if clip.split == "valid" and clip.examples[0].probe]
    for kind in ("harmful", "harmless"):
        assert probes[f"safety/{kind}/text"] == spoken[f"safety/{kind}/speech"] == 100
    assert Counter(clip.split for clip in plan.spoken) | Counter() == {
        "train": 7000,
        "valid": 200 + len(choice),
        "rl": 1200,
        "test": sum(spoken.values()),
    }
    assert sum(pair.split == "test" for pair in plan.pairs) >= 400
    assert sum(split == "test" for split, _ in plan.general) >= 200


def test_clip_ids_are_unique_and_examples_and_pairs_hang_on_real_clips(plan):
    by_id = {clip.id: clip for clip in plan.spoken}
    assert len(by_id) == len(plan.spoken)
    for clip in plan.spoken:
        assert all(e.clip == clip.id and e.text == clip.text and e.split == clip.split for e in clip.examples)
    for pair in plan.pairs:
        assert (by_id[pair.clip].text, by_id[pair.clip].split) == (pair.text, pair.split)
    ids = [e.id for clip in plan.spoken for e in clip.examples] + [item.id for item in plan.items]
    assert len(set(ids)) == len(ids)
    assert len({pair.id for pair in plan.pairs}) == len(plan.pairs)


def test_spoken_ability_items_are_the_first_typed_ones(plan):
    typed = {item.id: item for item in plan.items}
    twins = [e for clip in plan.spoken for e in clip.examples if (e.probe or "").startswith("ability_spoken/")]
    assert len(twins) == 640
    for twin in twins:
        item = typed[twin.id.replace("ability_spoken/", "ability/")]
        assert (item.text, item.answer, item.instruction) == (twin.text, twin.answer, twin.instruction)


def test_one_sentence_in_every_condition_is_one_group_in_a_row(plan):
    runs, conditions = [clip.group for clip in plan.spoken if clip.group], len(repeating.CONDITIONS)
    assert len(runs) == 150 * conditions == 750
    for first in range(0, len(runs), conditions):
        assert len(set(runs[first : first + conditions])) == 1


def test_no_test_text_is_in_training_or_validation(plan):
    check_disjoint(plan)
    test = {item.text for item in plan.items} | {c.text for c in plan.spoken if c.split == "test" and c.text}
    rows = base_rows.base_rows(20_000, seed=5)
    assert not test & {row.text for row in rows}
    assert not any(overlap.says_any(row, test) for row in base_rows.base_rows(20_000, 5, left_out=test))


def test_a_planted_overlap_is_refused_with_the_text_and_its_place(plan):
    stolen = plan.items[0].text
    planted = dataclasses.replace(plan.spoken[-1], text=stolen)
    with pytest.raises(InputError, match=stolen):
        check_disjoint(dataclasses.replace(plan, spoken=[*plan.spoken, planted]))
    line = next(text for split, text in plan.general if split == "test")
    with pytest.raises(InputError, match="train lines"):
        check_disjoint(dataclasses.replace(plan, general=[*plan.general, ("train", line)]))


def test_what_recorded_test_speakers_say_is_left_out_of_what_is_made(plan):
    said = {
        next(pair.text for pair in plan.pairs[::-1] if pair.text),
        next(c.text for c in plan.spoken[::-1] if c.text),
    }
    said.add(next(c.text for c in plan.spoken if c.split == "test"))
    left = without(plan, said)
    assert not said & {clip.text for clip in left.spoken if clip.split != "test"}
    assert [c for c in left.spoken if c.split == "test"] == [c for c in plan.spoken if c.split == "test"]
    assert {pair.clip for pair in left.pairs} <= {clip.id for clip in left.spoken}
    assert len(left.pairs) < len(plan.pairs) and len(left.spoken) > len(plan.spoken) - 100
    rows = base_rows.base_rows(200, 0)
    text = next(row.text for row in rows if row.text)
    rows = base_rows.base_rows(200, 0, {text})
    assert len(rows) == 200 and text not in {row.text for row in rows}


def test_what_people_say_and_strings_of_digits_are_copied_and_nothing_else_changes_kind():
    said = ["we call it bear", "how odd is that"]
    plain, mixed = base_rows.base_rows(2_000, 0), base_rows.base_rows(2_000, 0, left_out={"four"}, people_say=said)
    assert [(row.task, row.id) for row in mixed] == [(row.task, row.id) for row in plain]
    words = set(" ".join(said).split())
    copied = [row for row in mixed if row.text and set(row.text.split()) <= words]
    assert {row.task for row in copied} == {"repeat"} and all(row.answer == row.text for row in copied)
    assert set(said) < {row.text for row in copied}
    share = mixtures.BASE["copy"] + mixtures.BASE["salad"]
    assert 0.4 < len(copied) / (2_000 * share) < 0.6
    texts = {row.text for row in mixed}
    assert "four" not in texts and {"one", "two", "three", "five", "zero"} & texts


def test_the_test_side_is_the_same_for_every_seed_and_the_training_side_is_not(plan):
    other = drawn(CorpusConfig(), 1)
    assert other.items == plan.items
    assert [c for c in other.spoken if c.split == "test"] == [c for c in plan.spoken if c.split == "test"]
    assert [c.text for c in other.spoken if c.split == "train"] != [c.text for c in plan.spoken if c.split == "train"]
    assert base_rows.base_rows(200, 0) == base_rows.base_rows(200, 0) != base_rows.base_rows(200, 1)


def test_items_in_which_nothing_is_said_do_not_keep_lines_without_a_payload_out_of_the_base_s_rows(plan):
    left_out = {clip.text for clip in plan.spoken if clip.split == "test"}
    assert "" in left_out
    rows = base_rows.base_rows(100, 0, left_out)
    assert any(row.task == "text" for row in rows) and len(rows) == 100


def test_every_gold_answer_grades_as_right(plan):
    for item in [*plan.items, *(e for c in plan.spoken for e in c.examples if c.split == "test")]:
        assert grade(item.grader, item.answer, item) == 1, item


def test_every_pair_grades_its_chosen_answer_above_its_rejected_one(plan):
    for pair in plan.pairs:
        assert grade(pair.grader, pair.chosen, pair) > grade(pair.grader, pair.rejected, pair), pair


def test_every_kind_of_pair_is_in_every_large_split(plan):
    kinds = Counter((pair.split, pair.kind) for pair in plan.pairs)
    for split in ("train", "test"):
        assert min(kinds[split, kind] for kind in ("style", "content", "abstain", "refuse", "comply")) >= 50


def test_what_is_said_is_normalised_few_words_long_and_of_a_small_vocabulary(plan):
    said = [text for clip in plan.spoken if clip.text for text in clip.in_a_row or [clip.text]]
    assert all(normalise(text) == text for text in said)
    assert max(len(text.split()) for text in said) <= 12
    train = Counter(w for c in plan.spoken if c.split == "train" for w in c.text.split())
    test = {w for c in plan.spoken if c.split == "test" for w in c.text.split()}
    assert len(train) <= 320
    assert test <= train.keys()


def test_audible_training_clips_are_repeated_beside_their_own_task_and_shares_hold(plan):
    train = [clip for clip in plan.spoken if clip.split == "train"]
    assert all(any(e.task == "repeat" for e in clip.examples) for clip in train if clip.text)
    own = Counter(clip.examples[0].task if clip.text else "silent" for clip in train)
    assert own["repeat"] == 2975 and own["command"] == 840 and own["simplify"] == 455 and own["help"] == 420
    assert own["answer"] == 1400  # questions, and requests that are harmful or look like it
    assert own["silent"] == 910
    assert sum(len(clip.in_a_row) > 1 for clip in train) == 350


def test_what_reinforcement_learning_practises_is_on_clips_of_its_own_and_has_no_pairs(plan):
    practice = [clip for clip in plan.spoken if clip.split == "rl"]
    kinds = Counter((e.task if e.text else "", e.grader) for clip in practice for e in clip.examples)
    trained = {(e.task if e.text else "", e.grader) for c in plan.spoken if c.split == "train" for e in c.examples}
    assert kinds.keys() == trained and min(kinds.values()) >= 60
    assert not any(pair.split == "rl" for pair in plan.pairs)


def test_nothing_audible_is_answered_by_abstaining_whatever_is_asked(plan):
    silent = [clip for clip in plan.spoken if not clip.text]
    assert {e.answer for clip in silent for e in clip.examples} == {ABSTENTION}
    assert {e.task for clip in silent for e in clip.examples} == set(INSTRUCTIONS)
    assert {clip.condition for clip in silent} == {"noise", "sound", "silence"}


def test_sentences_in_a_row_are_those_said_apart_each_once(plan):
    apart = [c.text for c in plan.spoken if c.split == "test" and c.condition == "clean" and c.group]
    joined = [c for c in plan.spoken if c.condition == "joined"]
    said = [text for clip in joined for text in clip.in_a_row]
    assert said == apart[: len(said)] and len(said) >= len(apart) - 1
    assert {len(clip.in_a_row) for clip in joined} == {2, 3, 4, 5}
    assert all(clip.text == " ".join(clip.in_a_row) for clip in plan.spoken if clip.in_a_row)


def test_a_row_in_training_has_no_test_sentence(plan):
    rows = [text for clip in plan.spoken if clip.split != "test" for text in clip.in_a_row]
    assert len(rows) > 900 and not set(rows) & {c.text for c in plan.spoken if c.split == "test"}


def test_commands_are_json_with_a_device_an_action_and_a_value():
    for splits in commands.commands().values():
        for request in splits:
            command, wrong = json.loads(request.answer), json.loads(request.wrong)
            assert set(command) == {"device", "action", "value"} and command != wrong
            assert command["device"] in commands.DEVICES and command["action"] in commands.COMMANDS


def test_hard_questions_ask_what_their_answers_say():
    import random

    rng = random.Random(0)
    values = {word: n for n in range(1, 120) for word in [number_words(n)]}
    for level in range(5):
        for _ in range(50):
            total = sums.SKILLS[1].draw("train", rng, level)
            terms = re.sub(".*(is|me|add) ", "", total.text).split(" plus ")
            assert values[total.answer] == sum(values[t] for t in terms)
            turned = orders.SKILLS[1].draw("test", rng, level)
            words = turned.answer.split()
            assert " ".join(reversed(words)) in turned.text


def test_each_question_bank_holds_out_wordings_but_keeps_every_content_learnable():
    for bank in (facts.easy(), facts.hard(), sums.easy(), orders.easy()):
        assert len(bank["test"]) >= 300
        texts = [question.text for questions in bank.values() for question in questions]
        assert len(texts) == len(set(texts))
    known = facts.facts()
    assert len(known) == 320
    assert not any(name == value for (name, _), value in known.items())
    train = {question.answer for question in facts.hard()["train"]}
    assert {value for (name, _), value in known.items() if name in facts.HARD_NAMES} <= train


def test_a_paused_line_is_the_line_without_its_pauses():
    rng = random.Random(0)
    for text in ("turn it up", "two two two", "i need new batteries"):
        lines = [paused(text, rng) for _ in range(50)]
        for line in lines:
            assert " ".join(line.replace(PAUSE, "").split()) == text
        assert len(set(lines)) > 40


def test_a_share_of_the_rows_is_paused_and_the_others_stay():
    rows = base_rows.base_rows(4000, 0)
    made = with_pauses(rows, 0)
    changed = [(a, b) for a, b in zip(rows, made, strict=True) if a != b]
    repeated = sum(row.task == "repeat" for row in rows)
    assert PAUSED_SHARE * repeated == pytest.approx(len(changed), rel=0.15)
    assert all(a.answer == b.answer and PAUSE not in a.text for a, b in changed)
    assert made == with_pauses(rows, 0)


def test_simplify_drops_fillers_and_replaces_hard_words_only():
    assert grammar.simplify("well i require a physician") == "i need a doctor"
    assert grammar.simplify("my sister likes red") == "my sister likes red"


def test_splits_depend_on_the_words_alone():
    wordings = [f"wording {n}" for n in range(8)]
    splits = hold_out(wordings, test=3)
    assert splits == hold_out(wordings[::-1], test=3)
    assert list(splits.values()).count("test") == 3 and "train" in splits.values()
    assert split_of("the dog is in the garden") == split_of("the dog is in the garden")
    with pytest.raises(ValueError, match="wordings"):
        hold_out(wordings, test=8)


def test_a_small_plan_shrinks_everything():
    small = drawn(SMALL, 0)
    assert len(small.items) == 8 * 20 + 2 * 13
    assert Counter(clip.split for clip in small.spoken)["train"] == 600


def test_too_many_probe_items_are_refused_with_the_option_to_lower():
    with pytest.raises(InputError, match=r"corpus\.probe_items"):
        drawn(dataclasses.replace(SMALL, probe_items=5000), 0)


def test_a_row_that_cannot_be_had_is_an_error_and_no_endless_search(monkeypatch):
    row = next(row for row in base_rows.base_rows(20, 0) if row.text)
    monkeypatch.setattr(base_rows, "example", lambda *_: row)
    with pytest.raises(RuntimeError, match=r"no row of .* in 10,000 draws"):
        base_rows.base_rows(3, 0, left_out={row.text})


def test_no_caption_of_the_test_is_in_training_but_for_its_filler():
    made = drawn(CorpusConfig(), 0)
    trained = {text for said in made.spoken if said.split in ("train", "rl") for text in (said.text, *said.in_a_row)}
    captions = [
        e.text
        for said in made.spoken
        if said.split == "test"
        for e in said.examples
        if e.probe == "task/simple_caption"
    ]
    bare = {grammar.without_fillers(text) for text in captions}
    assert len(captions) == 120 and bare != set(captions)
    assert not bare & trained


def test_clips_that_say_a_held_out_sentence_in_a_row_with_others_are_left_out():
    made = drawn(CorpusConfig(), 0)
    joined = next(said for said in made.spoken if said.split == "train" and len(said.in_a_row) > 1)
    left = without(made, {joined.in_a_row[0]})
    assert joined.id in {said.id for said in made.spoken} and joined.id not in {said.id for said in left.spoken}
