"""The ordinary Hugging Face interface of a Llama with speech: `input_features` in, `generate`, `from_pretrained`.

It shares every module with the frame-table interface and gives the same logits (tested); here the table is the
batch's own encoder output, so gradients reach the encoder.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import AutoConfig, GenerationMixin, LlamaConfig, LlamaModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from posttrain.model.decoding import check_generation
from posttrain.model.encoders.loading import BODIES
from posttrain.model.frame_table import SpeechEmbedding, StackedTable, resize_forbidden
from posttrain.model.projector import Projector
from posttrain.model.speech_llama import Spec, one_arithmetic
from posttrain.model.word_head import WordHead, spoken_rows


class SpeechLlamaConfig(PreTrainedConfig):
    """A Llama's config, an encoder's, and the settings that connect them."""

    model_type = "speech_llama"
    sub_configs: ClassVar = {"text_config": LlamaConfig, "audio_config": AutoConfig}

    def __init__(
        self,
        text_config: Any = None,
        audio_config: Any = None,
        stack: int = 3,
        projector_hidden: int = 0,
        blank_below: float = 1.0,
        head_units: int = 0,
        head_blank: int = 0,
        **kwargs: Any,
    ):
        text_config, audio_config = text_config or {}, audio_config or {"model_type": next(iter(BODIES))}
        self.text_config = LlamaConfig(**text_config) if isinstance(text_config, dict) else text_config
        if isinstance(audio_config, dict):
            audio_config = AutoConfig.for_model(**audio_config)
        self.audio_config = audio_config
        self.stack = stack
        self.projector_hidden = projector_hidden
        self.blank_below = blank_below
        self.head_units, self.head_blank = head_units, head_blank
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings"):
            kwargs.setdefault(name, getattr(self.text_config, name))
        super().__init__(**kwargs)


class SpeechLlamaPreTrainedModel(PreTrainedModel):
    """Settings shared by the two classes below."""

    config_class = SpeechLlamaConfig
    base_model_prefix = "model"
    input_modalities = ("audio", "text")
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar = ["LlamaDecoderLayer", *(name for body in BODIES.values() for name in body.NO_SPLIT)]
    _skip_keys_device_placement: ClassVar = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _keep_in_fp32_modules_strict: ClassVar = {"projector", "encoder", "word_head"}

    resize_token_embeddings = resize_forbidden


class SpeechLlamaModel(SpeechLlamaPreTrainedModel):
    """Encoder, speech embedding and decoder blocks, without a head."""

    def __init__(self, config: SpeechLlamaConfig):
        super().__init__(config)
        text, audio = config.text_config, config.audio_config
        self.encoder = BODIES[audio.model_type].body(audio)
        self.language_model = LlamaModel(text)
        shape = (config.stack * audio.hidden_size, text.hidden_size, config.projector_hidden)
        words = self.language_model.get_input_embeddings()
        self.language_model.set_input_embeddings(SpeechEmbedding(words, Projector(*shape), config.stack))
        self.word_head: WordHead | None = None
        if config.blank_below < 1:
            units = config.head_units
            vectors, ids = torch.zeros(units, text.hidden_size), torch.zeros(units, dtype=torch.long)
            self.word_head = WordHead(Projector(*shape), vectors, ids, config.head_blank)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def embed(
        self, ids: torch.Tensor, input_features: torch.Tensor | None, input_features_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Ids (B, L), features (clips, F, M) and their mask (clips, F) → embeddings (B, L, D), places to keep (B, L).

        All positions are kept if that is None; otherwise the others are speech tokens that the word head finds blank.
        The batch's speech ids, read row by row, are its clips' speech tokens in order, whatever the ids' values. Raises
        ValueError if their numbers differ.
        """
        embedding: Any = self.get_input_embeddings()
        if input_features is None:
            return embedding(ids), None
        if input_features_mask is None:
            input_features_mask = torch.ones(input_features.shape[:2], device=input_features.device)
        body = BODIES[self.config.audio_config.model_type]
        frames, counts = body.encode(self.encoder, input_features, input_features_mask)  # (clips, T, D_enc), (clips,)
        frames = frames if self.training else frames.half()  # as a corpus's frame table has them
        table = StackedTable.live(frames, counts, self.config.stack)
        speech = ids >= embedding.num_embeddings  # (B, L)
        count = int(speech.sum())
        if count != table.num_rows:
            raise ValueError(
                f"input_ids hold {count} speech tokens, expected {table.num_rows} for these {len(frames)} clips; "
                "make both with one call of the processor"
            )
        place = speech.flatten().cumsum(0).view_as(ids) - 1  # (B, L)
        kept = None
        if self.word_head is not None:
            spoken = spoken_rows(self.word_head.blanks(table), table.spans, self.config.blank_below).to(ids.device)
            kept = ~speech | spoken[place.clamp(min=0)]
        return embedding(torch.where(speech, embedding.num_embeddings + place, ids), table), kept

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """LlamaModel's forward, with speech."""
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("neither input_ids nor inputs_embeds are given, expected one of them")
            inputs_embeds, kept = self.embed(input_ids, input_features, input_features_mask)
            if kept is not None:
                attention_mask = kept.long() if attention_mask is None else attention_mask * kept
                kwargs["position_ids"] = (attention_mask.cumsum(1) - 1).clamp(min=0)
        return self.language_model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)


