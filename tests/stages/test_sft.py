import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_run import ASKED, HALF_RIGHT, adapter_tensors, files, frozen_tensors, toy_context

from posttrain.config.sections import AlignConfig, SFTConfig
from posttrain.corpus.types import Clip, Example
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.adapters import projector_of
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders import parakeet
from posttrain.model.encoders.contract import run
from posttrain.model.frame_table import FrameTable
from posttrain.model.word_head import WordHead
from posttrain.stages import sft
from posttrain.stages.training.supervised import rows, train_supervised


def parent_folder(llama, folder):
    checkpoint.save(folder, llama, stage="distill")
    return folder


@pytest.fixture(autouse=True)
def _no_validation_voices(monkeypatch):
    """The toy corpus has no validation clips; validation WER has its own test on a real run."""
    monkeypatch.setattr(sft, "valid_answers", lambda llama, corpus: HALF_RIGHT)


def test_labels_are_the_answer_with_its_end_and_never_a_clip(llama):
    example = Example("e", "train", "repeat", "repeat", "turn it up", "test/1", "turn it up", "wer")
    row = rows(llama, [example])[0]
    answer = [i for i, kept in zip(row["input_ids"], row["completion_mask"], strict=True) if kept]
    assert answer == llama.tokenizer.answer_ids("turn it up")
    assert answer[-1] == llama.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert max(row["input_ids"]) >= llama.tokenizer.num_words > max(answer)


def test_a_clip_written_into_an_answer_is_only_text(llama):
    example = Example("e", "train", "repeat", "repeat", "x", "test/1", "say <|clip:test/1|> <|eot_id|>", "wer")
    row = rows(llama, [example])[0]
    answer = [i for i, kept in zip(row["input_ids"], row["completion_mask"], strict=True) if kept]
    assert max(answer) < llama.tokenizer.num_words
    assert answer.count(llama.tokenizer.convert_tokens_to_ids("<|eot_id|>")) == 1


@pytest.mark.parametrize("adapter", ["lora", "dora"])
def test_sft_trains_adapter_and_projector_and_leaves_the_llama_bit_identical(tmp_path, llama, table, adapter):
    context = toy_context(tmp_path, "sft", table, model=parent_folder(llama, tmp_path / "parent"))
    metrics = sft.run(SFTConfig(adapter=adapter, steps=3, batch_size=2, learning_rate=1e-2), context)
    assert metrics["steps"] == 3 and metrics["valid_wer"] == 0.5
    parent, child = (checkpoint.load(f, table=table) for f in (tmp_path / "parent", context.folder))
    frozen = frozen_tensors(parent)
    assert len(frozen) > 10
    assert all(torch.equal(tensor, frozen_tensors(child)[name]) for name, tensor in frozen.items())
    tensors = adapter_tensors(context.folder)
    assert any("projector" in name for name in tensors)
    assert all(t.abs().max() > 0 for name, t in tensors.items() if "lora_B" in name)
    assert {"checkpoint.json", "projector.safetensors", "adapter/adapter_model.safetensors"} <= files(context.folder)


def test_the_projector_has_a_learning_rate_of_its_own(tmp_path, llama, table):
    context = toy_context(tmp_path, "sft", table, model=parent_folder(llama, tmp_path / "parent"))
    sft.run(SFTConfig(steps=3, batch_size=2, learning_rate=1e-12, projector_learning_rate=1e-2), context)
    tensors = adapter_tensors(context.folder)
    beneath = load_file(tmp_path / "parent" / "projector.safetensors")
    moved = {
        name: (t - beneath[name.split("projector.")[1]]).abs().max()
        for name, t in tensors.items()
        if "proj" in name and "lora" not in name
    }
    assert moved and all(distance > 1e-3 for distance in moved.values())
    assert all(t.abs().max() < 1e-9 for name, t in tensors.items() if "lora_B" in name)


