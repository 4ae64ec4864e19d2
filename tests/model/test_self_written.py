"""Requests that a base writes itself: what can be said aloud is kept, with the base's own answer."""

import pytest
import torch

from posttrain.corpus.instructions import PHRASES
from posttrain.corpus.splits import split_of
from posttrain.errors import InputError
from posttrain.model import self_written
from posttrain.model.speech_llama import Spec, SpeechLlama
from tests.conftest import byte_tokenizer, tiny_llama

ASKED = {"What is red?": "an apple", "What are cows?": "animals", "What does it do?": "nothing"}


@pytest.fixture(scope="module")
def llama():
    """A small Llama that has learned to ask and answer three things."""
    tokenizer = byte_tokenizer()
    made = SpeechLlama(tiny_llama(tokenizer).train(), tokenizer, Spec("base", "toy", world="general"))
    instruction = PHRASES["general"]["answer"]
    chats = [[{"role": "user", "content": asked}] for asked in ASKED]
    chats += [
        [
            {"role": "user", "content": f"{instruction}: {asked.lower().strip('?.')}"},
            {"role": "assistant", "content": said},
        ]
        for asked, said in ASKED.items()
    ]
    rows = [tokenizer.encode(tokenizer.apply_chat_template(c, tokenize=False), add_special_tokens=False) for c in chats]
    longest = max(map(len, rows))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(made.model.parameters(), lr=3e-3)
    for _ in range(250):
        loss = made.model(ids, labels=ids.masked_fill(ids == pad, -100), attention_mask=(ids != pad).long()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.model.eval()
    return made


def test_what_the_base_asks_is_kept_with_its_own_answer_in_the_split_of_its_words(llama):
    splits = self_written.written(llama, 3, seed=0, progress=False)
    found = {text: answer for rows in splits.values() for text, answer in rows}
    assert found == {asked.lower().strip("?."): said for asked, said in ASKED.items()}
    assert all(split_of(text) == split for split, rows in splits.items() for text, _ in rows)


def test_the_same_seed_writes_the_same_requests(llama):
    one, two, other = (self_written.written(llama, 2, seed, progress=False) for seed in (0, 0, 1))
    assert one == two
    assert sum(map(len, other.values())) == 2


def test_too_few_requests_are_an_error_that_names_the_base(llama, monkeypatch):
    monkeypatch.setattr(self_written, "OPENINGS", self_written.OPENINGS[:3])  # what it has learned, and nothing else
    with pytest.raises(InputError, match=r"toy wrote \d+ requests .* expected 30; set corpus.written"):
        self_written.written(llama, 30, seed=0, progress=False)
