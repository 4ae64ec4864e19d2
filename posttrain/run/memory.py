"""Estimates how much memory each stage of a recipe needs, from shapes alone; nothing is loaded.

Counted: weights, gradients and Adam's two moments of what trains, activations kept for the backward pass, logits,
evaluation (KV cache and log-probabilities), second models, and the frame table. Checked with random weights of Llama
3.1 8B's and Parakeet's shapes, bfloat16, on an H200: the peaks of both 8B recipes on synthetic clips, with the CUDA
context, were within 8 % of the estimate. Longer recordings need more.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.config import adapter_file
from posttrain.config.recipe import Recipe
from posttrain.model.encoders import kinds
from posttrain.model.encoders.kinds import Shape
from posttrain.model.limits import LOGITS_BYTES, PIECE
from posttrain.model.weights import cards
from posttrain.run.graph import Node, nodes

GIB = 2**30
CHAT_TOKENS, CHAT_TOKENS_TINY = 56, 40
"""Tokens of the longest row except its speech: instruction, answer and chat format; the first has Llama 3.1's
preamble."""
ANSWER_TOKENS = 20
"""Those of them in the answer."""
CHARACTERS_PER_TOKEN = 3
"""Fewest, of an average over a long row of a file in English."""
TRANSCRIPT_TOKENS = 24
"""Tokens of the line with the encoder's transcript, if prompts carry it."""
LINE_TOKENS = 25
"""Tokens of a held-out line, on which log-probabilities are measured."""
CLIP_S = 3.5
"""Length of a synthetic clip."""
PROCESS = 0.9 * GIB
"""Python with torch, transformers and their libraries; on a GPU, the CUDA context."""
BYTES = {"float32": 4, "bfloat16": 2}
NF4 = 0.516
"""Bytes of a 4-bit weight with its doubly quantised scales, one per 64 weights."""
ENHANCER_BYTES_S = 35e6
"""Bytes of activations of the enhancer, its losses and its discriminator, per second of speech."""
TRAINED = 4 + 4 + 8
"""Bytes of a trained float32 parameter: itself, its gradient, Adam's moments."""


@dataclass(frozen=True)
class Llama:
    """The numbers of a Llama that memory depends on."""

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    tied: bool = False

    @property
    def kv_width(self) -> int:
        """Width of the keys, and of the values."""
        return self.kv_heads * self.head_dim

    @property
    def linear(self) -> int:
        """Weights of the linear layers of all blocks."""
        attention = 2 * self.width * self.heads * self.head_dim + 2 * self.width * self.kv_width
        return self.layers * (attention + 3 * self.width * self.inner)

    @property
    def params(self) -> int:
        """All weights: blocks, norms, embedding and head."""
        tables = (1 if self.tied else 2) * self.vocab * self.width
        return self.linear + tables + (2 * self.layers + 1) * self.width

    def lora(self, rank: int) -> int:
        """Parameters of LoRA on q, k, v, o of every block."""
        inner = self.heads * self.head_dim
        return self.layers * rank * (2 * (self.width + inner) + 2 * (self.width + self.kv_width))


