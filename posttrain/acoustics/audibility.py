"""Audibility of speech for a listener: that of the Speech Intelligibility Index, in six octave bands."""

import numpy as np

from posttrain.acoustics.audiogram import Audiogram

OCTAVE_HZ = (250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
IMPORTANCE = (0.0617, 0.1671, 0.2373, 0.2648, 0.2142, 0.0549)
SPEECH_DB = (34.75, 34.27, 25.01, 17.32, 9.33, 1.13)
"""Spectrum level (dB SPL per Hz) of speech at normal vocal effort."""
NORMAL_THRESHOLD_DB = (-3.9, -9.7, -12.5, -17.7, -25.9, -7.1)
"""Spectrum level of the internal noise of a normal ear. All values are from ANSI S3.5-1997, table 4 (octave bands)."""
PEAKS_DB, DYNAMIC_RANGE_DB = 15.0, 30.0


def speech_levels(level_db_spl: float) -> np.ndarray:
    """Octave-band levels of speech with that overall level, dB SPL. # (6,)"""
    width_hz = np.array(OCTAVE_HZ) * (2**0.5 - 2**-0.5)
    levels = np.array(SPEECH_DB) + 10 * np.log10(width_hz)
    return levels + level_db_spl - 10 * np.log10((10 ** (levels / 10)).sum())


def audibility(thresholds_db_hl: np.ndarray, level_db_spl: float = 65.0, gain_db: np.ndarray | float = 0.0) -> float:
    """Share of speech information above threshold in quiet, 0 to 1 (ANSI S3.5-1997, sections 5.8 to 5.12).

    thresholds_db_hl, gain_db: at OCTAVE_HZ. Deviations: no masking between bands and no level distortion; both matter
    for loud speech.
    """
    width_db = 10 * np.log10(np.array(OCTAVE_HZ) * (2**0.5 - 2**-0.5))
    speech = speech_levels(level_db_spl) - width_db + gain_db
    disturbance = np.array(NORMAL_THRESHOLD_DB) + thresholds_db_hl
    audible = np.clip((speech + PEAKS_DB - disturbance) / DYNAMIC_RANGE_DB, 0, 1)
    return float(np.array(IMPORTANCE) @ audible)


def unaided(audiogram: Audiogram, level_db_spl: float = 65.0) -> float:
    """Audibility of conversational speech without an aid, for the ear with the higher one."""
    return max(
        audibility(audiogram.at(OCTAVE_HZ, "left"), level_db_spl),
        audibility(audiogram.at(OCTAVE_HZ, "right"), level_db_spl),
    )
