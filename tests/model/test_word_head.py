"""The word head: saved and read back, the same in every batch, and which speech tokens it leaves out."""

import dataclasses

import pytest
import torch
from conftest import example

from posttrain.config.recipe import load_recipe
from posttrain.errors import InputError
from posttrain.model import checkpoint
from posttrain.model.adapters import projector_of
from posttrain.model.word_head import WordHead, load, spoken
from posttrain.run import combinations
from posttrain.run.graph import nodes


@pytest.fixture
def head(llama):
    torch.manual_seed(5)
    vectors = llama.model.get_input_embeddings().weight.detach()
    return WordHead.of(projector_of(llama.model), vectors, range(20, 60), 40).frozen()


def test_the_head_that_is_read_is_the_one_that_was_saved(llama, head, table, tmp_path):
    head.save(tmp_path / "head.safetensors")
    read = load(tmp_path / "head.safetensors", 3 * table.dim, head.words.shape[1], 0)
    assert read.hash == head.hash and read.blank == head.blank
    stacked = table.stacked(3)
    assert torch.equal(read.blanks(stacked), head.blanks(stacked))


def test_the_copy_that_is_kept_does_not_train_on_with_the_projector(llama, head, table):
    before = head.blanks(table.stacked(3))
    with torch.no_grad():
        projector_of(llama.model).out.weight.mul_(-1)
    assert torch.equal(head.blanks(table.stacked(3)), before)


def test_what_is_left_out_of_a_clip_does_not_depend_on_the_other_clips(head, table):
    below = head.blanks(table.stacked(3)).median().item()
    among = spoken(head, table, 3, below)
    for clip, (first, count) in table.spans.items():
        alone = dataclasses.replace(table, spans={clip: (first, count)})
        own = spoken(head, alone, 3, below)
        at, kept = among.spans[clip]
        assert own.spans[clip] == (0, kept)
        assert torch.equal(own.rows(torch.arange(kept)), among.rows(torch.arange(at, at + kept)))
    assert among.num_rows < table.stacked(3).num_rows


def test_the_probabilities_are_kept_beside_the_frames_and_computed_once(head, table, tmp_path, monkeypatch):
    kept = dataclasses.replace(table, beside=tmp_path / "frames-1")
    first = spoken(head, kept, 3, 0.5)
    assert len(list(tmp_path.glob("frames-1/blanks-*.safetensors"))) == 1
    monkeypatch.setattr(WordHead, "blanks", None)
    again = spoken(head, dataclasses.replace(table, beside=tmp_path / "frames-1"), 3, 0.5)
    assert again.spans == first.spans
    assert torch.equal(again.rows(torch.arange(3)), first.rows(torch.arange(3)))


def test_another_head_leaves_what_is_kept_beside_the_frames_as_it_is(head, table, tmp_path):
    spoken(head, dataclasses.replace(table, beside=tmp_path / "frames-1"), 3, 0.5)
    before = sorted(tmp_path.rglob("*"))
    other = WordHead.of(head.projector, head.words.float(), range(10), 3).frozen()
    spoken(other, dataclasses.replace(table, beside=tmp_path / "frames-1"), 3, 0.5)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_clip_that_is_blank_throughout_keeps_the_one_token_that_is_least_so(head, table):
    stacked = spoken(head, table, 3, 1e-9)
    assert [count for _, count in stacked.spans.values()] == [1] * len(table.spans)
    blanks, whole = head.blanks(table.stacked(3)), table.stacked(3)
    for clip, (first, count) in whole.spans.items():
        least = first + int(blanks[first : first + count].argmin())
        assert torch.equal(stacked.rows(torch.tensor(stacked.spans[clip][0])), whole.rows(torch.tensor(least)))


def test_a_checkpoint_that_leaves_blanks_out_does_so_when_it_is_read_and_needs_its_head(llama, head, table, tmp_path):
    spec = dataclasses.replace(llama.spec, blank_below=1e-9)
    leaving = dataclasses.replace(llama, spec=spec, head=head).attach(table)
    checkpoint.save(tmp_path / "align", leaving, "align")
    read = checkpoint.load(tmp_path / "align", table=table)
    assert [len(read.tokenizer.clip_ids(clip)) for clip in table.spans] == [1] * len(table.spans)
    assert read.answer([example("test/2")], 1, 4) == leaving.answer([example("test/2")], 1, 4)
    (tmp_path / "align" / "word_head.safetensors").unlink()
    with pytest.raises(InputError, match="safetensors is missing"):
        checkpoint.load(tmp_path / "align", table=table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["align.ctc_steps=0"], "without align.ctc_steps nothing says what is blank"),
        (["sft.train_encoder=true"], "sft.train_encoder changes the frames"),
    ],
)
def test_options_that_do_not_fit_blanks_left_out_are_refused_at_once(options, message):
    recipe = load_recipe("tiny", ["align.blank_below=0.9", *options])
    assert any(message in problem for problem in combinations.problems(recipe, nodes(recipe)))