@dataclass(frozen=True)
class Need:
    """What one stage needs at its peak, in bytes per part."""

    name: str
    """The node."""
    parts: dict[str, float] = field(default_factory=dict)
    """weights, training; activations and logits, or word embeddings, or evaluation; second model, frames, process."""

    @property
    def total(self) -> float:
        """Sum of all parts."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        told = ", ".join(f"{part} {size / GIB:.1f}" for part, size in self.parts.items() if size >= 0.05 * GIB)
        return f"{self.name} about {self.total / GIB:.1f} GiB ({told})"


KNOWN_LLAMAS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Llama(49152, 576, 30, 9, 3, 64, 1536, tied=True),
    "meta-llama/Llama-3.1-8B-Instruct": Llama(128256, 4096, 32, 32, 8, 128, 14336),
    "meta-llama/Llama-3.2-1B-Instruct": Llama(128256, 2048, 16, 32, 8, 64, 8192, tied=True),
    "meta-llama/Llama-3.2-3B-Instruct": Llama(128256, 3072, 28, 24, 8, 128, 8192, tied=True),
    "meta-llama/Llama-3.1-70B-Instruct": Llama(128256, 8192, 80, 64, 8, 128, 28672),
}


def fits(recipe: Recipe, names: Collection[str] | None = None) -> tuple[bool, str]:
    """Whether, of the nodes with these names (default: all), the one that needs most fits into this machine's free
    memory, and a sentence for the user."""
    from posttrain.machine.device import pick_device

    needs = [need for need in estimate(recipe) if names is None or need.name in names]
    if not needs:
        return True, "the models' shapes are not known before they are downloaded"
    most = max(needs, key=lambda need: need.total)
    free, where = free_memory(pick_device(recipe.device))
    fit = most.total <= free
    fix = "" if fit else "; lower batch_size, turn on gradient_checkpointing, or take adapter qlora"
    return fit, f"{most} of {free / GIB:.1f} GiB free on {where}{fix}"


def free_memory(device: str) -> tuple[float, str]:
    """Free memory in bytes, and the device's name."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info(device)[0]), torch.cuda.get_device_name(device)
    import psutil

    return float(psutil.virtual_memory().available), "this machine"


def estimate(recipe: Recipe) -> list[Need]:
    """One Need per node of the recipe; empty if a model's shape is not known without a download."""
    llama, encoder = llama_shape(recipe), encoder_shape(recipe)
    if llama is None or encoder is None:
        return []
    return [_need(node, recipe, llama, encoder) for node in nodes(recipe)]


def llama_shape(recipe: Recipe) -> Llama | None:
    """Shape of the tiny Llama, by a local folder's or cached model's config, or of a model known by name; else None."""
    base = recipe.base
    if base.model is None:
        head_dim = base.hidden_size // base.heads
        return Llama(
            base.vocab_size, base.hidden_size, base.layers, base.heads, base.kv_heads, head_dim, base.intermediate_size
        )
    content = _content(base.model, base.revision)
    if content is None or content.get("model_type") != "llama":
        return KNOWN_LLAMAS.get(_on_hub(base.model))
    from transformers import LlamaConfig

    config = LlamaConfig.from_dict(content)
    return Llama(
        config.vocab_size,
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        config.intermediate_size,
        config.tie_word_embeddings,
    )


def encoder_shape(recipe: Recipe) -> Shape | None:
    """`llama_shape` for the encoder."""
    ctc = recipe.ctc
    if ctc.model is None:
        return kinds.conformer(ctc.hidden_size, ctc.layers, ctc.subsampling_factor)
    content = _content(ctc.model, ctc.revision)
    kind = kinds.KINDS.get(str(content.get("model_type"))) if content else None
    return kind.shape(content, kinds.HOP_SAMPLES) if kind and content else kinds.KNOWN.get(_on_hub(ctc.model))


def _on_hub(model: str) -> str:
    """The hub id of weights that `make weights` brings, of any other model its name."""
    card = cards.read(Path(model).name) if Path(model).name in cards.names() else None
    return card.hub.id if card and card.hub else model


def _content(model: str, revision: str | None) -> dict[str, Any] | None:
    """The model's config.json if it is on this machine."""
    from posttrain.model.untrusted import read_content

    if not Path(model).is_dir() and model.startswith((".", "/", "~")):
        return None
    try:
        return read_content(model, revision, local_files_only=True)
    except (OSError, ValueError):
        return None


