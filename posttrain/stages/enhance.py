"""`enhance`: a causal speech enhancer that knows the listener's audiogram, trained against a discriminator.

A DNN-GAN denoiser in the spirit of Diehl et al. 2023 and of MetricGAN+ (Fu et al. 2021). It needs only the corpus or,
with a weight for the machine, also `ctc`; no other stage needs it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from posttrain.acoustics import SAMPLE_RATE, audiogram, enhancer, levels, mixtures, scenes
from posttrain.acoustics.audiogram import Audiogram
from posttrain.acoustics.enhancer import Enhancer, EnhancerSpec
from posttrain.acoustics.fitting import NALR
from posttrain.acoustics.hearing_loss import HearingLoss
from posttrain.acoustics.modulations import Modulations
from posttrain.config.sections import EnhanceConfig
from posttrain.corpus import overlap
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip
from posttrain.errors import InputError
from posttrain.machine.device import say
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import state_hash
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.enhance_losses import Critic, Recogniser, adversarial_loss, critic_loss, distance

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
VALID_SNR_DB = 0.0


def run(config: EnhanceConfig, context: StageContext) -> dict[str, Any]:
    """Write enhancer.safetensors, enhancer.json and, with a weight for the machine, the encoder trained with them.

    The returned train_metrics include the gain on validation voices and noises. RuntimeError with the step if the
    gradient becomes NaN or infinite; InputError if there is no clean speech to train on.
    """
    torch.manual_seed(context.seed)
    made = Enhancer(EnhancerSpec(config.width, config.hidden, config.conditioned)).to(context.device)
    drawn = _mixtures(config, context)
    learner = teacher = machine = None
    if config.machine_weight:
        learner, teacher = (encoders.load(context.parents["encoder"], device=context.device) for _ in range(2))
        machine = Recogniser(learner, teacher)
    metrics = _train(made, machine, drawn, config, context)
    made.requires_grad_(False).eval()
    heard_by = None
    if learner is not None and teacher is not None:
        encoders.save(learner, context.folder / encoders.TRAINED_WITH)
        hashes = (state_hash(encoder.model) for encoder in (learner, teacher))
        heard_by = dict(zip(("weights", "learned_from"), hashes, strict=True))
    enhancer.save(context.folder, made, heard_by)
    return metrics | {"params": _count(made), "latency_ms": made.latency_ms} | valid_gain(made, context.corpus)


def clean_speech(corpus: Corpus, split: str, source: str | None = None) -> list[Clip]:
    """Clips of a split with speech and nothing else mixed in, from one source or from all."""
    clean = [c for c in corpus.clips_of(split) if c.text and c.condition in ("clean", "real")]
    return [c for c in clean if source is None or c.source == source]


def recorded_noises(corpus: Corpus, split: str) -> list[Clip]:
    """Pieces of recorded noise of a split."""
    return [c for c in corpus.clips_of(split) if c.recorded and not c.text]


def listener(name: str) -> Audiogram:
    """Audiogram of one of LISTENERS."""
    return audiogram.normal() if name == "normal" else audiogram.bisgaard(name)


def aided(waveforms: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Filter each row with its own causal filter: (B, S) and (B, K) → (B, S)."""
    padded = F.pad(waveforms, (taps.shape[1] - 1, 0))
    return F.conv1d(padded[None], taps.flip(1)[:, None], groups=len(taps))[0]


def valid_gain(made: Enhancer, corpus: Corpus) -> dict[str, float]:
    """SI-SDR improvement (dB) at 0 dB SNR for normal hearing, on synthetic validation voices and kinds of noise."""
    speech = [(clip.id, clip.speaker) for clip in clean_speech(corpus, "valid", "made")]
    hearing, gains = listener("normal").levels(), []
    for mixture in mixtures.fixed(speech, audio_of(corpus), scenes.VALID_KINDS, [VALID_SNR_DB]):
        enhanced = made.enhance(mixture.noisy, hearing)
        gains.append(mixtures.si_sdr(enhanced, mixture.clean) - mixtures.si_sdr(mixture.noisy, mixture.clean))
    good = [gain for gain in gains if math.isfinite(gain)]
    return {"valid_si_sdr_gain": sum(good) / len(good)} if good else {}


def audio_of(corpus: Corpus) -> mixtures.Audio:
    """Clip id → float32 (S,)."""
    return lambda clip: corpus.audio(clip).numpy()


