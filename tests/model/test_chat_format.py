"""Chat formats: a base of each is recognised, marks and ends its answers, and keeps users' text from its tokens."""

import pytest
import torch
from conftest import byte_tokenizer, example, frame_table, tiny_llama

from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.model import chat_format, checkpoint
from posttrain.model.adapters import speech_embedding_of
from posttrain.model.chat_format import CHATML, FORMATS, LLAMA3, of_tokenizer, training_template
from posttrain.stages import base

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "two"},
    {"role": "assistant", "content": "second"},
]


@pytest.fixture(params=FORMATS.values(), ids=FORMATS)
def form(request):
    return request.param


def test_a_base_of_a_format_is_recognised_hears_learns_and_stops_at_its_end(form, tmp_path):
    tokenizer = byte_tokenizer(form)
    checkpoint.save_base(tmp_path / "base", tiny_llama(tokenizer), tokenizer)
    llama = checkpoint.create(tmp_path / "base", tmp_path / "ctc", frame_table(), stack=3)
    known = llama.tokenizer
    assert of_tokenizer(known) is form
    assert (known.bos_token, known.eos_token, known.pad_token) == (form.begin, form.end, form.pad)
    spoken, written = base.rows(known, [example(), Example("t", "train", "text", "", "", None, "a b", "wer")])
    answer = [i for i, counts in zip(spoken["input_ids"], spoken["completion_mask"], strict=True) if counts]
    assert answer == known.answer_ids("ok") and answer[-1] == known.convert_tokens_to_ids(form.end)
    assert known.decode(written["input_ids"]) == f"{form.begin}a b{form.document_end}"
    end = torch.tensor([known.eos_token_id])
    llama.model.lm_head.register_forward_hook(lambda module, given, logits: logits.index_fill(-1, end, 1e4))
    assert llama.complete([example()], 1, 4) == [("", False)]


@pytest.mark.parametrize(("form", "own"), [(LLAMA3, None), (CHATML, None), (CHATML, SMOLLM2)])
def test_the_training_template_renders_the_same_text_and_marks_every_answer_with_its_end(form, own):
    tokenizer = byte_tokenizer(form)
    tokenizer.chat_template = training_template(own, form)
    out = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, mark in zip(out["input_ids"], out["assistant_masks"], strict=True) if mark]
    assert marked == tokenizer.answer_ids("first") + tokenizer.answer_ids("second")
    prompt = tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(CHAT, tokenize=False).startswith(f"{prompt}first{form.end}")
    if own:
        theirs = tokenizer.apply_chat_template(CHAT, chat_template=own, tokenize=False)
        assert tokenizer.apply_chat_template(CHAT, tokenize=False) == theirs


def test_of_two_formats_whose_tokens_a_tokenizer_has_its_template_tells_which():
    both = byte_tokenizer(LLAMA3)
    both.add_special_tokens({"additional_special_tokens": list(CHATML.special)})
    assert of_tokenizer(both) is LLAMA3
    both.chat_template = SMOLLM2
    assert of_tokenizer(both) is CHATML


def test_a_template_that_marks_nothing_in_a_known_way_is_refused_with_what_to_do():
    with pytest.raises(InputError, match=r"some/where: the chat template neither marks answers .* add the way"):
        training_template("{{ messages }}<|eot_id|>", LLAMA3, "some/where")


def test_users_text_cannot_hold_a_formats_tokens_whatever_they_look_like():
    form = chat_format.ChatFormat(
        begin="[a]", end="[b]", pad="[c]", document_end="[d]", special=("[a]", "[b]", "[c]", "[d]"),
        template="{% for message in messages %}{{ message['content'] + '[b]' }}{% endfor %}",
    )  # fmt: skip
    tokenizer = byte_tokenizer(form)
    ids = tokenizer.prompt_ids(example(None, "one [b] two [d] <|eot_id|>"))
    special = set(tokenizer.convert_tokens_to_ids(list(form.special)))
    assert [i for i in ids if i in special] == [tokenizer.eos_token_id]
    assert not special & set(tokenizer.word_ids("one [b] two [d]"))


@pytest.mark.parametrize("adapter", ["projector", "lora", "full"])
def test_a_base_with_tied_embeddings_stays_tied_through_training_saving_and_loading(adapter, tmp_path):
    tokenizer, table = byte_tokenizer(), frame_table()
    checkpoint.save_base(tmp_path / "base", tiny_llama(tokenizer, tie=True), tokenizer)
    llama = checkpoint.create(tmp_path / "base", tmp_path / "ctc", table, stack=3)
    llama = checkpoint.adapt(llama, adapter)
    ids = torch.tensor([llama.tokenizer.prompt_ids(example()) + llama.tokenizer.answer_ids("ok")])
    before = llama.model(input_ids=ids).logits.detach()
    trained = [p for p in llama.model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    llama.model(input_ids=ids, labels=ids.masked_fill(ids >= llama.spec.num_words, -100)).loss.backward()
    optimizer.step()
    llama.model.eval()
    logits = llama.model(input_ids=ids).logits.detach()
    assert (logits - before).abs().max() > 1e-3
    checkpoint.save(tmp_path / "sft", llama, "sft")
    for model in (llama, loaded := checkpoint.load(tmp_path / "sft", table=table)):
        embedding = speech_embedding_of(model.model)
        assert model.model.get_output_embeddings().weight is embedding.weight
    assert torch.equal(loaded.model(input_ids=ids).logits, logits)
