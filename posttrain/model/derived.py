"""Models derived from another in memory: adapter merged, change scaled down, scoring head added."""

import copy
import gc

import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from posttrain.errors import InputError
from posttrain.model import adapters, personal
from posttrain.model.frame_table import embed_speech, resize_forbidden
from posttrain.model.projector import Projector
from posttrain.model.speech_llama import SpeechLlama, load_llama


def merged(llama: SpeechLlama) -> LlamaForCausalLM:
    """The Llama with its adapters merged into the weights, speech embedding and projector included.

    Consumes `llama`. A 4-bit base is unpacked first, since rounding the sum to 4 bits again would give another model.
    """
    if not isinstance(llama.model, PeftModel):
        return llama.model
    if llama.model.peft_config["default"].is_prompt_learning:
        raise InputError(f"adapter {llama.spec.adapter} cannot be merged; expected LoRA, DoRA, full or projector")
    if llama.spec.quantization != "none":
        _unpack(llama)
    names = [personal.PARENTS] + [personal.PERSONAL] * personal.has(llama.model)
    model = llama.model.merge_and_unload(adapter_names=names)
    model.resize_token_embeddings = resize_forbidden
    return model


@torch.no_grad()
def scaled(llama: SpeechLlama, share: float, origin: nn.Module | None = None) -> None:
    """Keep `share` of what training changed in the Llama, in place; the projector, which text bypasses, keeps all.

    LoRA's B is scaled, which scales the change; the weights of a fully tuned Llama are moved towards those of `origin`
    (Wortsman et al. 2022, arXiv 2109.01903: (1 − share) · before + share · after). Raises InputError for any other
    adapter.
    """
    if origin is not None:
        before = dict(origin.named_parameters())
        for name, parameter in llama.model.named_parameters():
            if ".projector." not in name:
                parameter.copy_(before[name].lerp(parameter, share))
        return
    scales = [p for name, p in llama.model.named_parameters() if ".lora_B." in name]
    if not scales or llama.model.peft_config["default"].use_dora:
        raise InputError(f"adapter {llama.spec.adapter} cannot be scaled; expected LoRA without DoRA, or full")
    for parameter in scales:
        parameter.mul_(share)


def classifier(llama: SpeechLlama, seed: int = 0) -> LlamaForSequenceClassification:
    """A head for one score, at the last token that is not padding, on the merged backbone, which it takes over."""
    model = merged(llama)
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.pad_token_id = llama.tokenizer.pad_token_id
    with torch.device("meta"):
        scorer = LlamaForSequenceClassification(config)
    scorer.model = model.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(config.hidden_size, 1, bias=False)
        nn.init.normal_(head.weight, std=config.hidden_size**-0.5)
    scorer.score = head.to(model.device, model.dtype)
    scorer.resize_token_embeddings = resize_forbidden
    return scorer.requires_grad_(False).eval()


def _unpack(llama: SpeechLlama) -> None:
    """Replace the 4-bit weights below the adapter with the values that they represent, in place.

    The 4-bit model is freed before these are loaded, as a GPU with room for one of them may not have room for both.
    """
    spec, adapted = llama.spec, llama.model
    device, config = adapted.device, adapted.peft_config["default"]
    table, beneath = adapters.speech_embedding_of(adapted).table, adapters.projector_state(adapted)
    adapter = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    del adapted
    llama.model = None
    gc.collect()
    model, _ = load_llama(spec.base, spec.base_revision, spec.dtype, spec.quantization, str(device))
    model = model.dequantize().to(getattr(torch, spec.dtype))
    projector = Projector(spec.stack * spec.encoder_dim, model.config.hidden_size, spec.projector_hidden)
    projector.load_state_dict(beneath)
    embed_speech(model, projector.to(device), spec.stack).table = table
    llama.model = get_peft_model(model, config)
    set_peft_model_state_dict(llama.model, adapter)
