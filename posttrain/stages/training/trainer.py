"""Shared by all stages on the Hugging Face Trainer: arguments, progress bar, stopping at NaN, and reported metrics."""

import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from posttrain.corpus import overlap
from posttrain.model.adapters import count_trainable, trainable_summary
from posttrain.stages.training.bfloat16 import pays_on_cpu, quick
from posttrain.stages.training.context import StageContext

A = TypeVar("A", bound=TrainingArguments)


def arguments(
    cls: type[A],
    context: StageContext,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    gradient_checkpointing: bool = False,
    schedule: str = "cosine",
    warmup: float = 0.05,
    by_length: bool = False,
    llama: Any = None,
    **extra: Any,
) -> A:
    """Training arguments of class `cls` (TRL's configs are TrainingArguments) for `steps` optimizer steps.

    `warmup` is a share of the steps; `by_length` batches rows of similar length (by the dataset's `length` column if it
    has one). `llama`: the Llama that trains, by whose width a CPU uses bfloat16 or not. `extra` goes to `cls` unchanged
    and overrides what is chosen here. Every step is logged, so that a NaN is noticed at once; TRL's own defaults (bf16
    and activation checkpointing on) are not used.
    """
    on_cuda = context.device.startswith("cuda")
    chosen: dict[str, Any] = {
        "output_dir": str(context.folder),
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "learning_rate": learning_rate,
        "lr_scheduler_type": schedule,
        "warmup_steps": math.ceil(warmup * steps),
        "max_grad_norm": 1.0,
        "gradient_checkpointing": gradient_checkpointing,
        "train_sampling_strategy": "group_by_length" if by_length else "random",
        "use_cpu": not on_cuda,
        "bf16": torch.cuda.is_bf16_supported() if on_cuda else llama is not None and pays_on_cpu(llama),
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": on_cuda,
        "remove_unused_columns": False,
        "seed": context.seed,
        "data_seed": context.seed,
        "save_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "disable_tqdm": False,
        "report_to": list(context.report_to) or "none",
    }
    with warnings.catch_warnings():  # TRL uses the old name of activation checkpointing
        warnings.simplefilter("ignore", FutureWarning)
        return cls(**{**chosen, **extra})


def train(
    trainer: Trainer,
    context: StageContext,
    label: str,
    rows: Iterable[overlap.Row],
    keep: Sequence[str] = (),
    own_tests: Iterable[str] = (),
) -> dict[str, float]:
    """Train to the end with a progress bar called `label`; returns the stage's train_metrics.

    `rows` are the examples, pairs or clips that the trainer's dataset was made from. InputError if one contains a text
    of the test or validation split, or one of a person's test sentences `own_tests`.

    `loss_first` and `loss_last` are means over the first and last ten steps; `NAME_last` is the mean over the last ten
    of each logged value named in `keep`; `tokens` are those that went through the model, if the trainer counts them. No
    times are reported. The dataset must have an `id` column, which names the batch in the RuntimeError if the loss is
    NaN.
    """
    overlap.check(label, rows, context.corpus, own_tests)
    batches = _RememberIds(trainer.data_collator)
    trainer.data_collator = batches
    trainer.remove_callback(DEFAULT_PROGRESS_CALLBACK)  # in a notebook it shows a table with a row per step
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(ProgressBar(label))
    trainer.add_callback(StopOnNaN(label, batches))
    if context.logs is not None:
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback):
                callback.logging_dir = str(context.logs)
    if trainer.args.max_steps < 1:
        return {"steps": 0, "tokens": 0}
    trainable = count_trainable(trainer.model)
    with quick(trainer):
        trainer.train()
    history = [row for row in trainer.state.log_history if "loss" in row]
    edge = min(10, len(history))
    metrics = {
        "steps": trainer.state.global_step,
        "trainable_params": trainable,
        "tokens": int(history[-1].get("num_tokens", trainer.state.num_input_tokens_seen)),
        "loss_first": _mean(history[:edge], "loss"),
        "loss_last": _mean(history[-edge:], "loss"),
    }
    return metrics | {f"{name}_last": _mean(history[-edge:], name) for name in keep}


def print_trainable(model: torch.nn.Module, label: str) -> None:
    """Print on stderr what trains and what is frozen, per part, with parameter counts."""
    print(f"{label}: {trainable_summary(model)}", file=sys.stderr)


@contextmanager
def keep_trainables(model: torch.nn.Module) -> Iterator[None]:
    """Build a TRL trainer in this block: trainable parameters keep their values and dtype.

    On a 4-bit base TRL casts them to bfloat16: small updates of a projector would vanish, and the policy would no
    longer equal its reference.
    """
    kept = {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in kept:
            parameter.data = kept[name].to(parameter.device)


@contextmanager
def projector_on_four_bits(model: Any) -> Iterator[None]:
    """Build a trainer in this block, which otherwise refuses a 4-bit Llama without a PEFT adapter.

    The refusal is there so that nobody trains quantised weights; but the Trainer does not count a projector as an
    adapter, and here a projector trains, alone or with an adapter.
    """
    quantised = getattr(model, "is_quantized", False)
    if quantised:
        model.is_quantized = False
    try:
        yield
    finally:
        if quantised:
            model.is_quantized = True


def drop_reference(model: torch.nn.Module) -> None:
    """Remove the frozen copy of the adapter that TRL created, called `ref`, if it created one."""
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")


class StopOnNaN(TrainerCallback):
    """Stop with the step and the batch's ids if the loss or the gradient norm is NaN or infinite.

    The Trainer itself would log another number instead. The loader reads one batch ahead, so the ids are taken in the
    order they were collated, not from the last batch seen.
    """

    def __init__(self, label: str, batches: "_RememberIds"):
        self.label = label
        self.batches = batches
        self.first = 0
        self.next = 0

    def on_step_begin(self, args, state, control, **kwargs):
        self.first = self.next

    def on_substep_end(self, args, state, control, **kwargs):
        self.next += 1

    def on_step_end(self, args, state, control, **kwargs):
        self.next += 1

    def on_log(self, args, state, control, logs=None, **kwargs):
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(value):
                ids = [i for batch in self.batches.ids[self.first : self.next] for i in batch]
                raise RuntimeError(
                    f"{self.label}: {name} is {value} at step {state.global_step}, expected a finite number; the batch "
                    f"held {', '.join(dict.fromkeys(ids))}; lower the learning rate or look at these examples"
                )


class ProgressBar(ProgressCallback):
    """Steps, time left and the loss in one line on stderr; the Trainer's bar would print every log as a dict."""

    def __init__(self, label: str):
        super().__init__()
        self.label = label

    def on_train_begin(self, args, state, control, **kwargs):
        self.training_bar = tqdm(total=state.max_steps, desc=self.label, dynamic_ncols=True, mininterval=0.5)
        self.current_step = 0

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None and logs:
            shown = {name: f"{logs[name]:.3g}" for name in ("loss", "reward") if name in logs}
            self.training_bar.set_postfix(shown, refresh=False)


class _RememberIds:
    """Wraps a data collator and keeps the rows' ids, batch by batch."""

    def __init__(self, collator: Any):
        self.collator = collator
        self.ids: list[list[str]] = []

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        self.ids.append([str(row["id"]) for row in rows])
        return self.collator(rows)


def _mean(rows: list[dict[str, float]], name: str) -> float:
    values = [row[name] for row in rows if name in row]
    if not values:
        raise ValueError(f"no logged value is called {name}; known: {', '.join(sorted(rows[-1]))}")
    return sum(values) / len(values)
