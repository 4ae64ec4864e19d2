import pytest
import torch
from toy_run import files, toy_context

from posttrain.config.sections import DistillConfig
from posttrain.model import checkpoint
from posttrain.stages import distill

CONFIG = DistillConfig(steps=3, batch_size=2, learning_rate=1e-2)


def align_folder(llama, folder):
    checkpoint.save(folder, llama, stage="align")
    return folder


def test_the_teacher_reads_and_the_student_hears_the_same_answer(tmp_path, llama, table):
    context = toy_context(tmp_path, "distill", table, model=align_folder(llama, tmp_path / "align"))
    loaded = checkpoint.load(context.parents["model"], table=table)
    example = context.corpus.examples[0]
    row = distill._row(loaded, example)
    assert max(row["student"]) >= loaded.tokenizer.num_words > max(row["teacher"])
    batch = distill._Collator(loaded.tokenizer.pad_token_id)([row, distill._row(loaded, context.corpus.examples[1])])
    for who in ("student", "teacher"):
        labels = batch[f"{who}_labels"][0]
        assert labels[labels != distill.IGNORE].tolist() == row["answer"]


@pytest.mark.parametrize("answers", ["gold", "teacher"])
def test_distill_trains_the_projector_and_nothing_else(tmp_path, llama, table, answers):
    context = toy_context(tmp_path, "distill", table, model=align_folder(llama, tmp_path / "align"))
    config = DistillConfig(steps=3, batch_size=2, learning_rate=1e-2, answers=answers)
    metrics = distill.run(config, context)
    assert metrics["steps"] == 3 and metrics["trainable_params"] > 0
    parent, child = (checkpoint.load(f, table=table) for f in (tmp_path / "align", context.folder))
    before, after = parent.model.state_dict(), child.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("projector" in name for name in moved)
    assert files(context.folder) == files(tmp_path / "align")


def test_on_a_base_in_four_bits_the_projector_is_taught(tmp_path, base_folder, table):
    checkpoint.refer_base(tmp_path / "nf4", str(base_folder), quantization="nf4")
    llama = checkpoint.create(tmp_path / "nf4", tmp_path / "ctc", table, stack=3)
    context = toy_context(tmp_path, "distill", table, model=align_folder(llama, tmp_path / "align"))
    assert distill.run(CONFIG, context)["steps"] == 3
    before, after = (checkpoint.load(f, table=table).model for f in (tmp_path / "align", context.folder))
    moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    trained = ["projector" in name for name, _ in before.named_parameters()]
    assert moved == trained
