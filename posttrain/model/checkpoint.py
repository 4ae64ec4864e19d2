"""Checkpoints: the trained weights, a spec that names everything else, and hashes of both.

A folder holds `checkpoint.json` (the Spec and hashes), `projector.safetensors`, `word_head.safetensors` if `align`
trained by CTC (the same file from `align` on) and, if there is an adapter, `adapter/`
(a PEFT folder, in which LoRA keeps its own copy of the projector, the one in use; projector.safetensors is then the
projector as it was when the adapter was added). Full fine-tuning also writes the whole Llama to `llama/`, joint
training the encoder to `encoder/`, and personalising a second LoRA to `personal/`, beside the parent's `adapter/`. A
base folder is a plain Llama, or only a checkpoint.json that names one.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaForCausalLM

from posttrain import files
from posttrain.config.stage_table import spec_of
from posttrain.corpus.instructions import World
from posttrain.errors import InputError
from posttrain.model import adapters, origin, personal, word_head
from posttrain.model.derived import classifier, merged, scaled
from posttrain.model.frame_table import FrameTable, embed_speech, resize_forbidden
from posttrain.model.projector import Projector
from posttrain.model.speech_llama import Spec, SpeechLlama, load_llama
from posttrain.model.tokenizer import SpeechTokenizer
from posttrain.model.untrusted import check_adapter
from posttrain.model.word_head import WordHead

__all__ = [
    "adapt", "classifier", "create", "load", "load_without_adapter", "merged", "read_spec", "refer_base", "save",
    "save_base", "scale_change",
]  # fmt: skip

SPEC_FILE = "checkpoint.json"
PROJECTOR_FILE = "projector.safetensors"
HEAD_FILE = "word_head.safetensors"
FORMAT = 1


def create(
    llm: Path,
    encoder: Path,
    table: FrameTable,
    stack: int,
    projector_hidden: int = 0,
    seed: int = 0,
    device: str = "cpu",
) -> SpeechLlama:
    """A base Llama with a new projector for the frames of `table`; only the projector trains."""
    base = load(llm, device)
    words = base.model.get_input_embeddings()
    std = words.weight.float().std().item()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projector = Projector(stack * table.dim, words.embedding_dim, projector_hidden, std)
    embed_speech(base.model, projector.to(device), stack)
    spec = dataclasses.replace(
        base.spec,
        encoder=relative(encoder),
        encoder_dim=table.dim,
        stack=stack,
        projector_hidden=projector_hidden,
        parents={"llm": relative(llm), "encoder": relative(encoder)},
    )
    return dataclasses.replace(base, spec=spec).attach(table)


def load(
    folder: str | Path, device: str = "cpu", table: FrameTable | None = None, trainable: bool = False
) -> SpeechLlama:
    """The checkpoint in a folder, in eval() and frozen; `trainable` makes what its stage trained trainable again.

    Without a table it accepts text only, no speech. InputError names the file and the fix when anything is missing,
    changed since it was saved, or of another shape.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    model, tokenizer, spec = _without_adapter(folder, spec, spec.quantization, device)
    if (folder / "adapter").is_dir():
        model = _load_adapter(folder / "adapter", model, trainable)
        if (folder / personal.PERSONAL).is_dir():
            personal.load(model, folder / personal.PERSONAL)
            _all_loaded(folder / personal.PERSONAL, model, personal.PERSONAL)
    elif trainable and spec.encoder_dim:
        adapters.apply(model, adapters.read("full" if spec.adapter == "full" else "projector"))
    model.eval()
    return SpeechLlama(model, tokenizer, spec, head=_load_head(folder, spec, model)).attach(table)


def load_without_adapter(folder: str | Path, device: str = "cpu") -> SpeechLlama:
    """The checkpoint without its adapters: the Llama and the projector that they were added to, in full precision."""
    folder = Path(folder)
    model, tokenizer, spec = _without_adapter(folder, read_spec(folder), "none", device)
    return SpeechLlama(model.eval(), tokenizer, spec, head=_load_head(folder, spec, model))


