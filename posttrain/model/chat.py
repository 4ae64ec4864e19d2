"""Chat templates that mark the assistant's answers, which Llama 3.1's own template does not."""

PLAIN_MESSAGE = (
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    "+ message['content'] | trim + '<|eot_id|>' }}"
)
MARKED_MESSAGE = (
    "{%- if message['role'] == 'assistant' %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{%- generation %}{{- message['content'] | trim + '<|eot_id|>' }}{%- endgeneration %}"
    "{%- else %}" + PLAIN_MESSAGE + "{%- endif %}"
)
LLAMA3 = (
    "{{- bos_token }}{%- for message in messages %}"
    + MARKED_MESSAGE
    + "{%- endfor %}"
    + "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
"""Llama 3's chat format without Llama 3.1's date preamble."""


def training_template(template: str | None) -> str:
    """The template with `{% generation %}` around each answer, `<|eot_id|>` included; it renders the same text.

    Llama 3.1's own template gets these marks, a model without a template gets Llama 3's. Raises ValueError for others
    that mark no answers.
    """
    if template is None:
        return LLAMA3
    if "{% generation" in template or "{%- generation" in template:
        return template
    if template.count(PLAIN_MESSAGE) == 1:
        return template.replace(PLAIN_MESSAGE, MARKED_MESSAGE)
    raise ValueError(
        "the chat template neither marks answers with {% generation %} nor writes messages as Llama 3.1's does; "
        "put {% generation %} … {% endgeneration %} around the assistant's content in chat_template"
    )
