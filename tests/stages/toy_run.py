"""A toy run in code: a corpus of four clips, an sft checkpoint on the tiny Llama, and a stage's context."""

from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file

from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example, Pair
from posttrain.model import checkpoint
from posttrain.model.frame_table import FrameTable
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.training.context import StageContext

ASKED = (
    ("repeat", "turn it up", "turn it up", "wer"),
    ("answer", "one and two", "three", "exact"),
    ("command", "mute it", '{"action": "mute"}', "json"),
    ("repeat", "", "i did not hear any words.", "abstain"),
)
"""Task, words, answer and grader on the clips test/0 … test/3 of the table in conftest.py."""
HALF_RIGHT = [(Example("valid/0", "valid", "repeat", "repeat", "turn up", "test/0", "turn up", "wer"), "turn")]
"""Validation answers with half of the words: the toy corpus has no validation clips."""


def toy_corpus(folder: Path) -> Corpus:
    """Training examples on the table's four clips, as many pairs and examples of split rl, and a typed example that no
    stage here may take."""
    examples, practice = (
        [
            Example(f"{split}/{task}/{i}", split, task, task, text, f"test/{i}", answer, grader)
            for i, (task, text, answer, grader) in enumerate(ASKED)
        ]
        for split in ("train", "rl")
    )
    typed = Example("train/typed", "train", "repeat", "repeat", "a b", None, "a b", "exact")
    pairs = [
        Pair(f"pair/{e.id}", "train", "content", e.instruction, e.text, e.clip, e.answer, "no no", e.grader)
        for e in examples
    ]
    pairs.append(Pair("pair/test", "test", "content", "repeat", "x", "test/0", "x", "y", "exact"))
    return Corpus(folder, {}, [*examples, *practice, typed], [], pairs, [], "toy", {})


def sft_folder(llama: SpeechLlama, folder: Path, adapter: str = "lora", rank: int | None = None) -> Path:
    """A checkpoint as sft leaves it, with an adapter and a projector that do something."""
    adapted = checkpoint.adapt(llama, adapter, rank)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if parameter.requires_grad and ("lora_B" in name or "projector" in name):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    checkpoint.save(folder, adapted, stage="sft")
    return folder


def toy_context(tmp_path: Path, stage: str, table: FrameTable, **parents: Path) -> StageContext:
    """Everything a stage is given, with an empty folder to write into."""
    folder = tmp_path / stage
    folder.mkdir()
    return StageContext(
        seed=0, device="cpu", folder=folder, parents=parents, corpus=toy_corpus(tmp_path / "corpus"), table=table
    )


def files(folder: Path) -> set[str]:
    """Paths of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def adapter_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """What is in the folder's adapter: LoRA, and the projector that goes with it."""
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def frozen_tensors(llama: SpeechLlama) -> dict[str, torch.Tensor]:
    """The Llama's own weights, under their own names."""
    model = llama.model.get_base_model() if isinstance(llama.model, PeftModel) else llama.model
    unwrapped = {name.replace("base_layer.", ""): tensor for name, tensor in model.state_dict().items()}
    return {name: t for name, t in unwrapped.items() if "lora_" not in name and "projector" not in name}
