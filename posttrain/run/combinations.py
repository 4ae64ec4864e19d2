"""Find incompatible stages and options from the recipe alone, before a later stage refuses them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from posttrain.config import adapter_file
from posttrain.config.recipe import Recipe
from posttrain.config.sections import AlignConfig, SFTConfig
from posttrain.errors import InputError
from posttrain.model.chat_format import FORMATS
from posttrain.run.graph import Node

RESERVED = ("corpus", "logs", "adapters", "listeners", "replaced", "notebooks", "stopped")
"""Folders of a run that belong to no stage."""
FILES = ("report.", "study.", "ledger.")
LEAST_SEGMENT_S = 0.04
"""The longest window of the enhancer's losses is 64 ms, padded by half of it on either side."""
FACTORS = (2, 4, 8, 16)
"""Subsampling of the tiny encoder: each convolution halves the frames, and the mel bins with them."""


@dataclass(frozen=True)
class _Model:
    """What later stages need to know about a stage's output model."""

    method: str = "none"
    """lora, dora, prompt_tuning, full or none (the projector alone)."""
    adapter: str | None = None
    """`adapter` option of the sft that added it."""
    rank: int | None = None
    """`rank` option of that sft."""
    four_bit: bool = False
    """The Llama's weights are stored in 4 bits."""

    @property
    def adapted(self) -> bool:
        """Whether it has a PEFT adapter."""
        return self.method in ("lora", "dora", "prompt_tuning")

    def __str__(self) -> str:
        if self.method == "none":
            return "the projector alone is trained"
        return f"adapter {self.adapter}" if self.adapter else "all of a model with half the layers is trained"


def problems(recipe: Recipe, nodes: Sequence[Node]) -> list[str]:
    """All problems of these nodes, each by itself and in combination with the nodes before it."""
    own = [*_world(recipe), *_parents(nodes), *_lineage(nodes), *_head(nodes)]
    return [*own, *_data(recipe, nodes), *_sizes(nodes), *_names(nodes)]


def check(recipe: Recipe, nodes: Sequence[Node]) -> None:
    """InputError that lists the problems."""
    if found := problems(recipe, nodes):
        raise InputError(found)


def _world(recipe: Recipe) -> Iterator[str]:
    world, written = recipe.corpus.world, recipe.corpus.written
    if world == "general" and recipe.base.model is None:
        yield "corpus.world is general, which a tiny base does not learn; name a pretrained one with base.model"
    if world == "tiny" and written:
        yield f"corpus.written is {written}, but the tiny world has no requests; set corpus.world=general, or it to 0"
    corpus = recipe.corpus
    if world == "tiny" and corpus.safety_prompts:
        yield "corpus.safety_prompts names prompts, but the tiny world asks none of them; set corpus.world=general"
    if corpus.answers == "teacher" and corpus.instructions and recipe.base.model is None:
        yield "corpus.answers is teacher, but the base is trained after the corpus; name one with base.model"
    if (corpus.instructions or corpus.preferences) and not (corpus.train_clips and corpus.file_share):
        yield (
            f"corpus.train_clips is {corpus.train_clips} and corpus.file_share is {corpus.file_share}, which leaves no "
            "row of the files that corpus.instructions and corpus.preferences name; raise them"
        )


def _head(nodes: Sequence[Node]) -> Iterator[str]:
    """Stages that need align's CTC without having it, or that change the frames that it reads."""
    aligned = [node for node in nodes if isinstance(node.options, AlignConfig)]
    for node in aligned:
        if node.options.blank_below < 1 and not node.options.ctc_steps:
            yield (
                f"{node.name}: align.blank_below is {node.options.blank_below}, but without align.ctc_steps nothing "
                "says what is blank; raise these, or set it to 1"
            )
    for node in (node for node in nodes if isinstance(node.options, SFTConfig)):
        if node.options.candidates and any(not other.options.ctc_steps for other in aligned):
            yield (
                f"{node.name}: sft.candidates is {node.options.candidates}, but without align.ctc_steps nothing "
                "proposes them; raise these, or set it to 0"
            )
        if not node.options.train_encoder:
            continue
        if any(other.options.blank_below < 1 for other in aligned):
            yield (
                f"{node.name}: sft.train_encoder changes the frames by which align.blank_below chooses; set "
                "align.blank_below=1, or train_encoder=false"
            )
        if node.options.candidates:
            yield (
                f"{node.name}: sft.train_encoder changes the frames that sft.candidates come from; set one of them only"
            )


