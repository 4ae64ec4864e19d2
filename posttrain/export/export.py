"""Exports a checkpoint as an ordinary Hugging Face folder: `from_pretrained`, a processor, `generate`."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, GenerationConfig

from posttrain import files
from posttrain.errors import InputError
from posttrain.export.card import card
from posttrain.export.hugging_face import SpeechLlamaConfig, SpeechLlamaForConditionalGeneration, joined
from posttrain.export.listing import listed
from posttrain.export.processing import SpeechLlamaProcessor
from posttrain.model import checkpoint as checkpoints
from posttrain.model.encoders import loading as encoders

ADAPTER = "adapter"
"""Subfolder for the PEFT adapter: beside config.json, `from_pretrained` would look for its base elsewhere."""
WEIGHTS = "adapter_model.safetensors"
LLAMA, EXPORTED = "base_model.model.model.", "base_model.model.model.language_model."
"""What the names of an adapter's tensors begin with, in a checkpoint and in an exported folder."""
MAX_NEW_TOKENS = 200
"""Token limit of an answer, as in `transcribe`."""


def export(checkpoint: Path, folder: Path, merge: bool = False) -> dict[str, Any]:
    """Write a checkpoint's model, processor and card to a new folder; returns its files, their sizes and a hash.

    The adapter is merged into the weights, or written to `adapter/` beside the weights that it was trained on. The
    folder appears only when it is whole. Raises InputError if the checkpoint has no encoder or cannot be merged.
    """
    with files.new_folder(folder) as partial:
        model, processor = build(checkpoint, merge)
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        adapter = checkpoint / ADAPTER
        if adapted := adapter.is_dir() and not merge:
            _write_adapter(adapter, partial / ADAPTER)
        (partial / "README.md").write_text(card(checkpoint, folder.name, adapted), encoding="utf-8")
    found = {"checkpoint": str(checkpoint), "folder": str(folder), "adapter": ADAPTER if adapted else None}
    return found | listed(folder)


def build(checkpoint: Path, merge: bool = True) -> tuple[SpeechLlamaForConditionalGeneration, SpeechLlamaProcessor]:
    """Model and processor of a checkpoint, in memory: with its adapter merged, or without it."""
    llama = checkpoints.load(checkpoint) if merge else checkpoints.load_without_adapter(checkpoint)
    spec, tokenizer = llama.spec, llama.tokenizer
    if spec.encoder is None:
        raise InputError(f"{checkpoint} ({spec.stage}) does not hear; name a stage such as runs/tiny/sft")
    generation = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=llama.eos_ids,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
    )
    encoder = encoders.load(spec.encoder)
    model = joined(checkpoints.merged(llama), encoder.module, spec, llama.head)
    model.generation_config = generation
    for part in (model.config.text_config, model.config.audio_config):
        part.name_or_path = ""  # where it lies on this machine
    audio = model.config.audio_config.to_dict()
    processor = SpeechLlamaProcessor(encoder.extractor, tokenizer, spec.num_words, spec.stack, audio, spec.transcript)
    return model, processor


def register() -> None:
    """Let AutoConfig, AutoModelForCausalLM and AutoProcessor find this model by its folder's config.json."""
    AutoConfig.register(SpeechLlamaConfig.model_type, SpeechLlamaConfig, exist_ok=True)
    AutoModelForCausalLM.register(SpeechLlamaConfig, SpeechLlamaForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(SpeechLlamaConfig, SpeechLlamaProcessor, exist_ok=True)


def _write_adapter(source: Path, target: Path) -> None:
    """Copy a PEFT adapter; its tensors get the names that their layers have in the exported model."""
    target.mkdir()
    tensors = {name.replace(LLAMA, EXPORTED, 1): tensor for name, tensor in load_file(source / WEIGHTS).items()}
    save_file(tensors, target / WEIGHTS, {"format": "pt"})
    config = files.read_json(source / "adapter_config.json")
    files.write_json(target / "adapter_config.json", config | {"base_model_name_or_path": None})