class SpeechLlamaForConditionalGeneration(SpeechLlamaPreTrainedModel, GenerationMixin):
    """SpeechLlamaModel with the Llama's head."""

    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: SpeechLlamaConfig):
        super().__init__(config)
        self.model = SpeechLlamaModel(config)
        self.vocab_size = config.text_config.vocab_size
        self.lm_head = nn.Linear(config.text_config.hidden_size, self.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As PreTrainedModel's; in 4 bits a CPU computes as in training (`one_arithmetic`)."""
        loaded = super().from_pretrained(*args, **kwargs)
        one_arithmetic(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, V); labels (B, L) hold words or −100, never a speech id."""
        out = self.model(
            input_ids=input_ids,
            input_features=input_features,
            input_features_mask=input_features_mask,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, kept])  # (B, L, V)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
            attentions=out.attentions,
        )

    def generate(self, *args: Any, generation_config: Any = None, **kwargs: Any) -> Any:
        """GenerationMixin's `generate`; raises ValueError for the encoder-repetition penalty."""
        check_generation(generation_config, kwargs)
        if self.model.word_head is None or kwargs.get("input_features") is None:
            return super().generate(*args, generation_config=generation_config, **kwargs)
        ids = kwargs.pop("input_ids", None)
        ids = args[0] if ids is None else ids
        heard = kwargs.pop("input_features"), kwargs.pop("input_features_mask", None)
        with torch.no_grad():
            embeddings, kept = self.model.embed(ids, *heard)
        mask = kwargs.pop("attention_mask", torch.ones_like(ids)) * kept  # (B, L)
        order = mask.argsort(dim=1, stable=True)[:, -int(mask.sum(1).max()) :]  # those to keep last, in order
        kwargs |= {"inputs_embeds": embeddings.take_along_dim(order[..., None], 1)}
        kwargs |= {"attention_mask": mask.take_along_dim(order, 1)}
        out = super().generate(generation_config=generation_config, **kwargs)
        words = out if isinstance(out, torch.Tensor) else out.sequences
        whole = torch.cat([ids.repeat_interleave(len(words) // len(ids), 0), words], 1)
        if isinstance(out, torch.Tensor):
            return whole
        out.sequences = whole
        return out


def joined(llama: Any, encoder: Any, spec: Spec, head: WordHead | None) -> SpeechLlamaForConditionalGeneration:
    """This interface for a merged Llama with a speech embedding and its encoder; modules are shared, not copied.

    The word head becomes part of it if blank speech tokens are left out.
    """
    options: dict[str, Any] = {}
    if head is not None and spec.blank_below < 1:
        options = {"blank_below": spec.blank_below, "head_units": len(head.ids), "head_blank": head.blank}
    config = SpeechLlamaConfig(llama.config, encoder.config, spec.stack, spec.projector_hidden, **options)
    with torch.device("meta"):
        model = SpeechLlamaForConditionalGeneration(config)
    model.model.encoder = encoder
    model.model.language_model = llama.model
    model.lm_head = llama.lm_head
    model.model.word_head = head if options else None
    model.generation_config = llama.generation_config
    return model.eval()
