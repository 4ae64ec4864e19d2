"""The requests that a recipe's loaded base writes for its corpus, kept in a file, since writing them takes minutes."""

from pathlib import Path

from posttrain import files
from posttrain.config.recipe import Recipe
from posttrain.errors import InputError
from posttrain.machine.device import pick_device
from posttrain.run.content import of_model


def key(recipe: Recipe) -> list[object]:
    """What the requests depend on; empty if the corpus has none."""
    base = recipe.base
    return [recipe.corpus.written, base.model, base.revision, of_model(base.model)] if recipe.corpus.written else []


def written(recipe: Recipe, path: Path) -> dict[str, list[tuple[str, str]]]:
    """Split → requests with the base's answers, from the file if they are those of this base; none without a key."""
    wanted = files.value_hash([recipe.seed, *key(recipe)])
    if not key(recipe):
        return {}
    try:
        known = files.read_json(path)
    except ValueError:
        known = {}
    if known.get("key") == wanted:
        return {split: [(text, answer) for text, answer in rows] for split, rows in known["requests"].items()}
    from posttrain.model import self_written
    from posttrain.model.speech_llama import Spec, SpeechLlama, load_llama

    base, device = recipe.base, pick_device(recipe.device)
    model, tokenizer = load_llama(base.model or "", base.revision, base.dtype, device=device)
    llama = SpeechLlama(model, tokenizer, Spec("base", str(base.model), world="general"))
    made = self_written.written(llama, recipe.corpus.written, recipe.seed)
    if none := [split for split, rows in made.items() if not rows]:
        count = recipe.corpus.written
        raise InputError(f"corpus.written is {count}, and none of these requests is of split {none[0]}; raise it")
    files.write_json(path, {"key": wanted, "requests": made})
    return made