def _mixtures(config: EnhanceConfig, context: StageContext) -> mixtures.Drawn:
    speech = [clip.id for clip in clean_speech(context.corpus, "train")]
    if not speech:
        raise InputError("corpus has no clean train clip, expected some to train on; raise corpus.train_clips")
    recorded = [clip.id for clip in recorded_noises(context.corpus, "train")]
    overlap.check("enhance", (context.corpus.clips[clip] for clip in speech), context.corpus)
    return mixtures.Drawn(
        speech,
        recorded,
        audio_of(context.corpus),
        config.snr_db,
        config.quiet_share,
        config.room_share,
        config.noises,
        context.seed,
    )


def _train(
    made: Enhancer, machine: Recogniser | None, drawn: mixtures.Drawn, config: EnhanceConfig, context: StageContext
) -> dict[str, Any]:
    """Train on mixtures and listeners as they are drawn; returns means of each loss over the last ten steps."""
    device, samples = context.device, round(config.segment_s * SAMPLE_RATE)
    ear, modulations, critic = HearingLoss().to(device), Modulations().to(device), Critic().to(device)
    generator = torch.Generator().manual_seed(context.seed)
    thresholds = torch.stack([torch.from_numpy(listener(name).levels()).float() for name in LISTENERS])
    taps = torch.stack([NALR(listener(name)).taps for name in LISTENERS])
    trained: list[dict[str, Any]] = [{"params": list(made.parameters())}]
    if machine is not None:
        trained.append({"params": list(machine.learner.parameters()), "lr": ENCODER_LEARNING_RATE})
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, betas=BETAS, weight_decay=0.01)
    judge = torch.optim.AdamW(critic.parameters(), lr=CRITIC_LEARNING_RATE, betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config.steps))
    learns = f", encoder {_count(machine.learner):,}" if machine is not None else ""
    say(f"enhance: trains enhancer {_count(made):,}{learns}; discriminator {_count(critic):,}, which is not kept")
    history: list[dict[str, float]] = []
    with tqdm(total=config.steps, desc="enhance", dynamic_ncols=True) as bar, _curves(context) as write:
        for step in range(config.steps):
            noisy, clean = (torch.from_numpy(array).to(device) for array in drawn.batch(config.batch_size, samples))
            who = torch.randint(len(LISTENERS), (config.batch_size,), generator=generator)
            hl_db = thresholds[who].to(device)
            aids = taps[who].to(device)
            level = float(torch.empty(()).uniform_(*TALKER_DB_SPL, generator=generator))
            recorded = made(noisy, hl_db)
            # at the talker's level at the ear, so that no loss at the ear depends on how loud a recording was
            enhanced, target = (levels.present(part, level, reference=clean) for part in (recorded, clean))
            losses = {"air": distance(enhanced, target)}
            total = losses["air"]
            if machine is not None:
                losses["machine"] = machine(recorded, clean)
                total = total + config.machine_weight * losses["machine"]
            if config.listener_weight:
                heard = ear(aided(enhanced, aids), hl_db)
                losses["listener"] = 1 - modulations(heard, target).mean()
                total = total + config.listener_weight * losses["listener"]
            if config.adversarial_weight and step >= CRITIC_FROM * config.steps:
                losses["critic"] = critic_loss(critic, enhanced, target)
                judge.zero_grad()
                losses["critic"].backward()
                judge.step()
                losses["adversarial"] = adversarial_loss(critic, enhanced)
                total = total + config.adversarial_weight * losses["adversarial"]
            losses["loss"] = total
            optimizer.zero_grad()
            total.backward()
            norm = sum(float(torch.nn.utils.clip_grad_norm_(part["params"], MAX_GRAD_NORM)) for part in trained)
            if not math.isfinite(norm):
                raise RuntimeError(
                    f"enhance: gradient norm is {norm} at step {step + 1}, expected a finite number; lower"
                    " enhance.learning_rate or look at the recordings"
                )
            optimizer.step()
            schedule.step()
            history.append({name: value.item() for name, value in losses.items()})
            write(step, history[-1])
            bar.set_postfix(loss=f"{history[-1]['loss']:.3g}", refresh=False)
            bar.update()
    return {
        "steps": config.steps,
        "trainable_params": sum(weight.numel() for part in trained for weight in part["params"]),
        "audio_s": config.steps * config.batch_size * config.segment_s,
        **_means(history[:10], "_first", ("loss",)),
        **_means(history[-10:], "_last", ("loss", "air", "listener", "machine", "critic", "adversarial")),
    }


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
