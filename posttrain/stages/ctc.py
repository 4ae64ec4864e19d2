"""`ctc`: the encoder. Tiny: a Parakeet, trained here on synthetic, then also real speech; real: named, of any kind."""

import itertools
import random
from typing import Any

import jiwer
import torch
import torch.nn.functional as F
from transformers import ParakeetTokenizer, Trainer, TrainingArguments

from posttrain.acoustics import SAMPLE_RATE
from posttrain.acoustics.augment import SPEEDS, Augmenter
from posttrain.acoustics.frontend import collate
from posttrain.config.sections import CTCConfig
from posttrain.corpus import overlap
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip
from posttrain.errors import InputError
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders import parakeet
from posttrain.model.encoders.contract import run as encoded
from posttrain.model.encoders.parakeet import Parakeet
from posttrain.model.untrusted import pinned
from posttrain.stages.training.context import StageContext
from posttrain.stages.training.hierarchical_ctc import HierarchicalCTC
from posttrain.stages.training.muon import MuonAndAdamW
from posttrain.stages.training.trainer import arguments, print_trainable, train

CLEAN = ("clean", "snr20", "snr15")
CLEAN_FIRST = 0.2
"""Share of the steps on synthetic speech, at their start, on CLEAN clips without added noise, which learn to align."""
REAL_SHARE = 0.6
"""Share of real clips in the later steps, which continue with real recordings."""
SHORT_SAMPLES = SAMPLE_RATE  # one second
FRAMES_STEP = 32
"""Batches are padded to a multiple of this many mel frames: kernels are built for each shape, so fewer are needed."""
SORT_BATCHES = 16
"""Batches of similar length are cut from this many batches of random clips."""


def run(config: CTCConfig, context: StageContext) -> dict[str, Any]:
    """Write an encoder's folder, or a checkpoint.json that names one; returns train_metrics with validation WER.

    RuntimeError with the step and the batch's ids if the loss becomes NaN; InputError if there is nothing to train on.
    """
    if config.model:
        encoder = encoders.load(config.model, config.revision, context.device)
        encoders.refer(context.folder, config.model, pinned(config.model, config.revision))
        return {"steps": 0, "tokens": 0, "params": sum(p.numel() for p in encoder.model.parameters())}
    torch.manual_seed(context.seed)
    said = [clip.text for clip in context.corpus.clips_of("train")]
    encoder = untrained(config, parakeet.unit_tokenizer(said, config.units))
    encoder.model.requires_grad_(True)
    encoder.log_mel.to(context.device)
    model = HierarchicalCTC(encoder.model, parakeet.unit_tokenizer(), config.steps).to(context.device)
    print_trainable(encoder.model, "ctc")
    metrics: dict[str, Any] = _train(encoder, model, config, context, "ctc", config.steps, real=False)
    if config.real_steps:
        on = _train(encoder, model, config, context, "ctc, real", config.real_steps, real=True)
        metrics |= {f"real_{name}": value for name, value in on.items()}
    encoder.model.requires_grad_(False).eval()
    metrics |= valid_wer(encoder, context.corpus)
    encoders.save(encoder, context.folder)
    return metrics | {"params": sum(p.numel() for p in encoder.model.parameters())}


def untrained(config: CTCConfig, tokenizer: ParakeetTokenizer | None = None) -> Parakeet:
    """The tiny encoder in the recipe's size; its CTC units are the tokenizer's, or characters without one."""
    return parakeet.tiny(
        config.hidden_size,
        config.layers,
        config.heads,
        config.subsampling_factor,
        config.subsampling_channels,
        config.mel_bins,
        tokenizer,
    )


def valid_wer(encoder: Parakeet, corpus: Corpus) -> dict[str, float]:
    """Greedy WER (errors / words) on validation voices, by condition, and on real validation speakers."""
    groups: dict[str, list[Clip]] = {}
    for clip in corpus.clips_of("valid"):
        if clip.text:
            quiet = clip.condition in ("clean", "padded", "joined")
            kind = "real" if clip.recorded else clip.condition if quiet else "noisy"
            groups.setdefault(f"valid_wer/{kind}", []).append(clip)
    return {
        name: jiwer.wer(
            [c.text for c in clips], [said for _, said in encoded(encoder, [corpus.audio(c.id) for c in clips])]
        )
        for name, clips in sorted(groups.items())
    }


def _train(
    encoder: Parakeet,
    model: HierarchicalCTC,
    config: CTCConfig,
    context: StageContext,
    label: str,
    steps: int,
    real: bool,
) -> dict[str, Any]:
    """One run of the Trainer over clips in an order drawn before it starts."""
    corpus, rng = context.corpus, random.Random(f"{label} {context.seed}")
    usable = [c for c in corpus.clips_of("train") if _fits(encoder, c)]
    made = [c for c in usable if not c.recorded]
    recorded = [c for c in usable if c.recorded]
    spoken_real = [c for c in recorded if c.text]
    if not made or (real and not spoken_real):
        raise InputError(
            f"corpus has {len(made)} made and {len(spoken_real)} real train clips, expected some to train on;"
            " raise corpus.train_clips, or set corpus.sources or ctc.real_steps to 0"
        )
    if real:
        # real speech has the larger share; clips without words come from the synthetic ones only
        order = _order([(made, 1 - REAL_SHARE), (spoken_real, REAL_SHARE)], steps, config.batch_size, rng)
        clean_steps = 0
    else:
        clean_steps = int(CLEAN_FIRST * steps)
        clean = [c for c in made if c.condition in CLEAN and c.text] or made
        order = _order([(clean, 1.0)], clean_steps, config.batch_size, rng)
        order += _order([(made, 1.0)], steps - clean_steps, config.batch_size, rng)
    collator = Collator(encoder, model.characters, config, context, steps, clean_steps)
    args = arguments(
        TrainingArguments,
        context,
        steps=steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate * (0.5 if real else 1.0),
        warmup=0.1,
        train_sampling_strategy="sequential",
        weight_decay=0.01,
        bf16=_bf16(context.device),
        dataloader_pin_memory=False,  # the features are computed on the GPU
    )
    matrices = [p for p in model.model.encoder.layers.parameters() if p.ndim == 2]
    among = set(matrices)
    others = [p for p in model.parameters() if p not in among]
    optimizer = MuonAndAdamW(matrices, others, args.learning_rate, args.weight_decay, beta2=0.98)
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=[{"id": clip.id} for clip in order],
        data_collator=collator,
        optimizers=(optimizer, None),
    )
    return train(trainer, context, label, usable)