def adapt(llama: SpeechLlama, adapter: str, rank: int | None = None, seed: int = 0) -> SpeechLlama:
    """Add a trainable adapter of adapters/ to the model; for an nf4 adapter the base is loaded again in 4 bits.

    A model that already has this adapter continues to train it. InputError if it has another one.
    """
    wanted = adapters.read(adapter, rank)
    if isinstance(llama.model, PeftModel):
        if (adapter, rank) != (llama.spec.adapter, llama.spec.rank):
            raise InputError(
                f"the parent has adapter {llama.spec.adapter} already, expected {adapter} on a parent without one; "
                "start from its align or distill stage, or name the same adapter"
            )
        llama.model.set_adapter("default")
        return llama
    model, spec = llama.model, llama.spec
    if wanted.quantization != spec.quantization and wanted.quantization == "nf4":
        embedding = adapters.speech_embedding_of(model)
        model, _ = load_llama(spec.base, spec.base_revision, spec.dtype, "nf4", str(model.device))
        embed_speech(model, embedding.projector, spec.stack)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = adapters.apply(model, wanted)
    full = wanted.method == "full"
    spec = dataclasses.replace(
        spec,
        adapter=adapter,
        rank=rank,
        quantization=wanted.quantization if wanted.quantization != "none" else spec.quantization,
        llama_trained=spec.llama_trained or full,
    )
    return dataclasses.replace(llama, model=model, spec=spec).attach(llama.table)


def scale_change(llama: SpeechLlama, share: float, parent: Path) -> None:
    """Keep, in place, `share` of what sft changed in the Llama since `parent`, or since its parent if it is an sft."""
    if isinstance(llama.model, PeftModel):
        scaled(llama, share)
        return
    spec = read_spec(parent)
    before = origin.located(parent, "parent.model") if spec_of(spec.stage).adapter == "named" else parent
    scaled(llama, share, load(before or parent, str(llama.model.device)).model)


def save(
    folder: Path,
    llama: SpeechLlama,
    stage: str,
    parents: Mapping[str, str | Path] | None = None,
    encoder: Any = None,
) -> Spec:
    """Write a checkpoint to a temporary folder, move it into place, `checkpoint.json` last, and read it back.

    `encoder`: the Encoder, if it was trained too. Files in the folder that are not part of a checkpoint stay.
    RuntimeError if what is read back differs from what was in memory.
    """
    spec = dataclasses.replace(
        llama.spec,
        stage=stage,
        num_words=llama.model.config.vocab_size,
        parents={role: relative(path) for role, path in (parents or {}).items()},
    )
    part = _part_of(folder)
    tensors = adapters.projector_state(llama.model)
    save_file(tensors, part / PROJECTOR_FILE)
    if llama.head is not None:
        llama.head.save(part / HEAD_FILE)
    if isinstance(llama.model, PeftModel):
        llama.model.peft_config["default"].base_model_name_or_path = spec.base
        llama.model.save_pretrained(part / "adapter", selected_adapters=["default"], save_embedding_layers=False)
        if personal.has(llama.model):
            llama.model.peft_config[personal.PERSONAL].base_model_name_or_path = spec.base
            llama.model.save_pretrained(part, selected_adapters=[personal.PERSONAL], save_embedding_layers=False)
            (part / "README.md").unlink(missing_ok=True)
    elif spec.adapter == "full":
        _save_llama(part / "llama", llama.model, llama.tokenizer)
        spec = dataclasses.replace(spec, base="./llama", base_revision=None)
    if encoder is not None:
        encoder.save(part / "encoder")
        spec = dataclasses.replace(spec, encoder="./encoder")
    spec = dataclasses.replace(spec, stands_on=_stands_on(spec))
    _commit(part, folder, spec)
    _read_back(folder, llama, tensors)
    return spec


def save_base(folder: Path, model: LlamaForCausalLM, tokenizer: SpeechTokenizer) -> Spec:
    """Save a base trained here as a plain Llama folder."""
    part = _part_of(folder)
    _save_llama(part, model, tokenizer)
    spec = Spec("base", "./.", dtype=_dtype(model), num_words=model.config.vocab_size)
    _commit(part, folder, spec)
    return spec


