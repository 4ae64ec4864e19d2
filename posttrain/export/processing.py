"""Text and recordings → inputs of SpeechLlamaForConditionalGeneration."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.frontend import heard
from posttrain.model.encoders.loading import BODIES
from posttrain.model.frame_table import num_speech_tokens
from posttrain.model.tokenizer import SpeechTokenizer, transcript_line

AUDIO = "<|audio|>"


class SpeechLlamaProcessor(ProcessorMixin):
    """A tokenizer and a feature extractor in one; `<|audio|>` in a text stands for the next recording.

    Chat messages may hold content parts {"type": "text", "text": …} and {"type": "audio", "audio": waveform}. If the
    model reads transcripts, an audio part may have "transcript" too: the encoder's own, in words. Prompts are padded on
    the left, ready for `generate`.
    """

    def __init__(
        self,
        feature_extractor: Any,
        tokenizer: PreTrainedTokenizerBase,
        num_words: int,
        stack: int,
        audio_config: dict[str, Any],
        transcript: bool = False,
        chat_template: str | None = None,
    ):
        """`num_words`: the model's V; `audio_config`: its encoder's config, for the number of frames of a clip.

        `transcript`: the model reads transcripts.
        """
        if not isinstance(tokenizer, SpeechTokenizer):
            tokenizer = SpeechTokenizer(
                tokenizer_object=tokenizer.backend_tokenizer,
                chat_template=tokenizer.chat_template,
                **tokenizer.special_tokens_map,
            )
        tokenizer = copy.copy(tokenizer)  # each call attaches its own clips
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)
        self.num_words, self.stack, self.audio_config, self.transcript = num_words, stack, audio_config, transcript

    def __call__(
        self, text: str | list[str], audio: Any = None, sampling_rate: int = SAMPLE_RATE, **kwargs: Any
    ) -> BatchFeature:
        """input_ids, attention_mask (B, L); input_features (clips, F, M) and input_features_mask if there is audio.

        `audio`: a waveform (S,) or a list of them, mono, in ±1. Raises ValueError for another rate, or if the numbers
        of placeholders and recordings differ.
        """
        if sampling_rate != SAMPLE_RATE:
            raise ValueError(f"sampling_rate is {sampling_rate} Hz, expected {SAMPLE_RATE}; resample the recording")
        texts = [text] if isinstance(text, str) else list(text)
        clips = [] if audio is None else list(audio) if isinstance(audio, list | tuple) else [audio]
        places = sum(t.count(AUDIO) for t in texts)
        if places != len(clips):
            raise ValueError(f"the text has {places} {AUDIO} placeholders, expected {len(clips)}, one per recording")
        features, counts = self._features([torch.as_tensor(c, dtype=torch.float32) for c in clips])
        number = iter(range(places))
        texts = [_numbered(t, number) for t in texts]
        starts = [sum(counts[:i]) for i in range(len(counts))]
        spans = {str(i): span for i, span in enumerate(zip(starts, counts, strict=True))}
        self.tokenizer.attach(spans, self.num_words)
        options = {"padding": True, "padding_side": "left", "return_tensors": "pt", **kwargs}
        return BatchFeature({**self.tokenizer(texts, **options), **features})

    def apply_chat_template(  # type: ignore[override]
        self, conversation: list[Any], add_generation_prompt: bool = True, tokenize: bool = True, **kwargs: Any
    ) -> Any:
        """One conversation or several → the output of a call; text inside messages cannot contain a placeholder.

        Raises ValueError for a transcript if the model reads none.
        """
        batched = isinstance(conversation[0], list | tuple)
        chats = conversation if batched else [conversation]
        audio: list[Any] = []
        plain = [
            [{**m, "content": _flattened(m["content"], audio, self.tokenizer.broken_up, self.transcript)} for m in chat]
            for chat in chats
        ]
        texts = [
            PreTrainedTokenizerBase.apply_chat_template(
                self.tokenizer, chat, tokenize=False, add_generation_prompt=add_generation_prompt
            )
            for chat in plain
        ]
        if not tokenize:
            return texts if batched else texts[0]
        return self(texts, audio or None, add_special_tokens=False, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "input_features", "input_features_mask"]

    def _features(self, clips: list[torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Log-mel features of the clips, and the number of speech tokens of each."""
        if not clips:
            return {}, []
        body = BODIES[self.audio_config["model_type"]]
        with torch.no_grad():
            features, mask = body.features(self.feature_extractor, [heard(clip) for clip in clips])
        frames = body.num_frames(self.audio_config, mask)  # of features (clips, F, M), mask (clips, F)
        counts = [num_speech_tokens(n, self.stack) for n in frames]
        return {"input_features": features, "input_features_mask": mask.long()}, counts


def _numbered(text: str, number: Any) -> str:
    """`<|audio|>` → `<|clip:i|>` with the next number; a clip placeholder written in the text itself stays text."""
    first, *rest = text.replace("<|clip:", "< |clip:").split(AUDIO)
    return first + "".join(f"<|clip:{next(number)}|>{part}" for part in rest)


def _flattened(content: Any, audio: list[Any], broken_up: Callable[[str], str], transcript: bool) -> str:
    if isinstance(content, str):
        return broken_up(content)
    parts = []
    for part in content:
        if part["type"] == "audio":
            if "transcript" in part and not transcript:
                raise ValueError("a recording has a transcript, but this model was trained without any; leave it out")
            audio.append(part["audio"])
            parts.append(AUDIO + transcript_line(broken_up(part.get("transcript", ""))))
        else:
            parts.append(broken_up(part["text"]))
    return "".join(parts)