class Collator:
    """Clip ids → augmented log-mel features, mask and labels for HierarchicalCTC."""

    def __init__(
        self,
        encoder: Parakeet,
        characters: ParakeetTokenizer,
        config: CTCConfig,
        context: StageContext,
        steps: int,
        clean_batches: int,
    ):
        """The first `clean_batches` batches get no added noise; short runs draw from fewer noises and rooms."""
        self.encoder, self.characters, self.corpus = encoder, characters, context.corpus
        self.clean_batches, self.seen = clean_batches, 0
        self.held_out = overlap.held_out(context.corpus)
        train_clips = self.corpus.clips_of("train")
        talkers = [c for c in train_clips if c.condition == "clean" and c.text][:400]
        recorded = [c for c in train_clips if c.recorded and not c.text]
        self.short: dict[str, list[Clip]] = {}
        for clip in train_clips:
            if clip.recorded and clip.text and clip.samples < SHORT_SAMPLES:
                self.short.setdefault(clip.speaker, []).append(clip)
        self.augment = Augmenter(
            [self.corpus.audio(c.id) for c in talkers],
            [self.corpus.audio(c.id) for c in recorded],
            config.noise_probability,
            config.room_probability,
            context.seed,
            variety=max(12, min(240, steps * config.batch_size // 40)),
        )

    def __call__(self, rows: list[dict[str, str]]) -> dict[str, torch.Tensor]:
        """input_features (B, F, M), attention_mask (B, F), labels (B, U) and lower_labels (B, C), padded."""
        clips = [self.corpus.clips[row["id"]] for row in rows]
        clean = self.seen < self.clean_batches
        self.seen += 1
        noisy = [clean or clip.condition not in (*CLEAN, "padded", "joined", "real") for clip in clips]
        said = [self._said(clip) for clip in clips]
        waveforms = self.augment.waveforms([torch.cat([self.corpus.audio(c.id) for c in cs]) for cs in said], noisy)
        padded, lengths = collate(waveforms)
        with torch.no_grad():
            device = self.encoder.device
            features, mask = self.encoder.features(padded.to(device), lengths.to(device))  # (B, F, M), (B, F)
            features = self.augment.features(features) * mask.unsqueeze(-1)
            spare = -features.shape[1] % FRAMES_STEP
            features, mask = F.pad(features, (0, 0, 0, spare)), F.pad(mask, (0, spare))
        texts = [" ".join(clip.text for clip in cs) for cs in said]
        return {
            "input_features": features,
            "attention_mask": mask.long(),
            "labels": _padded([self.encoder.labels(text) for text in texts]),
            "lower_labels": _padded([self.characters(text, add_special_tokens=False).input_ids for text in texts]),
        }

    def _said(self, clip: Clip) -> list[Clip]:
        """The clip; half of the time a short recording is followed by others of its speaker.

        So digits become strings of digits, but never a held-out one.
        """
        others = self.short.get(clip.speaker, [])
        rng = self.augment.rng
        if clip not in others or rng.random() < 0.5:
            return [clip]
        said = [clip, *(others[i] for i in rng.integers(len(others), size=rng.integers(1, 5)))]
        return [clip] if " ".join(c.text for c in said) in self.held_out else said


def _padded(units: list[list[int]]) -> torch.Tensor:
    """Units of each clip → (B, U), padded with −100; U is at least one."""
    rows = [torch.tensor(clip or [-100]) for clip in units]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)


def _order(pools: list[tuple[list[Clip], float]], steps: int, batch_size: int, rng: random.Random) -> list[Clip]:
    """`steps` batches of clips, each of similar length; pools are drawn epoch by epoch in their shares."""
    count = steps * batch_size
    drawn: list[Clip] = []
    for pool, share in pools:
        wanted = round(share * count)
        for _ in range(-(-wanted // len(pool))):
            epoch = rng.sample(pool, len(pool))
            drawn += epoch[:wanted]
            wanted -= len(epoch)
    if len(pools) > 1:
        rng.shuffle(drawn)
    drawn = drawn[:count] + drawn[: max(0, count - len(drawn))]
    ordered: list[Clip] = []
    for start in range(0, count, SORT_BATCHES * batch_size):
        part = sorted(drawn[start : start + SORT_BATCHES * batch_size], key=lambda clip: clip.samples)
        batches = [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
        rng.shuffle(batches)
        ordered += [clip for batch in batches for clip in batch]
    return ordered


def _fits(encoder: Parakeet, clip: Clip) -> bool:
    """Whether the clip, even sped up, has enough frames: CTC needs one per unit and one more between equal units."""
    units = encoder.labels(clip.text)
    needed = len(units) + sum(a == b for a, b in itertools.pairwise(units))
    return encoder.num_frames(int(clip.samples / max(SPEEDS))) > needed


def _bf16(device: str) -> bool:
    """Whether to use bfloat16 autocast: only if the machine is faster with it."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported()