def refer_base(
    folder: Path,
    model: str,
    revision: str | None = None,
    dtype: str = "float32",
    quantization: str = "none",
    world: World = "tiny",
) -> Spec:
    """Write a reference to a base that lies elsewhere; if `model` is itself such a reference, it is followed."""
    if (Path(model) / SPEC_FILE).is_file():
        named = read_spec(model)
        model, revision = named.base, named.base_revision
    source = relative(model) if Path(model).is_dir() else model
    spec = Spec("base", source, base_revision=revision, dtype=dtype, quantization=quantization, world=world)
    _commit(_part_of(folder), folder, spec)
    return spec


def read_spec(folder: str | Path) -> Spec:
    """The Spec in a folder's checkpoint.json, paths ready to use, hashes checked; also for a plain Llama folder."""
    folder = Path(folder)
    path = folder / SPEC_FILE
    if not path.is_file():
        if (folder / "config.json").is_file():
            return Spec("base", str(folder), dtype="float32")
        raise InputError(f"{folder} holds no checkpoint (no {SPEC_FILE}); name a stage's folder, such as runs/tiny/sft")
    try:
        raw = dict(json.loads(path.read_text(encoding="utf-8")))
        if spec_of(str(raw.get("stage"))).leaves == "encoder":
            raise InputError(f"{folder} holds an encoder, expected a Llama; name a stage such as runs/tiny/sft")
        hashes, version, _ = raw.pop("hashes"), raw.pop("format"), raw.pop(origin.LINKS, None)
        spec = TypeAdapter(Spec).validate_python(raw)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a checkpoint's: {error}; train that stage again") from error
    _equal(path, "format", version, FORMAT)
    for name, digest in hashes.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{path}: hashes name {name}, which is not in the folder; get the folder again, whole")
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing; train that stage again, or copy the folder whole")
        _equal(folder / name, "sha256", files.sha256(folder / name), digest)
    base, encoder = (origin.located(folder, role) for role in ("base", "encoder"))
    spec = dataclasses.replace(spec, base=str(base), encoder=None if encoder is None else str(encoder))
    for role, digest in _stands_on(spec).items():
        _equal(Path(getattr(spec, role)) / SPEC_FILE, "sha256", digest, spec.stands_on.get(role, digest))
    return spec


def links_of(folder: Path, spec: Spec) -> dict[str, dict[str, str]]:
    """Links from the checkpoint's folder to base, encoder and parents, with content hashes; hub ids have no link."""
    named = {"base": spec.base, "encoder": spec.encoder}
    named |= {origin.PARENT + role: name for role, name in spec.parents.items()}
    places = {role: Path(name) for role, name in named.items() if name and not name.startswith("./")}
    return origin.links(folder, {role: place for role, place in places.items() if place.is_dir()})


def relative(path: str | Path) -> str:
    """The path as it is recorded: relative to the project (the working folder) if it lies inside."""
    return origin.shown(Path(path)).as_posix()


# --- reading and writing ---------------------------------------------------------------------------------------------


def _stands_on(spec: Spec) -> dict[str, str]:
    outside = {
        role: name for role in ("base", "encoder") if (name := getattr(spec, role)) and not name.startswith("./")
    }
    specs = {role: Path(name) / SPEC_FILE for role, name in outside.items()}
    return {role: files.sha256(path) for role, path in specs.items() if path.is_file()}


def _without_adapter(
    folder: Path, spec: Spec, quantization: str, device: str
) -> tuple[LlamaForCausalLM, SpeechTokenizer, Spec]:
    model, tokenizer = load_llama(spec.base, spec.base_revision, spec.dtype, quantization, device)
    _equal(folder / SPEC_FILE, "num_words", model.config.vocab_size, spec.num_words or model.config.vocab_size)
    spec = dataclasses.replace(spec, num_words=model.config.vocab_size)
    if spec.encoder_dim:
        embed_speech(model, _load_projector(folder, spec, model.config.hidden_size).to(device), spec.stack)
    else:
        model.resize_token_embeddings = resize_forbidden
    return model, tokenizer, spec


def _load_projector(folder: Path, spec: Spec, width: int) -> Projector:
    projector = Projector(spec.stack * spec.encoder_dim, width, spec.projector_hidden)
    path = folder / PROJECTOR_FILE
    tensors = _tensors(path)
    expected = {name: tuple(tensor.shape) for name, tensor in projector.state_dict().items()}
    _equal(path, "shapes", {name: tuple(tensor.shape) for name, tensor in tensors.items()}, expected)
    projector.load_state_dict(tensors)
    return projector.requires_grad_(False)


