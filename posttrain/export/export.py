"""Exports a checkpoint as an ordinary Hugging Face folder: `from_pretrained`, a processor, `generate`."""

from pathlib import Path

from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from posttrain.errors import InputError
from posttrain.export.hugging_face import SpeechLlamaConfig, SpeechLlamaForConditionalGeneration, joined
from posttrain.export.processing import SpeechLlamaProcessor
from posttrain.model import checkpoint
from posttrain.model import encoder as encoders


def export(folder: str | Path, out: str | Path, device: str = "cpu") -> Path:
    """Write the checkpoint in `folder` to `out`, with merged adapter, encoder and processor; returns `out`.

    Raises InputError for a checkpoint without an encoder, and for prompt tuning, which cannot be merged. Deviation:
    1. frames stay in float32 here, while the corpus's table keeps them in float16.
    """
    model, processor = build(folder, device)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return Path(out)


def build(folder: str | Path, device: str = "cpu") -> tuple[SpeechLlamaForConditionalGeneration, SpeechLlamaProcessor]:
    """Model and processor of a checkpoint, in memory."""
    llama = checkpoint.load(folder, device)
    spec = llama.spec
    if spec.encoder is None:
        raise InputError(f"{folder} ({spec.stage}) does not hear; name a stage from align on, such as runs/tiny/sft")
    encoder = encoders.load(spec.encoder, device=device)
    model = joined(checkpoint.merged(llama), encoder.model.encoder, spec.stack, spec.projector_hidden)
    audio = model.config.audio_config.to_dict()
    return model, SpeechLlamaProcessor(encoder.extractor, llama.tokenizer, spec.num_words, spec.stack, audio)


def register() -> None:
    """Let AutoConfig, AutoModelForCausalLM and AutoProcessor find this model by its folder's config.json."""
    AutoConfig.register(SpeechLlamaConfig.model_type, SpeechLlamaConfig, exist_ok=True)
    AutoModelForCausalLM.register(SpeechLlamaConfig, SpeechLlamaForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(SpeechLlamaConfig, SpeechLlamaProcessor, exist_ok=True)
