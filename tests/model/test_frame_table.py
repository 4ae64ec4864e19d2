"""Speech ids address rows of the table; word ids are the plain embedding."""

import copy

import pytest
import torch
from conftest import tiny_llama
from safetensors.torch import load_file, save_file
from torch import nn

from posttrain.model.frame_table import FrameTable, SpeechEmbedding, StackedTable, embed_speech, num_speech_tokens
from posttrain.model.projector import Projector

V, D, K = 50, 8, 3


@pytest.fixture
def embedding(table):
    torch.manual_seed(0)
    words = nn.Embedding(V, D)
    made = SpeechEmbedding(words, Projector(K * table.dim, D, embedding_std=1.0), K)
    made.table = table.stacked(K)
    return made


@pytest.mark.parametrize(("frames", "tokens"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_a_clip_takes_as_many_speech_tokens_as_its_frames_need_rounded_up(frames, tokens):
    assert num_speech_tokens(frames, 3) == tokens


@pytest.mark.parametrize("stack", [1, 2, 3, 5])
def test_a_row_is_stacked_neighbouring_frames_of_one_clip_filled_up_with_zeros(table, stack):
    stacked = table.stacked(stack)
    for clip, (start, count) in table.spans.items():
        first, tokens = stacked.spans[clip]
        frames = torch.zeros(tokens * stack, table.dim)
        frames[:count] = table.frames[start : start + count]
        expected = frames.view(tokens, stack * table.dim)
        assert torch.equal(stacked.rows(torch.arange(first, first + tokens)), expected)
    assert stacked.num_rows == sum(tokens for _, tokens in stacked.spans.values())


def test_a_half_precision_table_read_from_disk_gives_float32_rows(table, tmp_path):
    save_file({"frames": table.frames.half()}, tmp_path / "frames.safetensors")
    read = FrameTable(load_file(tmp_path / "frames.safetensors")["frames"], table.spans)
    rows = read.stacked(2).rows(torch.arange(3))
    assert rows.dtype == torch.float32
    assert torch.equal(rows, table.stacked(2).rows(torch.arange(3)).half().float())


def test_a_span_outside_the_table_is_refused_with_the_clips_name(table):
    with pytest.raises(ValueError, match="clip late spans frames 30 to 40"):
        FrameTable(table.frames[:35], {"late": (30, 10)})
    with pytest.raises(ValueError, match="clip empty"):
        FrameTable(table.frames, {"empty": (0, 0)})


def test_word_positions_are_the_plain_embedding_bit_for_bit_beside_speech_too(embedding):
    ids = torch.tensor([[1, 2, V, V + 1, 3], [4, 5, 6, 7, 8]])
    out = embedding(ids)
    plain = nn.functional.embedding(ids.clamp(max=V - 1), embedding.weight)
    words = ids < V
    assert torch.equal(out[words], plain[words])
    assert not torch.equal(out[~words], plain[~words])


def test_speech_positions_are_the_projected_rows(embedding):
    out = embedding(torch.tensor([[V + 2, V]]))
    assert torch.equal(out[0], embedding.projector(embedding.table.rows(torch.tensor([2, 0]))))


def test_without_speech_the_projector_gets_a_gradient_of_exactly_zero(embedding):
    embedding(torch.tensor([[1, 2, 3]])).sum().backward()
    for parameter in embedding.projector.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_only_speech_positions_move_the_projector(embedding):
    def grad(ids):
        embedding.zero_grad()
        embedding(torch.tensor([ids])).square().sum().backward()
        return embedding.projector.out.weight.grad.clone()

    alone, among_words = grad([V, V + 1]), grad([7, V, V + 1, 9])
    assert alone.any()
    # the sums of one matrix product over 2 and over 4 rows: measured 0; a word that leaked in would be of order 1
    torch.testing.assert_close(alone, among_words, rtol=1e-6, atol=1e-6)


def test_an_id_past_the_tables_end_is_an_error(embedding):
    with pytest.raises(IndexError):
        embedding(torch.tensor([[V + embedding.table.num_rows]]))


def test_before_a_table_is_attached_words_work(embedding):
    embedding.table = None
    assert embedding(torch.tensor([[1, 2]])).shape == (1, 2, D)


def test_a_deep_copy_shares_the_table_and_nothing_else(embedding):
    copied = copy.deepcopy(embedding)
    assert copied.table is embedding.table
    assert copied.projector.out.weight is not embedding.projector.out.weight


def test_the_table_is_not_saved(embedding):
    assert set(embedding.state_dict()) == {"weight"} | {f"projector.{n}" for n in embedding.projector.state_dict()}


@pytest.mark.parametrize("tie", [False, True])
def test_the_word_weights_stay_the_same_tensor_tied_or_not(tokenizer, tie, table):
    llama = tiny_llama(tokenizer, tie)
    weight = llama.get_input_embeddings().weight
    embed_speech(llama, Projector(K * table.dim, 64), K)
    assert llama.get_input_embeddings().weight is weight
    assert (llama.lm_head.weight is weight) == tie


def test_the_vocabulary_cannot_be_resized(llama):
    with pytest.raises(ValueError, match="vocabulary size is fixed"):
        llama.model.resize_token_embeddings(999)
    with pytest.raises(ValueError, match="vocabulary size is fixed"):
        copy.deepcopy(llama.model).resize_token_embeddings(999)


def test_gradients_reach_the_frames_of_a_live_table():
    frames = torch.randn(2, 5, 4, requires_grad=True)
    live = StackedTable.live(frames, torch.tensor([5, 2]), 2)
    assert live.num_rows == 4
    live.rows(torch.arange(4)).sum().backward()
    expected = torch.ones(2, 5, 4)
    expected[1, 2:] = 0
    assert torch.equal(frames.grad, expected)


@pytest.mark.parametrize("hidden", [0, 32])
def test_the_projector_starts_as_long_as_word_embeddings(hidden):
    torch.manual_seed(0)
    projector = Projector(432, 192, hidden, embedding_std=0.05)
    out = projector(3 * torch.randn(200, 432) + 1)
    # measured 0.050 and 0.049; a default nn.Linear would give 0.58
    assert 0.04 < out.std().item() < 0.06