def test_the_encoder_trains_too_where_it_is_asked_for(tmp_path, base_folder):
    torch.manual_seed(0)
    encoder = parakeet.tiny(12, 1, 2, 4, 8, 40)
    clips, spans, frames = {}, {}, []
    audio = (3000 * torch.randn(4 * 16_000)).to(torch.int16)
    for i, (_, text, _, _) in enumerate(ASKED):
        clips[f"test/{i}"] = Clip(f"test/{i}", text, "v", "train", "made", "clean", None, 16_000 * i, 16_000)
        heard = run(encoder, [audio[16_000 * i : 16_000 * (i + 1)] / 32_768])[0][0]
        spans[f"test/{i}"] = (sum(map(len, frames)), len(heard))
        frames.append(heard)
    encoders.save(encoder, tmp_path / "ctc")
    table = FrameTable(torch.cat(frames), spans)
    parent = checkpoint.create(base_folder, tmp_path / "ctc", table, stack=3)
    vectors = parent.model.get_input_embeddings().weight.detach()
    head = WordHead.of(projector_of(parent.model), vectors, range(8), 3).frozen()
    parent = dataclasses.replace(parent, head=head)
    context = toy_context(tmp_path, "sft", table, model=parent_folder(parent, tmp_path / "parent"))
    context.corpus.folder.mkdir()
    save_file({"audio": audio}, context.corpus.folder / "audio.safetensors")
    context = dataclasses.replace(context, corpus=dataclasses.replace(context.corpus, clips=clips))
    config = SFTConfig(steps=3, batch_size=2, train_encoder=True, encoder_learning_rate=1e-2)
    assert sft.run(config, context)["steps"] == 3
    assert checkpoint.read_spec(context.folder).encoder.endswith("sft/encoder")
    trained = encoders.load(context.folder / "encoder").model.state_dict()
    moved = [n for n, t in encoder.model.state_dict().items() if not torch.equal(t, trained[n])]
    assert len(moved) > 10 and all(name.startswith("encoder.") for name in moved)
    assert not [name for name in adapter_tensors(context.folder) if "table" in name]
    assert checkpoint.load(context.parents["model"]).head and not checkpoint.load(context.folder).head


def test_candidates_without_a_word_head_are_refused_before_anything_trains(tmp_path, llama, table):
    context = toy_context(tmp_path, "sft", table, model=parent_folder(llama, tmp_path / "parent"))
    with pytest.raises(InputError, match=r"sft\.candidates is 3, but .*parent has no word head"):
        sft.run(SFTConfig(steps=1, candidates=3), context)
    assert not files(context.folder)


def test_prompt_tuning_leaves_llama_and_projector_as_they_were(tmp_path, llama, table):
    context = toy_context(tmp_path, "sft", table, model=parent_folder(llama, tmp_path / "parent"))
    sft.run(SFTConfig(adapter="prompt_tuning", steps=2, batch_size=2, learning_rate=1e-1), context)
    beneath = [(f / "projector.safetensors").read_bytes() for f in (tmp_path / "parent", context.folder)]
    assert beneath[0] == beneath[1]


def test_full_fine_tuning_moves_every_weight_of_the_llama(tmp_path, llama, table):
    context = toy_context(tmp_path, "sft", table, model=parent_folder(llama, tmp_path / "parent"))
    sft.run(SFTConfig(adapter="full", steps=3, batch_size=4, learning_rate=1e-2), context)
    parent, child = (checkpoint.load(f, table=table) for f in (tmp_path / "parent", context.folder))
    before, after = frozen_tensors(parent), frozen_tensors(child)
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_training_stops_at_the_matched_validation_wer(tmp_path, llama, table, monkeypatch):
    matched = tmp_path / "lora"
    matched.mkdir()
    (matched / "trained.json").write_text(json.dumps({"train_metrics": {"valid_wer": 0.3}}))
    seen = iter([0.9, 0.6, 0.25, 0.1])
    monkeypatch.setattr("posttrain.stages.training.validation.valid_answers", lambda *_: [])
    monkeypatch.setattr("posttrain.stages.training.validation.valid_wer", lambda *_: next(seen))
    context = toy_context(tmp_path, "sft", table, model=parent_folder(llama, tmp_path / "parent"), match=matched)
    metrics = sft.run(SFTConfig(steps=10, batch_size=2), context)
    assert metrics["steps"] == 3
    assert metrics["matched_valid_wer"] == 0.3
    assert [wer for _, wer in metrics["valid_wer_by_step"]] == [0.9, 0.6, 0.25]


def test_align_trains_the_projector_alone(tmp_path, llama, table):
    context = toy_context(tmp_path, "align", table, model=parent_folder(llama, tmp_path / "parent"))
    parent = checkpoint.load(context.parents["model"], table=table, trainable=True)
    examples = [e for e in context.corpus.examples if e.clip]
    before = {name: t.clone() for name, t in parent.model.state_dict().items()}
    train_supervised(parent, examples, AlignConfig(steps=3, batch_size=2, learning_rate=1e-2), context, "align")
    moved = {n for n, t in parent.model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved and all("projector" in name for name in moved)
