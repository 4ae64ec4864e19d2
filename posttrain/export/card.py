"""The README.md of an exported folder: what the model is, how to load it, its licence, and its figures."""

from pathlib import Path
from typing import Any

from posttrain import files
from posttrain.corpus.instructions import INSTRUCTIONS, PHRASES, QUESTIONS, REPEAT, user_content
from posttrain.model.checkpoint import SPEC_FILE
from posttrain.report import cards
from posttrain.run import ledger, place
from posttrain.run.ledger import Row

LICENCE = (
    "The licences of the base and of the encoder hold for this model too, and those of the recordings and texts that "
    "it was trained on."
)

CLASSES = (
    "The classes are those of the package `posttrain`; no code is loaded from this folder. `posttrain transcribe` "
    "gives the same answers; it also cuts long recordings at pauses and leaves out windows without speech."
)

TOLD = ', "transcript": "turn it up"'
TRANSCRIPT = (
    "The model also reads the encoder's own transcript. The encoder in this folder lacks the part that writes it: "
    "`posttrain transcribe` gives it as `encoder_hypothesis`. Without `transcript` the model gets the speech alone."
)


def card(checkpoint: Path, name: str, adapter: bool) -> str:
    """A model card in the Hub's format. The figures are those of the checkpoint's row in its run's ledger, if any.

    `name`: of the exported folder; `adapter`: whether it has one beside the weights.
    """
    spec = files.read_json(checkpoint / SPEC_FILE)
    rows = ledger.read(checkpoint.parent / "ledger.jsonl")
    row = _row(checkpoint, rows)
    library = "peft" if adapter else "transformers"
    if row is None:
        head = f"library_name: {library}\npipeline_tag: {cards.HEARS}"
        made = f"stage {spec['stage']}, on the base {spec['base']}, with the encoder {spec['encoder']}"
        about = f"# {name}\n\nA checkpoint of {made}. It has no figures: the ledger of its run was not beside it.\n"
    else:
        head, about = cards.metadata(row, spec, library), cards.body(row, rows, spec)
    loading = _loading(name, spec, adapter)
    return f"---\n{head}\n---\n\n{about}\n## How to load it\n\n{loading}\n## Licence\n\n{LICENCE}\n"


def _row(checkpoint: Path, rows: list[Row]) -> Row | None:
    """The checkpoint's own row among those of its run."""
    for row in rows:
        found = place.of_row(checkpoint.parent, row)
        if found is not None and found.samefile(checkpoint):
            return row
    return None


def _loading(name: str, spec: dict[str, Any], adapter: bool) -> str:
    named = INSTRUCTIONS[REPEAT]
    asked = QUESTIONS[named] if spec["one_format"] else PHRASES[spec.get("world", "tiny")].get(named, named)
    options = "" if spec["dtype"] == "float32" else f', dtype="{spec["dtype"]}"'
    quantised, transcript = spec["quantization"] != "none", spec.get("transcript", False)
    asked = f'{{"type": "text", "text": "{user_content(asked, "")}"}}'
    recording = '{"type": "audio", "audio": audio' + (TOLD if transcript else "") + "}"
    options += f', quantization_config=nf4("{spec["dtype"]}")' if quantised else ""
    lines = [
        "import soundfile",
        *(["from peft import PeftModel", ""] if adapter else [""]),
        "from posttrain.export.hugging_face import SpeechLlamaForConditionalGeneration",
        "from posttrain.export.processing import SpeechLlamaProcessor",
        *(["from posttrain.model.speech_llama import nf4"] if quantised else []),
        "",
        f'model = SpeechLlamaForConditionalGeneration.from_pretrained("{name}"{options})',
        *([f'model = PeftModel.from_pretrained(model, "{name}/adapter")'] if adapter else []),
        f'processor = SpeechLlamaProcessor.from_pretrained("{name}")',
        'audio, rate = soundfile.read("speech.wav", dtype="float32")  # mono, 16 kHz',
        f"content = [{asked}, {recording}]",
        'inputs = processor.apply_chat_template([{"role": "user", "content": content}])',
        "ids = model.eval().generate(**inputs)",
        'print(processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0])',
    ]
    return "\n".join(["```python", *lines, "```", "", *([TRANSCRIPT] if transcript else []), CLASSES, ""])
