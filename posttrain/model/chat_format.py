"""Chat formats: the special tokens with which a language model separates turns, and templates that mark the answers.

Nothing else spells a special token. A new format is one entry of FORMATS; importing this imports no torch.
"""

from dataclasses import dataclass
from typing import Any

from posttrain.errors import InputError


@dataclass(frozen=True)
class ChatFormat:
    """One way to write a chat; tokens are given as their text."""

    begin: str
    """Before a plain text; the tokenizer's BOS token, with which the template may also begin a chat."""
    end: str
    """Ends every turn, and so every answer; generation stops at it."""
    pad: str
    """Padding: another token than `end`."""
    document_end: str
    """After a plain text; generation stops at it too."""
    special: tuple[str, ...]
    """All its tokens, in the order of a new tokenizer."""
    template: str
    """Template for a tokenizer that has none: answers stand in `{% generation %}`, each with its `end`."""
    messages: tuple[tuple[str, str], ...] = ()
    """Pairs: how a template of such models writes a message, and the same with answers marked."""
    stops: tuple[str, ...] = ()
    """Further tokens at which generation stops."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Tokens without which a tokenizer does not have this format."""
        return tuple(dict.fromkeys((self.begin, self.end, self.pad, self.document_end)))

    @property
    def ends(self) -> tuple[str, ...]:
        """Tokens at which a new model stops."""
        return (self.document_end, *self.stops, self.end)


LLAMA3_MESSAGE = (
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    "+ message['content'] | trim + '<|eot_id|>' }}"
)
LLAMA3_MARKED = (
    "{%- if message['role'] == 'assistant' %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{%- generation %}{{- message['content'] | trim + '<|eot_id|>' }}{%- endgeneration %}"
    "{%- else %}" + LLAMA3_MESSAGE + "{%- endif %}"
)
LLAMA3 = ChatFormat(
    begin="<|begin_of_text|>",
    end="<|eot_id|>",
    pad="<|finetune_right_pad_id|>",
    document_end="<|end_of_text|>",
    special=(
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|reserved_special_token_0|>",
        "<|finetune_right_pad_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
    ),
    template=(
        "{{- bos_token }}{%- for message in messages %}"
        + LLAMA3_MARKED
        + "{%- endfor %}"
        + "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
    ),
    messages=((LLAMA3_MESSAGE, LLAMA3_MARKED),),
    stops=("<|eom_id|>",),
)
"""Llama 3 to 3.3; the template is without Llama 3.1's date preamble."""
CHATML_MESSAGE = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
CHATML_MARKED = (
    "{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}" + CHATML_MESSAGE + "{% endif %}"
)
CHATML = ChatFormat(
    begin="<|endoftext|>",
    end="<|im_end|>",
    pad="<|endoftext|>",
    document_end="<|endoftext|>",
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    template=(
        "{% for message in messages %}"
        + CHATML_MARKED
        + "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    messages=((CHATML_MESSAGE, CHATML_MARKED),),
)
"""SmolLM and SmolLM2, Qwen's tokens; a text follows the end of the one before, as these models were pretrained."""
FORMATS = {"llama3": LLAMA3, "chatml": CHATML}
"""Name → format, most specific first: of several that fit a tokenizer, the first is taken."""


def of_tokenizer(tokenizer: Any, source: object = "the tokenizer") -> ChatFormat:
    """The format whose tokens a fast tokenizer has and whose `end` its chat template, if any, writes.

    Raises InputError with what `source` has and the known formats if there is none.
    """
    known, template = tokenizer.backend_tokenizer.token_to_id, tokenizer.chat_template or ""
    for form in FORMATS.values():
        if all(known(token) is not None for token in form.needed) and (not template or form.end in template):
            return form
    ends = [token for token in tokenizer.all_special_tokens if token in template]
    found = f"special tokens {', '.join(tokenizer.all_special_tokens) or 'none'}"
    found += f", a chat template with {', '.join(ends) or 'none of them'}" if template else ", no chat template"
    wanted = "; ".join(f"{name} with {', '.join(form.needed)}" for name, form in FORMATS.items())
    raise InputError(
        f"{source} has no known chat format: {found}; expected one of {wanted}. Name a model of such a format, or add "
        "its own to FORMATS in posttrain/model/chat_format.py"
    )


def training_template(template: str | None, form: ChatFormat, source: object = "the tokenizer") -> str:
    """The template with `{% generation %}` around each answer and its end; it renders the same text.

    A model without a template gets the format's. Raises InputError for one that neither marks answers nor writes
    messages as the format's models do.
    """
    if template is None:
        return form.template
    if "{% generation" in template or "{%- generation" in template:
        return template
    for plain, marked in form.messages:
        for written in (plain, plain.replace("\n", "\\n")):
            if template.count(written) == 1:
                return template.replace(written, marked)
    raise InputError(
        f"{source}: the chat template neither marks answers with {{% generation %}} nor writes messages in a known "
        "way; put {% generation %} … {% endgeneration %} around the assistant's content in chat_template, or add the "
        "way it writes a message to its format's `messages` in posttrain/model/chat_format.py"
    )


def known_ends(tokenizer: Any) -> list[int]:
    """Ids of the known formats' `end` tokens that a fast tokenizer has."""
    known = (tokenizer.backend_tokenizer.token_to_id(form.end) for form in FORMATS.values())
    return [end for end in known if end is not None]