def _names(nodes: Sequence[Node]) -> Iterator[str]:
    for node in nodes:
        if node.name in RESERVED or node.name.startswith(FILES) or node.name.endswith(".partial"):
            yield f"stages: {node.name} is the name of another folder or file of a run; give the stage another one"


def _parents(nodes: Sequence[Node]) -> Iterator[str]:
    """Parents whose stage cannot fill their role."""
    stages = {node.name: node.stage for node in nodes}
    for node in nodes:
        for role, name in node.parents.items():
            may = node.spec.parents[role]
            wanted = may.allowed or may.usual
            if name in stages and stages[name] not in wanted:
                yield (
                    f"stages.{node.name}: its {role} is {name}, of stage {stages[name]}, expected one of stage "
                    f"{' or '.join(wanted)}; name another"
                )


def _lineage(nodes: Sequence[Node]) -> Iterator[str]:
    """What a stage cannot do with its parent's output model."""
    made: dict[str, _Model | None] = {}
    for node in nodes:
        parent = made.get(node.parents.get("model") or node.parents.get("llm") or "")
        if node.spec.leaves == "llama":
            bits = node.options.quantization
            made[node.name] = _Model(four_bit=bits != "none")
            if bits != "none" and node.options.model is None and "full_precision" not in node.parents:
                yield (
                    f"{node.name}: base.quantization is {bits}, expected none: the tiny base trains in full precision; "
                    "set sft.adapter=qlora, which stores its weights in 4 bits"
                )
        elif node.spec.adapter == "named":
            made[node.name] = _after_sft(node, parent)
            yield from _sft(node, parent)
        else:
            made[node.name] = parent
            if parent:
                yield from _later(node, parent)


def _after_sft(node: Node, parent: _Model | None) -> _Model | None:
    """The output model of an sft; None if it cannot be determined."""
    if parent is None or parent.adapted:
        return parent
    try:
        adapter = adapter_file.read(node.options.adapter, node.options.rank)
    except InputError:
        return None
    method = {"projector": "none", "lora": "dora" if adapter.use_dora else "lora"}.get(adapter.method, adapter.method)
    if adapter.method == "lora" and adapter.rank == 0:
        method = "none"
    four_bit = parent.four_bit or adapter.quantization != "none"
    return _Model(method, node.options.adapter, node.options.rank, four_bit)


def _sft(node: Node, parent: _Model | None) -> Iterator[str]:
    if parent is None:
        return
    options = node.options
    if parent.adapted and (options.adapter, options.rank) != (parent.adapter, parent.rank):
        has, wants = (_named(*pair) for pair in ((parent.adapter, parent.rank), (options.adapter, options.rank)))
        yield (
            f"{node.name}: its parent {node.parents['model']} has adapter {has} already, expected {wants} on a parent "
            "without one; name align or distill as its parent, or set the same adapter and rank"
        )
        return
    if options.transcript and options.train_encoder:
        yield (
            f"{node.name}: transcript and train_encoder are true, but an encoder's transcripts change while it trains; "
            "set one of them to false"
        )
    after = _after_sft(node, parent)
    if after and after.method == "full" and after.four_bit:
        yield (
            f"{node.name}: adapter {options.adapter} trains all weights, but the base's are in 4 bits; set "
            "base.quantization=none, or an adapter such as qlora or lora"
        )


def _later(node: Node, parent: _Model) -> Iterator[str]:
    """Problems of a stage with its parent's model, by what it wants of the adapter."""
    name, wants = node.parents.get("model", ""), node.spec.wants
    if wants == "mergeable" and parent.method == "prompt_tuning":
        yield (
            f"{node.name}: it merges the adapter of its parent {name}, and {parent.adapter} cannot be merged; set "
            f"sft.adapter=lora, dora, qlora, full or projector, or leave {node.name} out of stages"
        )
    if wants == "tunable" and parent.four_bit and not parent.adapted:
        yield (
            f"{node.name}: weights in 4 bits can be tuned through an adapter only, but of {name} {parent}; set "
            "sft.adapter=qlora or lora with a rank above 0"
        )
    if wants == "peft" and not parent.adapted:
        yield (
            f"{node.name}: it needs a parent with an adapter, but of {name} {parent}; set sft.adapter=lora, dora or "
            f"qlora with a rank above 0, or leave {node.name} out of stages"
        )
    if wants == "lora" and parent.method not in ("lora", "dora"):
        yield (
            f"{node.name}: it needs a parent with a LoRA, but of {name} {parent}; set sft.adapter=lora, dora or "
            "qlora with a rank above 0"
        )


