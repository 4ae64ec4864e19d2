"""A Llama tokenizer that knows clips: the placeholder `<|clip:ID|>` stands for that clip's run of speech ids."""

import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import PaddingStrategy, TruncationStrategy

from posttrain.corpus.instructions import QUESTIONS, user_content
from posttrain.corpus.types import Example

CLIP = re.compile(r"<\|clip:([^|<>\s]+)\|>")


class SpeechTokenizer(PreTrainedTokenizerFast):
    """Any fast tokenizer with a known chat format (chat_format.py), plus clips; its EOS is the format's `end`.

    Strings and chat messages may hold `<|clip:ID|>`; if ID is a clip of the attached table it becomes the clip's ids,
    otherwise it is ordinary text. Decoding turns a clip's ids into its placeholder, once. TRL's trainers take it as
    their `processing_class`. A string that begins with the BOS token does not get a second one.

    User text cannot inject special tokens: `prompt_ids`, `answer_ids` and chat messages break them up.
    """

    one_format: bool = False
    """Phrase spoken tasks as in QUESTIONS."""
    phrases: Mapping[str, str] = MappingProxyType({})
    """Instruction → how this model is asked, for those that are not asked by their name."""
    clips: Mapping[str, tuple[int, int]] = MappingProxyType({})
    """Clip id → (first row, number of speech tokens N)."""
    transcripts: Mapping[str, str] | None = None
    """Clip id → the encoder's own transcript, which prompts carry beside the speech; None if they do not."""
    _num_words: int | None = None
    _starts: tuple[int, ...] = ()
    _names: tuple[str, ...] = ()
    _others: tuple[str, ...] | None = None
    # No __init__ of its own: Transformers would then rebuild the backend and lose its decoder and splitting.

    @property
    def num_words(self) -> int:
        """V; ids from V on are speech."""
        return len(self) if self._num_words is None else self._num_words

    def attach(
        self, clips: Mapping[str, tuple[int, int]], num_words: int, transcripts: Mapping[str, str] | None = None
    ) -> None:
        """Use these clips and transcripts from now on.

        `num_words`: the model's V (its embedding may be longer than the tokenizer).
        """
        if unusable := [name for name in clips if not CLIP.fullmatch(_placeholder(name))]:
            raise ValueError(f"clip id {unusable[0]!r} cannot stand in a prompt; make ids of letters, digits and _./@-")
        if num_words < len(self):
            raise ValueError(
                f"the model has {num_words} word embeddings, expected at least the tokenizer's {len(self)}"
            )
        ordered = sorted((start, name) for name, (start, _) in clips.items())
        self._num_words, self.clips, self.transcripts = num_words, clips, transcripts
        self._starts = tuple(start for start, _ in ordered)
        self._names = tuple(name for _, name in ordered)

    # --- one example → ids -------------------------------------------------------------------------------------------

    def messages(self, example: Example, transcript: bool = True) -> list[dict[str, str]]:
        """The chat before the answer: the instruction, then the text or the clip's placeholder.

        If there are transcripts, that of the clip follows it (`transcript_line`), unless `transcript` is false.
        """
        if example.clip is not None and example.clip not in self.clips:
            raise ValueError(
                f"clip {example.clip} of {example.id} is not in the attached table; encode the corpus again"
            )
        asked = self.phrases.get(example.instruction, example.instruction)
        if example.clip is None:
            return [{"role": "user", "content": broken_up(user_content(asked, example.text))}]
        if self.one_format:
            asked = QUESTIONS.get(example.instruction, asked)
        payload = _placeholder(example.clip)
        if self.transcripts is not None:
            if example.clip not in self.transcripts:
                raise ValueError(
                    f"clip {example.clip} of {example.id} has no transcript in the attached table, but the model reads "
                    "the encoder's transcripts; encode the corpus with them (corpus_table, transcripts=True)"
                )
            payload += transcript_line(broken_up(self.transcripts[example.clip])) if transcript else ""
        return [{"role": "user", "content": user_content(broken_up(asked), payload)}]

    def prompt_text(self, example: Example, transcript: bool = True) -> str:
        """The chat as a string, up to where the assistant's answer begins."""
        return self.apply_chat_template(self.messages(example, transcript), tokenize=False, add_generation_prompt=True)

    def prompt_ids(self, example: Example, transcript: bool = True) -> list[int]:
        """Ids of `prompt_text`; training and evaluation build all their prompts with this method.

        Raises ValueError unless they hold exactly the speech ids of the example's clip, or none if it is typed.
        """
        ids = self.encode(self.prompt_text(example, transcript), add_special_tokens=False)
        self.check_speech(example, ids)
        return ids

    def check_speech(self, example: Example, ids: Sequence[int]) -> None:
        """Raise ValueError unless the prompt's speech ids are exactly those of its clip."""
        carried = [i for i in ids if i >= self.num_words]
        wanted = [] if example.clip is None else self.clip_ids(example.clip)
        if carried != wanted:
            of = f"clip {example.clip}" if example.clip is not None else "typed text"
            raise ValueError(
                f"the prompt of {example.id} carries {len(carried)} speech tokens, expected the {len(wanted)} of {of}"
            )

    def answer_ids(self, answer: str) -> list[int]:
        """Ids of an answer, ending in the chat format's `end`; all that it contains is encoded as words."""
        return [*self.word_ids(answer), self.eos_token_id]

    def text_ids(self, text: str) -> list[int]:
        """Ids of a plain text line: BOS, then its words."""
        return [self.bos_token_id, *self.word_ids(text)]

    def word_ids(self, text: str) -> list[int]:
        """Ids of the text alone; what looks like a special token or a clip in it is encoded as text."""
        self._tokenizer.encode_special_tokens = True
        try:
            return self._whole(text).ids
        finally:
            self._tokenizer.encode_special_tokens = False

    def clip_ids(self, clip: str) -> list[int]:
        """The clip's run of speech ids."""
        start, count = self.clips[clip]
        return list(range(self.num_words + start, self.num_words + start + count))

    def broken_up(self, text: str, keep_clips: bool = False) -> str:
        """`broken_up`, and so that it contains none of this tokenizer's special tokens of another form either."""
        if self._others is None:
            tokens = [token.content for token in self.added_tokens_decoder.values() if token.special]
            self._others = tuple(token for token in tokens if not token.startswith("<|") and len(token) > 1)
        text = broken_up(text, keep_clips)
        for token in self._others:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    # --- the tokenizer's own calls -----------------------------------------------------------------------------------

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """As in the parent class; special tokens inside messages, and clips inside answers, are broken up."""
        batched = bool(conversation) and isinstance(conversation[0], list | tuple)
        chats = conversation if batched else [conversation]
        chats = [[self._safe(message) for message in chat] for chat in chats]
        return super().apply_chat_template(chats if batched else chats[0], *args, **kwargs)

    def _encode_plus(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding_strategy: PaddingStrategy = PaddingStrategy.DO_NOT_PAD,
        truncation_strategy: TruncationStrategy = TruncationStrategy.DO_NOT_TRUNCATE,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """The parent's method, except for text with a known clip or a BOS of its own.

        Raises ValueError if truncation would cut a clip in two.
        """
        strings = [text] if isinstance(text, str) else text
        simple = isinstance(strings, list | tuple) and all(isinstance(s, str) for s in strings) and text_pair is None
        if simple and add_special_tokens and self.bos_token and self.num_special_tokens_to_add():
            strings = [s.removeprefix(self.bos_token) for s in strings]
        if not (simple and not is_split_into_words and any(self._has_clip(s) for s in strings)):
            return super()._encode_plus(
                text if not simple else strings[0] if isinstance(text, str) else list(strings),
                text_pair,
                add_special_tokens=add_special_tokens,
                padding_strategy=padding_strategy,
                truncation_strategy=truncation_strategy,
                max_length=max_length,
                is_split_into_words=is_split_into_words,
                pad_to_multiple_of=pad_to_multiple_of,
                padding_side=padding_side,
                return_tensors=return_tensors,
                return_attention_mask=return_attention_mask,
                **kwargs,
            )
        for option in ("return_offsets_mapping", "return_overflowing_tokens", "return_special_tokens_mask"):
            if kwargs.get(option):
                raise ValueError(f"{option} is not available for text with clips")
        spliced = [_Spliced(self, s, add_special_tokens) for s in strings]
        rows = [s.ids for s in spliced]
        if truncation_strategy != TruncationStrategy.DO_NOT_TRUNCATE and max_length is not None:
            rows = [self._truncated(row, max_length) for row in rows]
        single = isinstance(text, str) and return_tensors is None
        padded = self.pad(
            {"input_ids": rows[0] if single else rows},
            padding=padding_strategy,
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            return_attention_mask=return_attention_mask is not False,
            return_tensors=return_tensors,
        )
        return BatchEncoding(dict(padded), spliced)

    def _decode(self, token_ids: int | list[int], skip_special_tokens: bool = False, **kwargs: Any) -> str:
        """As in the parent class, with each run of speech ids as its clip's placeholder."""
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        decoded = super()._decode
        if not any(i >= self.num_words for i in ids):
            return decoded(ids, skip_special_tokens=skip_special_tokens, **kwargs)
        parts = []
        for name, run in groupby(ids, key=self._clip_of):
            words = decoded(list(run), skip_special_tokens=skip_special_tokens, **kwargs) if name is None else ""
            parts.append(words if name is None else _placeholder(name))
        return "".join(parts)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """Save a plain fast tokenizer, without clips, that AutoTokenizer can load."""
        files = super().save_pretrained(save_directory, *args, **kwargs)
        config = Path(save_directory) / "tokenizer_config.json"
        settings = json.loads(config.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
        config.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        return files

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _safe(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if not isinstance(content, str):
            return message
        return {**message, "content": self.broken_up(content, keep_clips=message.get("role") != "assistant")}

    def _whole(self, text: str, add_special_tokens: bool = False) -> Any:
        """The backend's encoding of one string, without the padding or truncation that an earlier call left on."""
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def _has_clip(self, text: str) -> bool:
        return "<|clip:" in text and any(name in self.clips for name in CLIP.findall(text))

    def _clip_of(self, token_id: int) -> str | None:
        """The clip an id belongs to; None for a word."""
        if token_id < self.num_words:
            return None
        place = bisect_right(self._starts, token_id - self.num_words) - 1
        if place < 0:
            return "?"
        start, count = self.clips[self._names[place]]
        return self._names[place] if token_id - self.num_words < start + count else "?"

    def _truncated(self, ids: list[int], max_length: int) -> list[int]:
        cut = len(ids) - max_length
        if cut <= 0:
            return ids
        left = self.truncation_side == "left"
        inside, outside = (ids[cut], ids[cut - 1]) if left else (ids[max_length - 1], ids[max_length])
        clip = self._clip_of(inside)
        if clip is not None and clip == self._clip_of(outside):
            raise ValueError(
                f"truncation to {max_length} of {len(ids)} tokens would cut clip {clip} in two; "
                "raise max_length or shorten the clip"
            )
        return ids[cut:] if left else ids[:max_length]


class _Spliced:
    """One string encoded piece by piece: text by the Rust backend, a clip as its ids; finds a character's token."""

    n_sequences = 1

    def __init__(self, tokenizer: SpeechTokenizer, text: str, add_special_tokens: bool):
        self.ids: list[int] = []
        self.pieces: list[tuple[int, int, Any]] = []  # first character, first token, encoding or None for a clip
        place = 0
        for match in CLIP.finditer(text):
            if match[1] in tokenizer.clips:
                self._text(tokenizer, text, place, match.start(), add_special_tokens and not self.pieces)
                self.pieces.append((match.start(), len(self.ids), None))
                self.ids += tokenizer.clip_ids(match[1])
                place = match.end()
        self._text(tokenizer, text, place, len(text), False)

    def _text(self, tokenizer: SpeechTokenizer, text: str, start: int, end: int, add_special_tokens: bool) -> None:
        if start == end and not add_special_tokens:
            return
        encoding = tokenizer._whole(text[start:end], add_special_tokens)
        self.pieces.append((start, len(self.ids), encoding))
        self.ids += encoding.ids

    def char_to_token(self, char: int, sequence: int = 0) -> int | None:
        """Index of the token that holds the character; for a clip's placeholder, the clip's first."""
        start, token, encoding = self.pieces[bisect_right(self.pieces, char, key=lambda piece: piece[0]) - 1]
        if encoding is None:
            return token
        inside = encoding.char_to_token(char - start)
        return None if inside is None else token + inside


def _placeholder(clip: str) -> str:
    return f"<|clip:{clip}|>"


def transcript_line(words: str) -> str:
    """The line that follows a clip in a prompt: `Heard: ` and the encoder's transcript; empty if that has no words."""
    words = " ".join(words.split())
    return f"\nHeard: {words}" if words else ""


def broken_up(text: str, keep_clips: bool = False) -> str:
    """`<|` becomes `< |`, so the text cannot contain special tokens; with `keep_clips`, clip placeholders stay."""
    return re.sub(r"<\|(?!clip:)" if keep_clips else r"<\|", "< |", text)
