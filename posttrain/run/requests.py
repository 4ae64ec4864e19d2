"""What a recipe's loaded base writes for its corpus: requests with its answers, and answers to the prompts of files.

Each is kept in a file, since writing it takes minutes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain import files
from posttrain.config.recipe import Recipe
from posttrain.errors import InputError
from posttrain.machine.device import pick_device
from posttrain.run.content import of_model

if TYPE_CHECKING:
    from posttrain.model.speech_llama import SpeechLlama

ANSWERS = "answers_to_prompts.json"
"""In a run's folder: the base's answers to the prompts of `corpus.instructions`."""


def key(recipe: Recipe) -> list[object]:
    """What depends on the base; empty if the corpus has nothing of it."""
    corpus, base = recipe.corpus, recipe.base
    wanted = corpus.written or (corpus.instructions and corpus.answers == "teacher")
    return [corpus.written, base.model, base.revision, of_model(base.model)] if wanted else []


def written(recipe: Recipe, path: Path) -> dict[str, list[tuple[str, str]]]:
    """Split → requests with the base's answers, from the file if they are this base's; none if none are wanted."""
    if not recipe.corpus.written:
        return {}
    wanted = files.value_hash([recipe.seed, *key(recipe)])
    if known := _kept(path, wanted, "requests"):
        return {split: [(text, answer) for text, answer in rows] for split, rows in known.items()}
    from posttrain.model import self_written

    made = self_written.written(_base(recipe), recipe.corpus.written, recipe.seed)
    if none := [split for split, rows in made.items() if not rows]:
        count = recipe.corpus.written
        raise InputError(f"corpus.written is {count}, and none of these requests is of split {none[0]}; raise it")
    files.write_json(path, {"key": wanted, "requests": made})
    return made


def taught(recipe: Recipe, path: Path) -> dict[str, str]:
    """Prompt of `corpus.instructions` → the base's answer, from the file if it has them; none if the files' own are
    wanted. Prompts that the base does not answer in one line are not in it."""
    from posttrain.tasks import rows

    prompts = rows.to_answer(recipe.corpus, recipe.seed)
    if not prompts:
        return {}
    base = recipe.base
    wanted = files.value_hash([base.model, base.revision, of_model(base.model), prompts])
    if known := _kept(path, wanted, "answers"):
        return dict(known)
    from posttrain.model import self_written

    made = self_written.answered(_base(recipe), prompts)
    if not made:
        raise InputError(f"corpus.answers is teacher, but {base.model} answers no prompt in one line; set it to own")
    files.write_json(path, {"key": wanted, "answers": made})
    return made


def _kept(path: Path, wanted: str, name: str) -> Any:
    """What the file has under `name`, if it was written for the key `wanted`; else None."""
    known = files.json_or_empty(path)
    return known.get(name) if known.get("key") == wanted else None


def _base(recipe: Recipe) -> "SpeechLlama":
    from posttrain.model.speech_llama import Spec, SpeechLlama, load_llama

    base, device = recipe.base, pick_device(recipe.device)
    model, tokenizer = load_llama(base.model or "", base.revision, base.dtype, device=device)
    return SpeechLlama(model, tokenizer, Spec("base", str(base.model), world=recipe.corpus.world))
