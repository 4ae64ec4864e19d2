"""`grpo`: reinforcement learning from verifiable rewards on speech (Shao et al. 2024), by TRL's GRPOTrainer.

The model answers spoken prompts that no earlier stage has used, several times by sampling; each answer is graded as in
evaluation: 1 − WER of a transcript, the right command, the right answer, saying that nothing was heard, refusing
harmful requests and only those. The group's mean is the baseline; KL to the frozen reference, weighted by β, keeps the
model near its parent. The reward model's score is an optional extra reward.

PEFT only: for a model without an adapter TRL would reload a reference by name, which would lose the projector.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from itertools import chain, zip_longest
from typing import Any

from datasets import Dataset
from peft import PeftModel
from trl import GRPOConfig as GRPOArguments
from trl import GRPOTrainer

from posttrain.config.sections import GRPOConfig
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Example
from posttrain.errors import InputError
from posttrain.machine.device import say
from posttrain.model import checkpoint
from posttrain.model.speech_llama import SpeechLlama
from posttrain.stages.reward import load_reward, score
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.trainer import arguments, drop_reference, keep_trainables, print_trainable, train
from posttrain.stages.training.transcripts import with_transcript
from posttrain.tasks.graders import grade

Reward = Callable[..., list[float]]
ANSWERED_AT_ONCE = 64


def run(config: GRPOConfig, context: StageContext) -> dict[str, Any]:
    """Train on the spoken prompts of split rl; saves the parent with adapter and projector changed.

    Raises InputError for a parent without an adapter, and if the reward model has a weight but does not exist.
    """
    parent = context.parents["model"]
    llama = checkpoint.load(parent, context.device, table=context.table, trainable=True)
    if not isinstance(llama.model, PeftModel):
        raise InputError(
            f"{parent} has no adapter, but grpo needs one: without, its reference would be reloaded without the "
            "projector; train sft with sft.adapter=lora, or leave grpo out of this branch"
        )
    print_trainable(llama.model, "grpo")
    prompts = spoken_prompts(context.corpus, context.seed)
    if config.hard_share:
        prompts = worth_practising(llama, prompts, config, context.seed)
    trainer = build(config, context, llama, prompts)
    metrics = train(trainer, context, "grpo", prompts, keep=("reward", "kl", "completions/mean_length"))
    drop_reference(llama.model)
    checkpoint.save(context.folder, llama, stage="grpo", parents=context.parents)
    return metrics


def build(config: GRPOConfig, context: StageContext, llama: SpeechLlama, examples: list[Example]) -> GRPOTrainer:
    """TRL's trainer with the rewards; `prompts_per_step` × `generations` answers per step."""
    if len(examples) < config.prompts_per_step:
        raise InputError(
            f"grpo.prompts_per_step is {config.prompts_per_step}, but there are {len(examples)} spoken examples "
            "of split rl; lower it, or raise corpus.rl_clips"
        )
    rewards, weights = [verifiable(examples)], [1.0]
    if config.reward_model_weight:
        if "reward" not in context.parents:
            raise InputError(
                f"grpo.reward_model_weight is {config.reward_model_weight}, but the run has no reward stage before "
                "grpo; add one to stages, or set the weight to 0"
            )
        model = load_reward(context.parents["reward"], context.device, context.table)
        rewards.append(preferred(lambda answers: score(model, answers, 64), examples))
        weights.append(config.reward_model_weight)
    args = arguments(
        GRPOArguments,
        context,
        steps=config.steps,
        batch_size=config.prompts_per_step * config.generations,
        learning_rate=config.learning_rate,
        gradient_checkpointing=config.gradient_checkpointing,
        schedule="linear",
        beta=config.beta,
        num_generations=config.generations,
        temperature=config.temperature,
        max_completion_length=config.max_new_tokens,
        reward_weights=weights,
        shuffle_dataset=False,
        use_vllm=False,
    )
    for example in examples:
        llama.tokenizer.prompt_ids(example)  # checks that each carries its clip's speech, as the trainer encodes them
    rows = [{"id": e.id, "prompt": llama.tokenizer.messages(e, with_transcript(context.seed, e.id))} for e in examples]
    with keep_trainables(llama.model):
        return GRPOTrainer(
            model=llama.model,
            reward_funcs=rewards,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=llama.tokenizer,
        )


def spoken_prompts(corpus: Corpus, seed: int) -> list[Example]:
    """Every spoken example of split rl, shuffled within its kind, taken from the kinds in turn.

    A kind is a task and a grader; clips with nothing audible count as one task. So each step sees all kinds, however
    many examples a kind has. InputError if there is none.
    """
    kinds: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in corpus.examples:
        if example.split == "rl" and example.clip is not None:
            kinds[example.task if example.text else "", example.grader].append(example)
    if not kinds:
        raise InputError(f"{corpus.folder}/examples.jsonl has no spoken example of split rl; raise corpus.rl_clips")
    shuffled = random.Random(seed)
    for _, examples in sorted(kinds.items()):
        shuffled.shuffle(examples)
    turns = zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    return [example for example in chain.from_iterable(turns) if example is not None]


def worth_practising(llama: SpeechLlama, examples: list[Example], config: GRPOConfig, seed: int) -> list[Example]:
    """Every prompt that the model's greedy answer gets wrong, wholly or in part, and right ones for the share left.

    Answers with equal grades have no advantage: a group teaches only if some answers are better than others, which is
    why DAPO (Yu et al. 2025, arXiv 2503.14476, section 3.2) samples until a batch has only such groups. Deviation:
    chosen once, before training, by one greedy answer; right ones stay in, so that known answers do not degrade. If
    there are fewer right ones than wanted, all are taken. If the choice is too small for a step, or no answer is wrong,
    all prompts are used.
    """
    say(f"grpo: grading greedy answers to {len(examples):,} prompts")
    answers = llama.answer(examples, ANSWERED_AT_ONCE, config.max_new_tokens)
    right = [grade(e.grader, answer, e) == 1 for e, answer in zip(examples, answers, strict=True)]
    hard = [e for e, known in zip(examples, right, strict=True) if not known]
    easy = [e for e, known in zip(examples, right, strict=True) if known]
    shuffled = random.Random(f"practise {seed}")
    shuffled.shuffle(easy)
    chosen = hard + easy[: round(len(hard) * (1 / config.hard_share - 1))]
    if not hard or len(chosen) < config.prompts_per_step:
        return examples
    shuffled.shuffle(chosen)
    say(f"grpo: practises {len(hard):,} that were not right and {len(chosen) - len(hard):,} that were")
    return chosen


def verifiable(examples: list[Example]) -> Reward:
    """The reward that evaluation measures: each answer graded by its example's grader, looked up by id."""
    known = {example.id: example for example in examples}

    def verifiable_reward(completions: list[Any], id: list[str], **_: Any) -> list[float]:
        graded = zip((known[i] for i in id), completions, strict=True)
        return [grade(example.grader, _content(answer), example) for example, answer in graded]

    return verifiable_reward


def preferred(rank: Callable[[list[tuple[Example, str]]], list[float]], examples: list[Example]) -> Reward:
    """The reward model's score of each answer, by `rank` (example, answer) → score."""
    known = {example.id: example for example in examples}

    def reward_model(completions: list[Any], id: list[str], **_: Any) -> list[float]:
        return rank([(known[i], _content(answer)) for i, answer in zip(id, completions, strict=True)])

    return reward_model


def _content(completion: list[dict[str, str]]) -> str:
    return completion[-1]["content"]
