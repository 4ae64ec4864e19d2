"""A word's place in a clip, by a CTC head that is known."""

import torch

from posttrain.model.encoders import parakeet


def speaking(text: str, frames_each: int = 2):
    """An encoder whose head reads frames that are its units, one-hot, and the frames of `text` with blanks between."""
    encoder = parakeet.tiny(48, 1, 2, 4, 8, 40)
    units = encoder.model.config.vocab_size
    head = encoder.model.ctc_head
    eye = torch.eye(units, 48)
    head.weight.data = 20 * eye.reshape(head.weight.shape)
    head.bias.data.zero_()
    blank = encoder.model.config.pad_token_id
    said = [unit for label in encoder.labels(text) for unit in [label] * frames_each + [blank]]
    return encoder, eye[said]  # (T, D)


def test_words_are_found_where_they_are_said():
    encoder, frames = speaking("ab cc a")
    counts = [3 * len(encoder.labels(word)) for word in ("ab", "cc", "a")]
    spans = encoder.aligner(frames, "ab cc a")
    assert spans is not None and spans[0][0] == 0 and spans[-1][1] == len(frames)
    assert [a[1] for a in spans[:-1]] == [b[0] for b in spans[1:]]
    for (_, end), expected in zip(spans, (counts[0], sum(counts[:2]), sum(counts)), strict=True):
        assert abs(end - expected) <= 1


def test_too_few_frames_have_no_places():
    encoder, frames = speaking("ab cc a")
    assert encoder.aligner(frames[:4], "ab cc a") is None