def _load_head(folder: Path, spec: Spec, model: Any) -> WordHead | None:
    path = folder / HEAD_FILE
    if not path.is_file() and spec.blank_below >= 1:
        return None
    try:
        width = model.get_input_embeddings().embedding_dim
        head = word_head.load(path, spec.stack * spec.encoder_dim, width, spec.projector_hidden)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise InputError(f"{path} cannot be read: {error}; train the align stage again") from error
    return head.to(model.device)


def _load_adapter(folder: Path, model: Any, trainable: bool) -> PeftModel:
    check_adapter(folder)
    tensors = _tensors(folder / "adapter_model.safetensors")
    prompt = "prompt_embeddings" in tensors
    try:
        peft_model = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable and not prompt)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{folder} does not fit its base: {error}; use the base it was trained on") from error
    _all_loaded(folder, peft_model)
    if prompt:  # PEFT loads prompt tuning frozen only
        peft_model.peft_config["default"].inference_mode = not trainable
        peft_model.prompt_encoder.requires_grad_(trainable)
    return peft_model


def _all_loaded(folder: Path, model: PeftModel, adapter: str = "default") -> None:
    """InputError unless the model holds exactly the folder's tensors."""
    tensors = _tensors(folder / "adapter_model.safetensors")
    state = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    _equal(folder / "adapter_model.safetensors", "tensors", sorted(tensors), sorted(state))
    for name, tensor in tensors.items():
        if not torch.equal(state[name].cpu().to(tensor.dtype), tensor):
            raise InputError(f"{folder}: {name} was not loaded; use the versions in constraints.txt")


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}; train that stage again") from error


def _save_llama(folder: Path, model: LlamaForCausalLM, tokenizer: SpeechTokenizer) -> None:
    """A plain Llama folder, without the projector."""
    ears = "model.embed_tokens."
    state = {n: t for n, t in model.state_dict().items() if not n.startswith(ears) or n == ears + "weight"}
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


def _part_of(folder: Path) -> Path:
    part = folder / ".part"
    files.remove(part)
    part.mkdir(parents=True)
    return part


def _commit(part: Path, folder: Path, spec: Spec) -> None:
    """Move every entry of `part` into the folder; the spec, with hashes, last."""
    saved = sorted(path for path in part.rglob("*") if path.is_file())
    hashes = {path.relative_to(part).as_posix(): files.sha256(path) for path in saved}
    (folder / SPEC_FILE).unlink(missing_ok=True)
    files.sync_tree(part)
    for entry in part.iterdir():
        files.remove(folder / entry.name)
        os.replace(entry, folder / entry.name)
    written = {"format": FORMAT, **dataclasses.asdict(spec), origin.LINKS: links_of(folder, spec), "hashes": hashes}
    files.write_json(folder / SPEC_FILE, written)
    part.rmdir()


def _read_back(folder: Path, llama: SpeechLlama, projector: dict[str, torch.Tensor]) -> None:
    read_spec(folder)
    pairs = [(PROJECTOR_FILE, load_file(folder / PROJECTOR_FILE), projector)]
    if isinstance(llama.model, PeftModel):
        places = {"default": "adapter"} | ({personal.PERSONAL: personal.PERSONAL} if personal.has(llama.model) else {})
        for adapter, place in places.items():
            name = f"{place}/adapter_model.safetensors"
            state = get_peft_model_state_dict(llama.model, adapter_name=adapter, save_embedding_layers=False)
            pairs.append((name, load_file(folder / name), state))
    for name, found, expected in pairs:
        same = found.keys() == expected.keys()
        if not same or any(not torch.equal(found[key], expected[key].cpu()) for key in found):
            raise RuntimeError(f"{folder / name} read back is not what was saved; look at the disk and save again")


def _equal(path: Path, what: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise InputError(
            f"{path}: {what} is {got}, expected {expected}; use files of one checkpoint, or train it again"
        )


def _dtype(model: nn.Module) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")
