"""A checkpoint leaves as an ordinary Hugging Face folder."""

import pytest
import torch
from conftest import byte_tokenizer, example, tiny_llama
from transformers import AutoModelForCausalLM, AutoProcessor

from posttrain.errors import InputError
from posttrain.export.export import build, export, register
from posttrain.model import checkpoint
from posttrain.model import encoder as encoders
from posttrain.model.frame_table import FrameTable


@pytest.fixture
def waveform():
    return 0.1 * torch.randn(12000, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hearing(tmp_path, waveform):
    """A LoRA checkpoint, its answer to one clip, and its encoder on disk."""
    torch.manual_seed(0)
    encoder = encoders.tiny(12, 2, 2, 4, 8, 80)
    encoder.save(tmp_path / "ctc")
    tokenizer = byte_tokenizer()
    checkpoint.save_base(tmp_path / "base", tiny_llama(tokenizer), tokenizer)
    frames = encoder.encode([waveform])[0]
    table = FrameTable(frames, {"test/0": (0, len(frames))})
    llama = checkpoint.create(tmp_path / "base", tmp_path / "ctc", table, stack=2)
    llama = checkpoint.adapt(llama, "lora")
    with torch.no_grad():
        for parameter in llama.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    checkpoint.save(tmp_path / "sft", llama, "sft", {"model": tmp_path / "base"})
    return tmp_path / "sft", llama.answer([example("test/0")], 1, 6)[0]


def test_an_exported_folder_is_found_by_the_auto_classes_and_answers_the_same(hearing, waveform, tmp_path):
    folder, expected = hearing
    register()
    out = export(folder, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(out)
    processor = AutoProcessor.from_pretrained(out)
    chat = [{"role": "user", "content": [{"type": "text", "text": "repeat: "}, {"type": "audio", "audio": waveform}]}]
    inputs = processor.apply_chat_template(chat)
    ids = model.eval().generate(**inputs, max_new_tokens=6, do_sample=False)
    answer = processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
    assert answer.strip() == expected
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_a_checkpoint_that_does_not_hear_is_refused(hearing):
    with pytest.raises(InputError, match="does not hear"):
        build(hearing[0].parent / "base")
