"""`enhance`: a causal speech enhancer that knows the listener's audiogram, trained against a discriminator.

A DNN-GAN denoiser in the spirit of Diehl et al. 2023 and of MetricGAN+ (Fu et al. 2021). It needs only the corpus or,
with a weight for the machine, also `ctc`; no other stage needs it. Validation voices in validation noises decide at
which tenth of the training its weights are kept; a training that was stopped goes on where it was.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from posttrain.acoustics import SAMPLE_RATE, drawn, enhancer, mixtures
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.acoustics.fitting import NALR
from posttrain.config.sections import EnhanceConfig
from posttrain.machine import threads
from posttrain.machine.device import say
from posttrain.machine.source import stage_code
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import state_hash
from posttrain.stages.training import stopped
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.enhance_data import listener, training_mixtures, valid_mixtures
from posttrain.stages.training.enhance_losses import Critic, Losses, Recogniser
from posttrain.stages.training.pieces import in_pieces

LISTENERS = ("normal", "N1", "N2", "N3", "N4", "N5", "N6", "N7", "S1", "S2", "S3")
TALKER_DB_SPL = (55.0, 75.0)
"""Range of the level at which speech reaches the listener."""
CRITIC_FROM = 0.5
"""Share of the steps before the discriminator is used; earlier it would judge noise."""
WARMUP = 0.1
MAX_GRAD_NORM = 1.0
BETAS = (0.9, 0.98)
CRITIC_LEARNING_RATE = 5e-4
ENCODER_LEARNING_RATE = 5e-4
"""Peak learning rate of the encoder that trains with the enhancer."""
CHECKS = 10
"""How often the gain on validation mixtures is measured, evenly over the training; at least 20 steps apart."""
EDGE = 10
"""Steps over which the first and the last losses are averaged."""
KEEP_S = 60.0
"""Seconds between two writings of the state from which a stopped training goes on."""


def run(config: EnhanceConfig, context: StageContext) -> dict[str, Any]:
    """Write enhancer.safetensors, enhancer.json and, with a weight for the machine, the encoder trained with them.

    The returned train_metrics include the gain on validation voices and noises. RuntimeError with the step if the
    gradient becomes NaN or infinite; InputError if there is no clean speech to train on.
    """
    torch.manual_seed(context.seed)
    made = Enhancer(EnhancerSpec(config.width, config.sub_width, config.conditioned)).to(context.device)
    mixed = training_mixtures(config, context)
    learner = teacher = machine = None
    if config.machine_weight:
        learner, teacher = (encoders.load(context.parents["encoder"], device=context.device) for _ in range(2))
        machine = Recogniser(learner, teacher)
    metrics = _train(made, machine, mixed, config, context)
    made.requires_grad_(False).eval()
    heard_by = None
    if learner is not None and teacher is not None:
        encoders.save(learner, context.folder / encoders.TRAINED_WITH)
        hashes = (state_hash(encoder.model) for encoder in (learner, teacher))
        heard_by = dict(zip(("weights", "learned_from"), hashes, strict=True))
    enhancer.save(context.folder, made, heard_by)
    return metrics | {"params": _count(made), "latency_ms": made.latency_ms}


def gains(made: Enhancer, mixed: Sequence[mixtures.Mixture]) -> dict[str, float]:
    """SNR → mean SI-SDR improvement (dB) for normal hearing, over the mixtures that can be measured."""
    hearing = listener("normal").levels()
    found: dict[str, list[float]] = {}
    with threads.pool() as pool:
        for mixture, enhanced in zip(mixed, pool.map(lambda m: made.enhance(m.noisy, hearing), mixed), strict=True):
            gain = mixtures.si_sdr(enhanced, mixture.clean) - mixtures.si_sdr(mixture.noisy, mixture.clean)
            if math.isfinite(gain):
                found.setdefault(f"{mixture.snr_db:g}", []).append(gain)
    return {snr_db: sum(each) / len(each) for snr_db, each in found.items()}


def score(gains: Mapping[str, float]) -> float:
    """By which weights are chosen: the mean gain, and what is lost at any SNR once more; −∞ without a gain."""
    if not gains:
        return -math.inf
    return sum(gains.values()) / len(gains) + sum(min(gain, 0.0) for gain in gains.values())


def _train(
    made: Enhancer, machine: Recogniser | None, mixed: drawn.Drawn, config: EnhanceConfig, context: StageContext
) -> dict[str, Any]:
    """Train on mixtures and listeners as they are drawn, and leave the weights that are best on validation mixtures.

    Returns means of each loss over the first and last ten steps, and the gain on validation mixtures.
    """
    device, samples = context.device, round(config.segment_s * SAMPLE_RATE)
    critic = Critic().to(device)
    losses = Losses(made, critic, machine, config).to(device)
    thresholds = torch.stack([torch.from_numpy(listener(name).levels()).float() for name in LISTENERS])
    taps = torch.stack([NALR(listener(name)).taps for name in LISTENERS])
    trained: list[dict[str, Any]] = [{"params": list(made.parameters()), "peak": config.learning_rate}]
    if machine is not None:
        trained.append({"params": list(machine.learner.parameters()), "peak": ENCODER_LEARNING_RATE})
    optimizer = torch.optim.AdamW(trained, betas=BETAS, weight_decay=0.01)
    judge = torch.optim.AdamW(critic.parameters(), lr=CRITIC_LEARNING_RATE, betas=(0.5, 0.99))
    best = {"enhancer": copy.deepcopy(made)} | ({"encoder": copy.deepcopy(machine.learner)} if machine else {})
    now = {"enhancer": made} | ({"encoder": machine.learner} if machine else {})
    parts: dict[str, Any] = {**now, "critic": critic, "optimizer": optimizer, "judge": judge}
    parts |= {f"best {name}": module for name, module in best.items()}
    learns = f", encoder {_count(machine.learner):,}" if machine is not None else ""
    say(f"enhance: trains enhancer {_count(made):,}{learns}; discriminator {_count(critic):,}, which is not kept")
    made_by = {"code": stage_code("enhance"), "corpus": context.corpus.fingerprint, "device": device}
    known: dict[str, Any] = {"step": 0, "history": [], "gains": {}, "spent_s": 0.0}
    known |= stopped.restore(context.stopped, parts, made_by)
    history, measured, earlier_s = known["history"], known["gains"], known["spent_s"]
    valid, checks = valid_mixtures(context.corpus, config.own_snr_db), _checks(config.steps)
    clock = written = time.monotonic()
    weights: list[torch.nn.Parameter] = [weight for group in trained for weight in group["params"]]
    with (
        tqdm(total=config.steps, initial=known["step"], desc="enhance", dynamic_ncols=True) as bar,
        _curves(context) as write,
        in_pieces(device) as learn,
    ):
        for step in range(known["step"], config.steps):
            drawn_now = np.random.default_rng([context.seed, 3, step])
            batch = mixed.batch(step, config.batch_size, samples)
            noisy, clean = (torch.from_numpy(array).to(device) for array in batch)
            who = torch.from_numpy(drawn_now.integers(len(LISTENERS), size=config.batch_size))
            level = float(drawn_now.uniform(*TALKER_DB_SPL))
            judged = bool(config.adversarial_weight) and step >= CRITIC_FROM * config.steps
            objective = partial(losses, noisy, clean, thresholds[who].to(device), taps[who].to(device), level, judged)
            goals = {"loss": weights} | ({"critic": list(critic.parameters())} if judged else {})
            history.append(learn(objective, goals, config.batch_size))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _rate(step, config.steps)
            norm = sum(float(torch.nn.utils.clip_grad_norm_(part["params"], MAX_GRAD_NORM)) for part in trained)
            if not math.isfinite(norm):
                raise RuntimeError(
                    f"enhance: gradient norm is {norm} at step {step + 1}, expected a finite number; lower"
                    " enhance.learning_rate or look at the recordings"
                )
            optimizer.step()
            if judged:
                judge.step()
            if step + 1 in checks:
                found = gains(made, valid)
                better = score(found) > max(map(score, measured.values()), default=-math.inf)
                measured[str(step + 1)] = found
                history[-1] |= {f"valid_gain_{snr_db}_db": gain for snr_db, gain in found.items()}
                if better:
                    for name, module in now.items():
                        best[name].load_state_dict(module.state_dict())
            write(step, history[-1])
            history[EDGE:-EDGE] = []
            if time.monotonic() > written + KEEP_S:
                written = time.monotonic()
                known |= {"step": step + 1, "spent_s": earlier_s + written - clock}
                stopped.keep(context.stopped, parts, made_by, known)
            bar.set_postfix(loss=f"{history[-1]['loss']:.3g}", refresh=False)
            bar.update()
    chosen = max(measured, key=lambda step: score(measured[step]), default="0")
    if measured.get(chosen):
        for name, module in now.items():
            module.load_state_dict(best[name].state_dict())
    elif config.steps:
        say("enhance: no validation mixture can be measured, so the last weights are kept")
    return {
        "steps": config.steps,
        "trainable_params": sum(weight.numel() for part in trained for weight in part["params"]),
        "audio_s": config.steps * config.batch_size * config.segment_s,
        **({"weights_of_step": int(chosen), "valid_si_sdr_gain": measured} if measured.get(chosen) else {}),
        **({"earlier_s": earlier_s} if earlier_s else {}),
        **_means(history[:EDGE], "_first", ("loss",)),
        **_means(history[-EDGE:], "_last", ("loss", "air", "listener", "machine", "critic", "adversarial")),
    }


def _checks(steps: int) -> set[int]:
    """Steps after which the gain is measured, the last among them."""
    count = max(1, min(CHECKS, steps // 20))
    return {round(steps * (number + 1) / count) for number in range(count)}


def _rate(step: int, steps: int) -> float:
    """Learning-rate factor: linear warm-up, then a cosine to zero."""
    warm = max(1, math.ceil(WARMUP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@contextmanager
def _curves(context: StageContext) -> Iterator[Any]:
    """A function (step, losses) that writes to TensorBoard if the recipe reports there, else does nothing."""
    if context.logs is None or "tensorboard" not in context.report_to:
        yield lambda step, losses: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(context.logs)) as writer:
        yield lambda step, losses: [writer.add_scalar(f"train/{n}", value, step) for n, value in losses.items()]


def _means(history: list[dict[str, float]], suffix: str, names: tuple[str, ...]) -> dict[str, float]:
    found = {name: [losses[name] for losses in history if name in losses] for name in names}
    return {name + suffix: sum(values) / len(values) for name, values in found.items() if values}


def _count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
