"""What the enhancer is trained and validated on: clips of speech, noises, and mixtures of both."""

from collections.abc import Sequence

from posttrain.acoustics import audiogram, drawn, mixtures, scenes
from posttrain.acoustics.audiogram import Audiogram
from posttrain.config.sections import EnhanceConfig
from posttrain.corpus import overlap
from posttrain.corpus.store import Corpus
from posttrain.corpus.types import Clip
from posttrain.errors import InputError
from posttrain.machine.device import say
from posttrain.stages.training.context import StageContext

VALID_SNRS_DB = (0.0, 10.0, 20.0)
VALID_CLIPS = 16
"""Validation clips of made speech and of each recorded source."""


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


def quiet(clips: Sequence[Clip], corpus: Corpus, own_snr_db: float) -> list[Clip]:
    """Made clips, and recordings with pauses so far below their loudest parts (`drawn.own_snr_db`)."""
    audio = audio_of(corpus)
    return [clip for clip in clips if not clip.recorded or drawn.own_snr_db(audio(clip.id)) >= own_snr_db]


def valid_mixtures(corpus: Corpus, own_snr_db: float) -> list[mixtures.Mixture]:
    """Validation voices in validation noises at VALID_SNRS_DB; recorded voices in recorded noises, if any are.

    Noisy recordings are left out, as in training: taking their own noise away would count as distortion.
    """
    speech = quiet(clean_speech(corpus, "valid"), corpus, own_snr_db)
    recorded = [(c.noise or c.id, corpus.audio(c.id).numpy()) for c in recorded_noises(corpus, "valid")]
    found: list[mixtures.Mixture] = []
    for source in sorted({clip.source for clip in speech}):
        clips = [(clip.id, clip.speaker) for clip in in_turn(speech, source)[:VALID_CLIPS]]
        noises = recorded if recorded and source != "made" else scenes.VALID_KINDS
        found += mixtures.fixed(clips, audio_of(corpus), noises, VALID_SNRS_DB)
    return found


def in_turn(clips: Sequence[Clip], source: str) -> list[Clip]:
    """The source's clips: one of each speaker, then a second one of each, and so on."""
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        if clip.source == source:
            by_speaker.setdefault(clip.speaker, []).append(clip)
    placed = [(number, clip.speaker, clip) for own in by_speaker.values() for number, clip in enumerate(own)]
    return [clip for *_, clip in sorted(placed, key=lambda each: each[:2])]


def audio_of(corpus: Corpus) -> mixtures.Audio:
    """Clip id → float32 (S,)."""
    return lambda clip: corpus.audio(clip).numpy()


def training_mixtures(config: EnhanceConfig, context: StageContext) -> drawn.Drawn:
    """Mixtures of train voices and noises; InputError if there is no speech clean enough to train on."""
    corpus, audio = context.corpus, audio_of(context.corpus)
    speech = clean_speech(corpus, "train")
    usable = quiet(speech, corpus, config.own_snr_db)
    if not usable:
        raise InputError(
            "corpus has no clean train clip that can be used, expected some to train on; raise corpus.train_clips, or"
            " lower enhance.own_snr_db"
        )
    if len(usable) < len(speech):
        say(
            f"enhance: {len(speech) - len(usable):,} of {len(speech):,} clips are left out: they have no pauses"
            f" {config.own_snr_db:g} dB below their loudest parts"
        )
    overlap.check("enhance", usable, corpus)
    return drawn.Drawn(
        [(clip.id, clip.speaker) for clip in usable],
        [clip.id for clip in recorded_noises(corpus, "train")],
        audio,
        config.snr_db,
        config.quiet_share,
        config.room_share,
        config.noises,
        context.seed,
    )