def _need(node: Node, recipe: Recipe, llama: Llama, encoder: Shape) -> Need:
    spec, options, element = node.spec, node.options, BYTES[recipe.base.dtype]
    if spec.leaves == "enhancer":
        return _need_of_enhancer(node, recipe, encoder)
    if spec.leaves == "encoder":
        return _need_of_encoder(node, recipe, llama, encoder)
    clips = recipe.corpus.train_clips + recipe.corpus.rl_clips + recipe.corpus.valid_clips
    table = clips * CLIP_S * encoder.frames_s * encoder.width * 2
    a_base = spec.leaves == "llama"
    loaded = spec.loads and (options.model is not None or options.quantization != "none")
    trains = bool(spec.trains) and not loaded
    adapter = _adapter(node, recipe)
    full = (adapter is not None and adapter.method == "full") or (a_base and trains)
    merged = spec.adapter == "merged"
    stands_on = adapter_file.read(recipe.sft.adapter, recipe.sft.rank) if merged else adapter
    four_bit = recipe.base.quantization == "nf4" or (stands_on is not None and stands_on.quantization == "nf4")
    four_bit = four_bit or (a_base and options.quantization == "nf4")
    unpacked = four_bit and merged
    weights = weights_bytes(llama, element, four_bit and not unpacked)
    projector = recipe.align.stack * encoder.width * llama.width
    parts: dict[str, float] = {"weights": weights}
    lora = adapter is not None and adapter.method == "lora" and adapter.rank > 0
    trainable = projector + (llama.lora(adapter.rank) if adapter is not None and lora else 0)
    if full:
        parts["training"] = llama.params * (element + 2 * element) + projector * TRAINED
    elif trains:
        parts["training"] = trainable * TRAINED
    if trains:
        tokens, rows = _tokens(recipe, encoder), _rows(node)
        length = tokens + (options.max_new_tokens - ANSWER_TOKENS if spec.rows == "prompts" else 0)
        method = "full" if full else "lora" if lora else "none"
        checkpointing = bool(getattr(options, "gradient_checkpointing", False))
        parts["activations"] = rows * length * activation_bytes(llama, element, checkpointing, method)
        parts["logits"] = logits_bytes(spec.logits, rows, tokens, llama, element)
    kept = parts.get("activations", 0.0) + parts.get("logits", 0.0)
    others = {"evaluation": 0.0 if spec.leaves == "reward" else _evaluation(node, recipe, llama, encoder)}
    if spec.words and getattr(options, spec.words):
        speech = options.ctc_batch_size * CLIP_S * encoder.frames_s / options.stack
        others["word embeddings"] = llama.vocab * (llama.width * (4 + element) + speech * (3 * 4 + element))
    most = max(others, key=lambda part: others[part])
    if others[most] > kept:  # they are never needed at the same time
        parts = {"weights": weights, "training": parts.get("training", 0.0), most: others[most]}
    copied = any(getattr(options, name) for name in spec.reference)
    scored = any(parent.option and getattr(options, parent.option) for parent in spec.parents.values())
    if (copied and full) or scored:
        parts["second model"] = weights_bytes(llama, element, False)
    if unpacked:
        parts["second model"] = llama.linear * NF4  # the 4-bit weights that it is unpacked from
    return Need(node.name, parts | {"frames": table, "process": PROCESS})


def _need_of_enhancer(node: Node, recipe: Recipe, encoder: Shape) -> Need:
    """Its training's need, with the encoder's and its teacher's if an encoder trains with it."""
    seconds = node.options.batch_size * node.options.segment_s
    parts = {"activations": seconds * ENHANCER_BYTES_S, "process": PROCESS}
    if node.options.machine_weight:
        parts["activations"] += _encoder_activations(seconds, encoder)
        parts = {"training": encoder.params * (TRAINED + 4), **parts}  # + 4: the teacher
    return Need(node.name, parts)


def _need_of_encoder(node: Node, recipe: Recipe, llama: Llama, encoder: Shape) -> Need:
    """Its training's need or, if larger, its evaluation's, in which the base answers the encoder's own transcripts."""
    options, element = node.options, BYTES[recipe.base.dtype]
    loaded = options.model is not None
    training = encoder.params * (4 if loaded else TRAINED)
    batch = 0.0 if loaded else _encoder_activations(options.batch_size * CLIP_S, encoder)
    weights = weights_bytes(llama, element, recipe.base.quantization == "nf4")
    answering = _cache(recipe.evaluation.batch_size, recipe, llama, encoder)
    if weights + answering > training + batch:
        return Need(node.name, {"weights": weights, "evaluation": answering, "process": PROCESS})
    return Need(node.name, {"training": training, "activations": batch, "process": PROCESS})


def _encoder_activations(seconds: float, encoder: Shape) -> float:
    """Bytes kept for the backward pass through this many seconds of speech."""
    return seconds * encoder.frames_s * 40 * encoder.width * 4 * encoder.layers