def _data(recipe: Recipe, nodes: Sequence[Node]) -> Iterator[str]:
    """Stages that would have no data to train or validate on, and sources named twice."""
    corpus = recipe.corpus
    tiny = [node for node in nodes if node.spec.leaves == "encoder" and node.options.model is None]
    hearing = sorted({node.stage for node in nodes if node.spec.trains and not node.spec.loads})
    hearing += [node.stage for node in tiny[:1]]
    if hearing and not corpus.train_clips and not corpus.sources:
        yield f"corpus.train_clips is 0, but {', '.join(hearing)} would train on them; raise it"
    elif tiny and not corpus.train_clips:
        yield "corpus.train_clips is 0, but the tiny encoder starts from made speech; raise it"
    if not corpus.valid_clips and (arm := next((node.stage for node in nodes if node.spec.arm), None)):
        yield f"corpus.valid_clips is 0, but {arm} is measured on them; raise it"
    for node in (node for node in nodes if node.spec.rows == "prompts"):
        if corpus.rl_clips < node.options.prompts_per_step:
            yield (
                f"corpus.rl_clips is {corpus.rl_clips}, expected at least {node.name}'s {node.stage}.prompts_per_step "
                f"= {node.options.prompts_per_step}; raise the one or lower the other"
            )
    for node in tiny:
        if node.options.real_steps and not corpus.sources:
            yield (
                f"ctc.real_steps is {node.options.real_steps}, but no recordings are named; set corpus.sources, or "
                "ctc.real_steps=0"
            )
    twice = {name for name in corpus.sources if corpus.sources.count(name) > 1}
    yield from (f"corpus.sources names {name} twice; take one out" for name in sorted(twice))


def _sizes(nodes: Sequence[Node]) -> Iterator[str]:
    """Invalid or incompatible sizes of the tiny models and the enhancer."""
    for node in nodes:
        options = node.options
        if node.spec.leaves == "llama" and options.model is not None and options.chat_format:
            yield (
                f"base.chat_format is {options.chat_format}, but a loaded model's format is recognised; leave the "
                "option out"
            )
        if node.spec.leaves == "llama" and options.model is None and "full_precision" not in node.parents:
            yield from _divides("base.hidden_size", options.hidden_size, "2 × base.heads", 2 * options.heads)
            yield from _divides("base.heads", options.heads, "base.kv_heads", options.kv_heads)
            name = options.chat_format or "llama3"
            least = 256 + len(FORMATS[name].special) if name in FORMATS else 0
            if not least:
                yield f"base.chat_format is {name}, expected one of {', '.join(FORMATS)}; change it"
            if options.vocab_size < least:
                yield (
                    f"base.vocab_size is {options.vocab_size}, expected at least {least}: 256 bytes and the "
                    "special tokens; raise it"
                )
        if node.spec.leaves == "encoder" and options.model is None:
            yield from _divides("ctc.hidden_size", options.hidden_size, "ctc.heads", options.heads)
            yield from _divides("ctc.hidden_size", options.hidden_size, "2", 2)
            if options.subsampling_factor not in FACTORS:
                expected = ", ".join(map(str, FACTORS))
                yield f"ctc.subsampling_factor is {options.subsampling_factor}, expected one of {expected}; change it"
            else:
                yield from _divides(
                    "ctc.mel_bins", options.mel_bins, "ctc.subsampling_factor", options.subsampling_factor
                )
        if node.spec.aside:
            low, high = options.snr_db
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                yield f"enhance.snr_db is [{low}, {high}], expected [lowest, highest] in decibels; change it"
            if options.segment_s < LEAST_SEGMENT_S:
                yield f"enhance.segment_s is {options.segment_s}, expected at least {LEAST_SEGMENT_S}; raise it"


def _divides(name: str, value: int, by: str, divisor: int) -> Iterator[str]:
    if value % divisor:
        shown = by if by == str(divisor) else f"{by} = {divisor}"
        yield f"{name} is {value}, expected a multiple of {shown}; change one of them"


def _named(adapter: str | None, rank: int | None) -> str:
    return f"{adapter}" if rank is None else f"{adapter} of rank {rank}"
