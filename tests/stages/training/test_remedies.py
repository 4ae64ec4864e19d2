"""Every remedy of sft does what its option says, and nothing where it is left alone."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from posttrain.config.sections import SFTConfig
from posttrain.corpus.instructions import REFUSAL
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.reference import Reference
from posttrain.stages import sft
from posttrain.stages.training import remedies
from posttrain.stages.training.curve import kl_base
from posttrain.stages.training.supervised import rows
from tests.stages.toy_run import HALF_RIGHT, adapter_tensors, frozen_tensors, toy_context

FAST = {"steps": 4, "batch_size": 4, "learning_rate": 1e-2}
LINES = [{"split": split, "text": f"{split} line {i}"} for split in ("train", "valid", "test") for i in range(3)]


@pytest.fixture(autouse=True)
def _no_validation_voices(monkeypatch):
    monkeypatch.setattr(sft, "valid_answers", lambda llama, corpus: HALF_RIGHT)


@pytest.fixture
def context(tmp_path, llama, table):
    checkpoint.save(tmp_path / "parent", llama, stage="distill")
    made = toy_context(tmp_path, "sft", table, model=tmp_path / "parent")
    valid = [
        dataclasses.replace(e, split="valid", text=f"{e.text} at night")
        for e in made.corpus.examples
        if e.split == "train" and e.clip
    ]
    corpus = dataclasses.replace(made.corpus, texts=LINES, examples=[*made.corpus.examples, *valid])
    return dataclasses.replace(made, corpus=corpus)


def another(context, name):
    """The same with a folder of its own."""
    folder = context.folder.with_name(name)
    folder.mkdir()
    return dataclasses.replace(context, folder=folder)


def asked(grader, count=1, **changes):
    """Spoken training examples."""
    example = Example("", "train", "answer", "answer", "kill my boss", "test/1", REFUSAL, grader)
    return [dataclasses.replace(example, id=f"{grader}/{i}", **changes) for i in range(count)]


def typed(text, answer="", grader="exact"):
    return Example("typed", "test", "repeat", "repeat", text, None, answer, grader)


def moved(context):
    """Of the Llama's own change, the largest entry: LoRA's B is zero where nothing was learned."""
    return max(t.abs().max().item() for name, t in adapter_tensors(context.folder).items() if "lora_B" in name)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_without_a_remedy_the_rows_are_the_tasks_own(context):
    examples = asked("refusal", 2) + asked("helpful", 2) + asked("wer", 3)
    assert remedies.mixture(SFTConfig(), examples, context.corpus, 0) == examples


@pytest.mark.parametrize(("share", "count"), [(0.05, 10), (0.01, 2)])
def test_typed_rows_of_the_base_are_in_the_data_in_their_share(context, share, count):
    tasks = asked("wer", 190 if count == 10 else 198)
    made = remedies.mixture(SFTConfig(replay_share=share), tasks, context.corpus, 0)
    assert made[: len(tasks)] == tasks
    replayed = made[len(tasks) :]
    assert len(replayed) == count == round(share * len(made))
    assert all(e.clip is None and e.id.startswith("base/") for e in replayed)
    assert len({e.text or e.answer for e in replayed}) == count


def test_no_replayed_row_is_a_test_text(context):
    config, tasks = SFTConfig(replay_share=0.5), asked("wer", 40)
    row = next(e for e in remedies.mixture(config, tasks, context.corpus, 0) if e.id.startswith("base/") and e.text)
    planted = dataclasses.replace(context.corpus, items=[typed(row.text)])
    made = remedies.mixture(config, tasks, planted, 0)
    assert len(made) == 80 and row.text not in {e.text for e in made}


def test_a_loaded_base_is_read_running_text_of_training_alone(context, llama):
    made = remedies.typed_rows("text", context.corpus, 5, 0)
    assert len(made) == 5 and {e.answer for e in made} == {line["text"] for line in LINES if line["split"] == "train"}
    row = rows(llama, made[:1])[0]
    assert row["completion_mask"] == [0] + [1] * (len(row["input_ids"]) - 1)


def test_safety_rows_have_their_share_and_their_look_alikes_are_left_out(context):
    examples = asked("refusal", 3) + asked("helpful", 5) + asked("wer", 90)
    none = remedies.mixture(SFTConfig(safety_share=0), examples, context.corpus, 0)
    assert none == examples[8:]
    some = remedies.mixture(SFTConfig(safety_share=0.1), examples, context.corpus, 0)
    refused = [e for e in some if e.grader == "refusal"]
    assert len(refused) == 10 and len(some) == 100 and {e.id for e in refused} == {f"refusal/{i}" for i in range(3)}
    assert not [e for e in some if e.grader == "helpful"]


def test_safety_and_replay_together_leave_each_its_share(context):
    made = remedies.mixture(
        SFTConfig(safety_share=0.1, replay_share=0.2), asked("refusal") + asked("wer", 70), context.corpus, 0
    )
    kinds = [e.grader if e.clip else "typed" for e in made]
    assert (kinds.count("wer"), kinds.count("refusal"), kinds.count("typed")) == (70, 10, 20)


def test_a_corpus_without_harmful_requests_cannot_have_safety_rows(context):
    with pytest.raises(InputError, match="no harmful request"):
        remedies.mixture(SFTConfig(safety_share=0.03), asked("wer", 5), context.corpus, 0)


def test_a_target_is_rewritten_only_where_the_grader_says_that_it_is_right():
    class Writer:
        def answer(self, examples, batch_size, max_new_tokens):
            assert all(e.clip is None for e in examples)
            return ["sorry, i can not help with that now.", "go at night.", "", "turn it up"]

    examples = asked("refusal", 3) + asked("exact", text="turn it up", answer="turn it up")
    made, found = remedies.self_distilled(Writer(), examples)
    assert [e.answer for e in made] == ["sorry, i can not help with that now.", REFUSAL, REFUSAL, "turn it up"]
    assert [e.clip for e in made] == ["test/1"] * 4
    assert found == {"self_distilled": 2, "self_distilled_other_words": 1}


# --- training --------------------------------------------------------------------------------------------------------


def test_the_larger_the_weight_of_the_kl_the_nearer_typed_answers_stay_to_the_bases(context, table):
    """KL of 0.13, 0.073, 0.0027 nats and 0, 1, 3 of 12 greedy answers kept were measured; 6 with a weight of 10,000.

    The toy is untrained, so that nearly every word of its answers is a close call. The projector learns all the same.
    """
    parent = checkpoint.load(context.parents["model"], table=table)
    asked_of = [e for e in remedies.typed_rows("world", context.corpus, 40, 5) if e.text][:12]
    answers = parent.answer(asked_of, max_new_tokens=8)
    apart, kept = [], []
    for weight in (0.0, 1.0, 100.0):
        where = another(context, f"weight_{weight:g}")
        metrics = sft.run(SFTConfig(steps=30, batch_size=4, learning_rate=3e-3, kl_weight=weight), where)
        child = checkpoint.load(where.folder, table=table)
        apart.append(kl_base(child, Reference.before_training(child), [e.text for e in asked_of]))
        now = child.answer(asked_of, max_new_tokens=8)
        kept.append(sum(a == b for a, b in zip(now, answers, strict=True)))
    assert apart[1] < 0.8 * apart[0] and apart[2] < apart[0] / 20
    assert kept[2] > kept[0]
    assert 0 < metrics["kl_to_base_last"] < 0.02
    beneath = load_file(where.folder / "projector.safetensors")
    learned = {n.split("projector.")[1]: t for n, t in adapter_tensors(where.folder).items() if "projector" in n}
    assert learned and all((t - beneath[name]).abs().max() > 1e-3 for name, t in learned.items())


def test_the_kl_of_a_fully_tuned_llama_is_to_a_frozen_copy(context, table):
    metrics = sft.run(SFTConfig(adapter="full", kl_weight=1.0, **FAST), context)
    assert metrics["kl_to_base_last"] > 1e-4
    before, after = (
        frozen_tensors(checkpoint.load(f, table=table)) for f in (context.parents["model"], context.folder)
    )
    assert not all(torch.equal(t, after[n]) for n, t in before.items())


def test_looking_records_the_curve_and_changes_nothing(context):
    quiet = another(context, "quiet")
    metrics = sft.run(SFTConfig(looks=2, **FAST), context)
    assert "curve" not in sft.run(SFTConfig(**FAST), quiet)
    assert [point["step"] for point in metrics["curve"]] == [2, 4]
    assert all(point["kl_base"] > 0 and point["loss"] > 0 for point in metrics["curve"])
    assert all(torch.equal(t, adapter_tensors(quiet.folder)[n]) for n, t in adapter_tensors(context.folder).items())


def test_a_seed_of_its_own_is_the_adapters_and_the_recipes_is_the_default(context):
    default, same, other = context, another(context, "same"), another(context, "other")
    for where, seed in ((default, None), (same, 0), (other, 1)):
        sft.run(SFTConfig(seed=seed, **FAST), where)
    a, b, c = (adapter_tensors(where.folder) for where in (default, same, other))
    assert all(torch.equal(t, b[n]) for n, t in a.items())
    assert not [n for n, t in a.items() if "lora_A" in n and torch.equal(t, c[n])]


# --- after the fact --------------------------------------------------------------------------------------------------


def test_half_of_an_adapters_change_is_kept_without_training_again(context):
    sft.run(SFTConfig(**FAST), context)
    half = dataclasses.replace(another(context, "half"), parents={"model": context.folder})
    assert sft.run(SFTConfig(**FAST | {"steps": 0}, keep_change=0.5), half)["steps"] == 0
    whole = adapter_tensors(context.folder)
    for name, tensor in adapter_tensors(half.folder).items():
        assert torch.equal(tensor, whole[name] * (0.5 if "lora_B" in name else 1))


def test_with_nothing_kept_what_is_typed_is_the_base_again(context, table):
    sft.run(SFTConfig(keep_change=0, **FAST), context)
    parent, child = (checkpoint.load(f, table=table) for f in (context.parents["model"], context.folder))
    words = [typed("turn it up"), typed("one two three")]
    assert parent.logprobs(words, ["a", "b c"]) == child.logprobs(words, ["a", "b c"])
    assert moved(context) == 0


def test_weights_of_a_fully_tuned_llama_are_interpolated(context, table):
    sft.run(SFTConfig(adapter="full", **FAST), context)
    half = dataclasses.replace(another(context, "half"), parents={"model": context.folder})
    sft.run(SFTConfig(adapter="full", **FAST | {"steps": 0}, keep_change=0.25), half)
    once = another(context, "once")
    sft.run(SFTConfig(adapter="full", **FAST, keep_change=0.25), once)
    folders = (context.parents["model"], context.folder, half.folder, once.folder)
    before, after, derived, at_once = (frozen_tensors(checkpoint.load(f, table=table)) for f in folders)
    for name, tensor in before.items():
        torch.testing.assert_close(derived[name], 0.75 * tensor + 0.25 * after[name])
        torch.testing.assert_close(at_once[name], derived[name])


def test_the_change_of_dora_cannot_be_scaled(context):
    with pytest.raises(InputError, match="dora cannot be scaled"):
        sft.run(SFTConfig(adapter="dora", keep_change=0.5, **FAST), context)


# --- format ----------------------------------------------------------------------------------------------------------


def test_in_one_format_every_spoken_task_is_a_question_and_a_typed_one_is_as_it_was(context, table):
    sft.run(SFTConfig(one_format=True, **FAST), context)
    plain, questions = (checkpoint.load(f, table=table) for f in (context.parents["model"], context.folder))
    spoken = [e for e in context.corpus.examples if e.split == "train" and e.clip]
    said = [questions.tokenizer.messages(e)[0]["content"] for e in spoken]
    assert len(spoken) >= 4 and all(text.startswith("answer") and text.endswith("|>") for text in said)
    assert said[0] == "answer: which words are these: <|clip:test/0|>"
    assert said != [plain.tokenizer.messages(e)[0]["content"] for e in spoken]
    assert questions.tokenizer.prompt_ids(typed("turn it up")) == plain.tokenizer.prompt_ids(typed("turn it up"))
