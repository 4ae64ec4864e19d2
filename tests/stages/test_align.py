"""`align`: the projector learns to say the Llama's words in its embedding space, and nothing else changes."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from toy_run import toy_context

from posttrain.config.sections import AlignConfig
from posttrain.corpus.instructions import PAUSE
from posttrain.corpus.types import Clip, Example
from posttrain.model import alignment, checkpoint
from posttrain.model.frame_table import FrameTable
from posttrain.stages import align
from posttrain.stages.training.embedding_ctc import EmbeddingCTC

LETTERS = "abcdefgh"
SPEECH = AlignConfig(stack=2, steps=0, ctc_steps=150, ctc_batch_size=8)


@pytest.fixture
def spelled():
    """Clips of letters with silences between; each letter, the space and the silence have frames of their own."""
    generator = torch.Generator().manual_seed(3)
    sounds = {sound: torch.randn(2, 12, generator=generator) for sound in (*LETTERS, " ", "")}
    frames, spans, texts, start = [], {}, {}, 0
    for number in range(40):
        drawn = torch.randint(len(LETTERS), (4,), generator=generator).tolist()
        texts[f"train/{number}"] = text = " ".join(LETTERS[i] for i in drawn)
        pieces = [sounds[""]]
        for sound in f" {text}":
            pieces += [sounds[sound], sounds[""]]
        clip = torch.cat(pieces)
        clip = clip + 0.05 * torch.randn(clip.shape, generator=generator)
        frames.append(clip)
        spans[f"train/{number}"] = (start, len(clip))
        start += len(clip)
    return FrameTable(torch.cat(frames), spans), texts


def run(tmp_path, base_folder, spelled, config):
    table, texts = spelled
    context = toy_context(tmp_path, "align", table, llm=base_folder, encoder=tmp_path / "ctc")
    splits = {i: "valid" if number % 8 == 1 else "train" for number, i in enumerate(texts)}
    clips = {i: Clip(i, text, "v", splits[i], "made", "clean", None, 0, 1600) for i, text in texts.items()}
    examples = [
        Example(f"{i}/repeat", splits[i], "repeat", "repeat", text, i, text, "wer") for i, text in texts.items()
    ]
    corpus = dataclasses.replace(context.corpus, clips=clips, examples=examples)
    return align.run(config, dataclasses.replace(context, corpus=corpus)), context.folder


def test_ctc_in_the_embedding_space_learns_the_words_and_their_order(tmp_path, base_folder, spelled):
    metrics, _ = run(tmp_path, base_folder, spelled, SPEECH)
    assert metrics["ctc_steps"] == 150
    assert metrics["ctc_loss_last"] < 0.2 * metrics["ctc_loss_first"]
    assert metrics["alignment/nearest_words_wer"] < 0.2
    assert metrics["alignment/cosine"] > metrics["alignment/cosine_other_words"]
    (tmp_path / "again").mkdir()
    untrained, _ = run(tmp_path / "again", base_folder, spelled, dataclasses.replace(SPEECH, ctc_steps=0))
    assert untrained["alignment/nearest_words_wer"] > 0.8


def test_speech_ends_as_long_as_words_and_the_llama_stays(tmp_path, base_folder, spelled):
    table, texts = spelled
    _, folder = run(tmp_path, base_folder, spelled, SPEECH)
    before, after = checkpoint.load(base_folder), checkpoint.load(folder, table=table)
    embedding = after.model.get_input_embeddings()
    speech = torch.tensor([i for clip in texts for i in after.tokenizer.clip_ids(clip)])
    words = embedding.weight.norm(dim=-1).mean()
    assert embedding(speech).norm(dim=-1).mean() == pytest.approx(words.item(), rel=0.1)
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])


def test_on_a_base_in_four_bits_the_projector_trains_and_the_llama_stays(tmp_path, base_folder, spelled):
    table, _ = spelled
    checkpoint.refer_base(tmp_path / "nf4", str(base_folder), quantization="nf4")
    config = dataclasses.replace(SPEECH, ctc_steps=2, steps=2, batch_size=2)
    metrics, folder = run(tmp_path, tmp_path / "nf4", spelled, config)
    assert metrics["steps"] == 2 and metrics["loss_first"] > 0
    after = checkpoint.load(folder, table=table)
    assert after.spec.quantization == "nf4" and after.model.is_quantized
    for name, tensor in checkpoint.load(tmp_path / "nf4").model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])


def test_with_blank_speech_tokens_left_out_half_as_many_are_kept_and_they_say_the_same(tmp_path, base_folder, spelled):
    table, texts = spelled
    _, folder = run(tmp_path, base_folder, spelled, dataclasses.replace(SPEECH, blank_below=0.95, steps=2))
    few = checkpoint.load(folder, table=table)
    assert few.spec.blank_below == 0.95
    whole = table.stacked(2).spans
    kept = {clip: len(few.tokenizer.clip_ids(clip)) for clip in texts}
    assert sum(kept.values()) < 0.6 * sum(whole[clip][1] for clip in texts)
    for clip, text in list(texts.items())[:8]:  # a letter and a space are a token each
        assert kept[clip] >= len(text)
    embedding = few.model.get_input_embeddings()
    said = [
        alignment.nearest_words(few, embedding(torch.tensor(few.tokenizer.clip_ids(clip))).detach()) for clip in texts
    ]
    assert sum(s == t for s, t in zip(said, texts.values(), strict=True)) > 0.7 * len(texts)


def test_a_run_without_ctc_has_no_head_and_cannot_leave_blanks_out(tmp_path, base_folder, spelled):
    _, folder = run(tmp_path, base_folder, spelled, dataclasses.replace(SPEECH, ctc_steps=0, steps=1, batch_size=2))
    assert checkpoint.load(folder).head is None
    assert not (folder / "word_head.safetensors").exists()


def test_a_pause_is_the_blank_and_words_are_read_off_as_ctc_would(llama):
    words = llama.model.get_input_embeddings().weight
    a, pause = llama.tokenizer.word_ids("a")[0], alignment.pause_id(llama.tokenizer)
    assert llama.tokenizer.decode([pause]) == PAUSE[-1]
    said = words[torch.tensor([pause, a, a, pause, a, pause])].detach()
    assert alignment.nearest_words(llama, 3 * said) == "aa"


def test_a_clip_without_words_is_learned_as_pauses_alone(llama):
    model = EmbeddingCTC(llama, range(llama.model.config.vocab_size))
    batch = model.collate([{"id": "test/1", "units": []}, {"id": "test/0", "units": [5]}])
    assert batch["labels"].tolist() == [[-100], [1]]
    assert batch["units"].tolist() == [[model.head.blank] * 2, [model.head.blank, 5]]
    assert batch["counts"].tolist() == [3, 1]
    scores = model.head(model.table.rows(batch["speech"])).log_softmax(-1)
    pauses, five = scores[:, model.head.blank], scores[3:, 5]
    assert model(**batch)["loss"].item() == pytest.approx(-(pauses[:3].sum() + five.sum()).item(), rel=1e-4)


@pytest.mark.parametrize("words", [range(268), [7, 5, 9, 11]])
def test_loss_and_gradient_are_those_of_ctc_over_all_units(llama, words):
    model = EmbeddingCTC(llama, words)
    seven, five, nine = (model.used[word] for word in (7, 5, 9))
    said = [[seven, five, five], [], [nine], [five, nine, five, seven]]
    batch = model.collate([{"id": f"test/{i}", "units": units} for i, units in zip((2, 1, 0, 3), said, strict=True)])
    batch["counts"][2] = 1
    head = model.head.projector.out.weight

    def plain():
        scores = model.head(model.table.rows(batch["speech"]))
        log_probs = pad_sequence(scores.split(batch["counts"].tolist())).log_softmax(-1)
        flat, lengths = torch.tensor([unit for units in said for unit in units]), torch.tensor([3, 0, 1, 4])
        return F.ctc_loss(log_probs, flat, batch["counts"], lengths, blank=model.head.blank, reduction="sum") / 8

    losses = [model(**batch)["loss"], plain()]
    ours, theirs = (torch.autograd.grad(loss, head)[0] for loss in losses)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5) and losses[0] > 1
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * theirs.abs().max())


def test_only_the_words_that_are_used_are_outputs_and_their_scores_stay_the_same(llama):
    a, b = (llama.tokenizer.word_ids(letter)[-1] for letter in "ab")
    every, few = EmbeddingCTC(llama, range(llama.model.config.vocab_size)), EmbeddingCTC(llama, [b, a, b])
    assert few.units([b, a]) == [few.used[b], few.used[a]]
    assert len(few.head.words) == 3 and few.head.blank not in few.units([a, b])
    rows = few.table.rows(torch.tensor([0, 1, 2]))
    cosines = [model.head(rows) / model.head.sharpness for model in (every, few)]
    assert torch.allclose(cosines[1], cosines[0][:, list(few.used)], atol=1e-6)


def test_similarity_is_the_cosine_of_each_word_piece_with_each_speech_token(llama):
    example = Example("e", "test", "repeat", "repeat", "a b", "test/1", "a b", "wer")
    found = alignment.similarity(llama, example)
    words, speech = llama.tokenizer.word_ids("a b"), llama.tokenizer.clip_ids("test/1")
    embedding = llama.model.get_input_embeddings()
    one, other = (embedding(torch.tensor([ids[-1]]))[0].detach() for ids in (words, speech))
    assert found.shape == (len(words), len(speech))
    assert found[-1, -1].item() == pytest.approx(torch.cosine_similarity(one, other, dim=0).item(), abs=1e-6)