def _tokens(recipe: Recipe, encoder: Shape) -> float:
    """Tokens of the longest row of the recipe's stages."""
    chat = CHAT_TOKENS if recipe.base.model else CHAT_TOKENS_TINY
    if recipe.sft.transcript or any(stage.options.get("transcript") for stage in recipe.stages):
        chat += TRANSCRIPT_TOKENS
    typed = recipe.corpus.longest_row / CHARACTERS_PER_TOKEN
    spoken = 2 * CLIP_S * encoder.frames_s / recipe.align.stack
    return chat + (max(spoken, typed) if recipe.corpus.instructions or recipe.corpus.preferences else spoken)


def _evaluation(node: Node, recipe: Recipe, llama: Llama, encoder: Shape) -> float:
    """Bytes of the KV cache plus the largest of the encoder, the log-probabilities of a stage and of its base, and the
    logits of drafts."""
    asked = max(recipe.evaluation.batch_size, _rows(node) if node.spec.rows == "prompts" else 0)
    element = BYTES[recipe.base.dtype]
    scored = min(asked * LINE_TOKENS * llama.vocab, LOGITS_BYTES / 4) * (element + 2 * 4)
    drafted = asked * (1 + PIECE) * llama.vocab * element
    return _cache(asked, recipe, llama, encoder) + max(scored, drafted, encoder.params * 4)


def _cache(rows: int, recipe: Recipe, llama: Llama, encoder: Shape) -> float:
    """Bytes of keys and values for this many prompts with their answers."""
    tokens = _tokens(recipe, encoder) + recipe.evaluation.max_new_tokens
    return rows * tokens * 2 * llama.layers * llama.kv_width * BYTES[recipe.base.dtype]


def weights_bytes(llama: Llama, element: int, four_bit: bool) -> float:
    """Bytes of the loaded Llama; in 4 bits, embedding, head and norms keep their type."""
    if not four_bit:
        return llama.params * element
    return llama.linear * NF4 + (llama.params - llama.linear) * element


def activation_bytes(llama: Llama, element: int, checkpointing: bool, adapter: str) -> float:
    """Bytes kept per token for the backward pass: every block or, checkpointed, each block's input and one block.

    `adapter` is full, lora, or anything else if no weight of a block trains. A frozen linear layer keeps nothing, so a
    block keeps the norms' inputs in float32, queries, keys, values (repeated for their queries) and attention's output,
    and three tensors of the MLP. LoRA keeps its four inputs, a trained layer or norm its own.
    """
    block = (4 * llama.width + 3 * llama.inner) * element + 2 * 4 * llama.width
    if adapter == "full":
        block += (4 * llama.width + llama.inner) * element
    elif adapter == "lora":
        block += 4 * llama.width * element
    return llama.layers * llama.width * element + block if checkpointing else llama.layers * block


def logits_bytes(kept: str, rows: int, tokens: float, llama: Llama, element: int) -> float:
    """Bytes of logits, by `StageSpec.logits`: TRL scores in tiles; beside a teacher, the student's and two answers'."""
    if kept == "teacher":
        return rows * (tokens * (element + 4) + 2 * ANSWER_TOKENS * 4) * llama.vocab
    return 0.0 if kept == "none" else min(1024, rows * ANSWER_TOKENS) * llama.vocab * 4.0


def _rows(node: Node) -> int:
    """Rows in one forward and backward pass."""
    options = node.options
    if node.spec.rows == "prompts":
        return int(options.prompts_per_step * options.generations)
    return int(options.batch_size * (2 if node.spec.rows == "pairs" else 1))


def _adapter(node: Node, recipe: Recipe) -> adapter_file.Adapter | None:
    """The adapter that trains: the node's own, or the recipe's if its parent's goes on; None in other stages."""
    match node.spec.adapter:
        case "named":
            return adapter_file.read(node.options.adapter, node.options.rank)
        case "merged":
            return adapter_file.read("lora", node.options.rank)
        case "personal":
            return adapter_file.personal(node.options.rank)
        case "parent":
            return adapter_file.read(recipe.sft.adapter, recipe.sft.rank)
    return None
