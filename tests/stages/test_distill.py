import math

import pytest
import torch
from toy_run import files, toy_context

from posttrain.config.sections import DistillConfig
from posttrain.model import checkpoint
from posttrain.stages import distill

CONFIG = DistillConfig(steps=3, batch_size=2, learning_rate=1e-2)
KINDS = ("forward_kl", "reverse_kl", "js")


def align_folder(llama, folder):
    checkpoint.save(folder, llama, stage="align")
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [0, 3])
def test_a_divergence_is_zero_at_equality_and_positive_elsewhere(kind, top_k):
    a, b = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0))
    assert distill.divergence(a, a.clone(), kind, 2.0, top_k).abs() < 1e-6
    assert distill.divergence(a, b, kind, 2.0, top_k) > 1e-3


def test_divergences_match_a_hand_worked_example():
    student, teacher = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.9, 0.1]]))
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    reverse = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    middle = (0.7, 0.3)
    js = 0.5 * sum(p * math.log(p / m) for p, m in zip((0.9, 0.1), middle, strict=True))
    js += 0.5 * sum(p * math.log(p / m) for p, m in zip((0.5, 0.5), middle, strict=True))
    for kind, value in zip(KINDS, (forward, reverse, js), strict=True):
        assert distill.divergence(student, teacher, kind).item() == pytest.approx(value, abs=1e-6)


def test_t_squared_keeps_the_gradients_scale_at_high_temperature():
    teacher = torch.randn(4, 9, generator=torch.Generator().manual_seed(1)) * 0.01
    norms = []
    for temperature in (10.0, 100.0):
        student = torch.zeros(4, 9, requires_grad=True)
        distill.divergence(student, teacher, "forward_kl", temperature).backward()
        norms.append(student.grad.norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


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


def test_a_student_of_half_the_layers_trains_whole_and_is_saved_whole(tmp_path, llama, table):
    context = toy_context(tmp_path, "distill", table, model=align_folder(llama, tmp_path / "align"))
    distill.run(DistillConfig(steps=2, batch_size=2, student="half"), context)
    child = checkpoint.load(context.folder, table=table)
    assert child.model.config.num_hidden_layers == llama.model.config.num_hidden_layers // 2
    assert child.spec.llama_trained
