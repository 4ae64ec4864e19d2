"""Reads recordings: any common format, rate and number of channels in, 16 kHz float32 out, mono unless asked otherwise.

The header is read first, and its limits are checked before any sample. Samples are decoded, mixed and resampled in
blocks, so a long file does not fill the memory. Every error is a ValueError without the path; callers add it.

- Channels are averaged. Silent channels are left out of the average. Channels that cancel each other (one is
  the other inverted, in all of the file or in a part) are an error, because the average would lose what they share.
- A constant offset is removed from each channel.
- Clipped recordings and floats beyond ±1 are read as they are; beyond ±LARGEST they are an error.
"""

import math
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import soundfile
import soxr

from posttrain.acoustics import SAMPLE_RATE
from posttrain.corpus import containers
from posttrain.corpus.cancellation import Cancellation

MINIMUM_SAMPLES = 1_920
"""120 ms, one speech token of the default recipe: three encoder frames of 40 ms."""
LONGEST_S = 4 * 3600.0
"""Longest recording that is read block by block, as `transcribe` does."""
LONGEST_WHOLE_S = 3600.0
"""Longest recording that is held in memory whole."""
LONGEST_TRAINING_S = 60.0
"""Longest recording of speech to train or evaluate on: the encoder's memory grows with the square of the length."""
RATES_HZ = (8_000, 384_000)
CHANNELS = 16
LARGEST = 64.0
BLOCK_S = 5.0
ROUNDED_S = 0.03
"""By how much a segment may end after its file: tables round times."""
KEPT_VALUES = 4_000_000
"""Maximum number of decoded values (frames × channels) kept from the check of the samples; longer files are decoded
twice."""
SILENT_DB = -60.0
"""A channel this far below the loudest is silent."""
OFFSET, OFFSET_SHARE = 1e-3, 0.01
"""A constant offset that is smaller, or has a smaller share of the channel's power, is left alone."""
UNKNOWN_BYTES = 0x7FFF_0000
"""Programs that write to a pipe put this size or a larger one in the header, as they do not know the length."""
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF")
"""Formats whose length can be checked; for others libsndfile does not report that a file is cut off."""
SAMPLE_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
SAMPLE_BYTES |= dict.fromkeys(("PCM_S8", "PCM_U8", "ULAW", "ALAW"), 1)
STARTS = {
    "WAV": rb"RIFF.{4}WAVE",
    "WAVEX": rb"RIFF.{4}WAVE",
    "RF64": rb"RF64.{4}WAVEds64",
    "W64": rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",
    "FLAC": rb"fLaC[\x00\x80]\x00\x00\x22",
    "OGG": rb"OggS\x00[\x02\x03\x06\x07].{8}",
    "MP3": rb"\xff[\xe2-\xff]..(?:.{9}|.{17}|.{32})(?:Xing|Info|VBRI)",
    "AIFF": rb"FORM.{4}AIF[FC]",
    "AU": rb"\.snd\x00{3}.{5}\x00{3}|dns\..\x00{3}.{5}\x00{3}",
    "CAF": rb"caff\x00\x01\x00\x00desc",
}
"""The bytes with which a stream of each format begins."""
_DATA_SIZE = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_FRAME_COUNT = re.compile(r"'ds64' chunk of (\d+)")


Segment = tuple[float, float | None, int | None]
"""Offset and length in seconds (None for all that follows), and channel (None for the average of all)."""
ALL: Segment = (0.0, None, None)


@dataclass(frozen=True)
class Header:
    """Contents of a file's header."""

    path: Path
    frames: int
    """Of the segment that is wanted, at the file's rate."""
    rate_hz: int
    channels: int
    """Of the file."""
    first: int = 0
    """The segment's first frame."""
    format: str = "WAV"
    """One of FORMATS or of `containers.STARTS`."""
    channel: int | None = None
    """The one that is read, counted from 0; None for the average of all."""
    made: IO[bytes] | None = None
    """The temporary file at `path`, deleted with this object, if the format had to be decoded first."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate_hz

    @property
    def samples(self) -> int:
        """Length at 16 kHz."""
        return round(self.frames * SAMPLE_RATE / self.rate_hz)


@dataclass(frozen=True)
class _Channels:
    """How to mix the channels, found from all samples."""

    used: np.ndarray
    """Which channels are averaged, (C,) bool."""
    offsets: np.ndarray
    """Subtracted from each channel, (C,)."""


def header(
    path: str | Path,
    minimum_samples: int = MINIMUM_SAMPLES,
    longest_s: float = LONGEST_WHOLE_S,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel: int | None = None,
) -> Header:
    """Read and check the file's header; no sample is decoded.

    offset_s, duration_s: a segment of the file; without a duration, all that follows. The limits are the segment's.

    Raises ValueError: not a file, not audio, no header (raw samples), cut off, too short, too long, a rate or number of
    channels out of range, a segment or a channel that the file does not have.
    """
    path = Path(path)
    name = containers.format_of(path)
    part = bool(offset_s) or duration_s is not None
    made = containers.as_wav(path, name, LONGEST_S if part else longest_s, part) if name else None
    path = Path(made.name) if made else path
    with _opened(path) as file:
        found = Header(path, file.frames, file.samplerate, file.channels, 0, name or file.format, channel, made)
        _check_complete(path, file)
        if offset_s and not file.seekable():
            raise ValueError(f"audio is {file.subtype}, of which no segment can be read; convert it to WAV or FLAC")
    if not RATES_HZ[0] <= found.rate_hz <= RATES_HZ[1]:
        low, high = RATES_HZ
        raise ValueError(f"the sample rate is {found.rate_hz} Hz, expected {low} to {high} Hz; resample the recording")
    if found.channels > CHANNELS:
        raise ValueError(f"audio has {found.channels} channels, expected at most {CHANNELS}; export those that matter")
    if not found.frames:
        raise ValueError("audio has no samples; remove the row or record it again")
    if channel is not None and not 0 <= channel < found.channels:
        raise ValueError(f"channel is {channel}, expected 0 to {found.channels - 1}; name one that the file has")
    found = _segment(found, offset_s, duration_s) if part else found
    if found.duration_s > longest_s:
        raise ValueError(
            f"audio is {found.duration_s:,.0f} s long, expected at most {longest_s:,.0f} s; cut it into shorter files"
        )
    if found.samples < minimum_samples:
        raise ValueError(
            f"audio is {found.samples / SAMPLE_RATE:.3f} s, expected {minimum_samples / SAMPLE_RATE:.3f} s (one speech"
            " token) or more; remove the row"
        )
    return found


def audio(path: str | Path, minimum_samples: int = MINIMUM_SAMPLES, longest_s: float = LONGEST_WHOLE_S) -> np.ndarray:
    """The whole recording as float32 (S,) at 16 kHz, mono. Raises ValueError as `header` and `blocks` do."""
    return np.concatenate(list(blocks(header(path, minimum_samples, longest_s))))  # (S,)


def blocks(found: Header, apart: bool = False) -> Iterator[np.ndarray]:
    """The recording in blocks of a few seconds, float32 (S_i,) at 16 kHz, mono; concatenated they equal `audio`.

    apart: all channels, (C, S_i), instead of their average.

    Raises ValueError before the first block: fewer samples than the header promises, NaN or infinite samples, samples
    beyond ±LARGEST, channels that are to be averaged and cancel each other.
    """
    small = found.frames * found.channels <= KEPT_VALUES
    kept = list(_decoded(found)) if small else None
    channels = _look(found, kept if kept is not None else _decoded(found), apart)
    decoded = kept if kept is not None else _decoded(found)
    centred = (block - channels.offsets for block in decoded)  # (S_i, C)
    if apart:
        yield from (block.T for block in _resampled(centred, found.rate_hz, len(channels.used)))
        return
    mixed = (block[:, channels.used].mean(axis=1, dtype=np.float32) for block in centred)  # (S_i,)
    yield from _resampled(mixed, found.rate_hz, 1)


def check(found: Header, apart: bool = False) -> None:
    """Raise the ValueError that `blocks` would raise, without keeping the samples."""
    _look(found, _decoded(found), apart)


def int16(waveform: np.ndarray) -> np.ndarray:
    """Samples as stored in a corpus; a waveform beyond ±1 is scaled down, not clipped. # (S,) → (S,)"""
    peak = float(np.abs(waveform).max()) if len(waveform) else 0.0
    return np.round(waveform * (32_767 / max(peak, 1.0))).astype(np.int16)


def _segment(whole: Header, offset_s: float, duration_s: float | None) -> Header:
    """The segment's header; ValueError if it leaves the file, but for what rounding of the times may cost."""
    beyond_s = whole.duration_s + 1  # times may be too large to count frames in them
    first = round(min(offset_s, beyond_s) * whole.rate_hz)
    last = whole.frames if duration_s is None else first + round(min(duration_s, beyond_s) * whole.rate_hz)
    if first >= whole.frames or last > whole.frames + ROUNDED_S * whole.rate_hz or last <= first:
        end = "the end" if duration_s is None else f"{offset_s + duration_s:.3f} s"
        raise ValueError(
            f"the segment is {offset_s:.3f} s to {end}, expected one within the file's {whole.duration_s:.3f} s;"
            " correct its times"
        )
    return replace(whole, first=first, frames=min(last, whole.frames) - first)


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        if path.is_dir():
            raise ValueError("this is a folder; name an audio file in it")
        if not path.exists():
            raise ValueError("file not found; check the path")
        if not path.is_file():
            raise ValueError("this is not a regular file; save the recording to a file first")
        if not path.stat().st_size:
            raise ValueError("audio cannot be read: the file is empty (0 bytes); record or copy it again")
        name = str(path)
        file = soundfile.SoundFile(name if name.isprintable() else os.fsencode(path))
    except (soundfile.SoundFileError, OSError, TypeError, RuntimeError) as error:
        said = "the file has no header" if isinstance(error, TypeError) else str(error).strip().rstrip(".:")
        raise ValueError(f"audio cannot be read ({said}); give a WAV, FLAC, Ogg, Opus or MP3 file") from error
    if file.format == "RAW":
        file.close()
        raise ValueError("audio cannot be read (the file has no header); give a WAV, FLAC, Ogg, Opus or MP3 file")
    if file.format not in FORMATS:
        file.close()
        raise ValueError(f"audio is {file.format}, whose length cannot be checked; convert it to WAV or FLAC")
    return file


def _check_complete(path: Path, file: soundfile.SoundFile) -> None:
    """ValueError if the file is shorter than its header says, which libsndfile itself only logs."""
    log = file.extra_info
    for found in _DATA_SIZE.finditer(log):
        promised, present = int(found[1]), int(found[2])
        if found[0].lstrip().startswith(("riff", "Riff size")) and file.format not in ("W64", "RF64"):
            continue
        if present < promised < UNKNOWN_BYTES:
            frame_bytes = SAMPLE_BYTES.get(file.subtype, 0) * file.channels
            missing = (promised - present) / frame_bytes if frame_bytes else file.frames * (promised / present - 1)
            count = _FRAME_COUNT.search(log)
            _refuse_cut(int(count[1]) if count else math.ceil(file.frames + missing), file.frames)
    if file.frames > 2**60:
        raise ValueError("the header does not say how long the audio is; write the file again, such as with ffmpeg -i")
    if file.format == "OGG" and not _ends(path):
        raise ValueError("the Ogg stream breaks off before its end; copy the file again, or export it again")
    if (streams := _streams(path, file.format, path.stat().st_size, path.stat().st_mtime_ns)) > 1:
        raise ValueError(
            f"{streams} {file.format} files one behind another, of which the first alone would be read; decode each "
            "and join the samples, such as with ffmpeg or sox"
        )


def _refuse_cut(promised: int, present: int) -> None:
    if present < promised:
        raise ValueError(
            f"the header promises {promised} frames and the file has {present}: it is cut off; copy it again"
        )


def _ends(path: Path) -> bool:
    """Whether the last page of an Ogg file is marked as the end of its stream."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * 65_307))  # two pages of the largest size
        tail = file.read()
    last = tail.rfind(b"OggS")
    return last >= 0 and last + 5 < len(tail) and bool(tail[last + 5] & 4)


@lru_cache(maxsize=1_024)
def _streams(path: Path, format: str, size: int, changed: int) -> int:
    """How often a stream of this format begins in the file, which is read once however many segments it has."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sum(1 for _ in re.finditer(STARTS[format], content, re.DOTALL))


def _decoded(found: Header) -> Iterator[np.ndarray]:
    """Decode blocks at the file's own rate, float32 (S_i, C); ValueError if they end too early."""
    size, done = int(BLOCK_S * found.rate_hz), 0
    with _opened(found.path) as file:
        compressed = file.format == "MP3"
        if found.first:
            file.seek(found.first)
        while done < found.frames:
            try:
                block = file.read(min(size, found.frames - done), dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError):
                block = np.zeros((0, found.channels), np.float32)
            if not len(block):
                break
            done += len(block)
            yield block if found.channel is None else block[:, [found.channel]]
    if compressed and done > 0.99 * found.frames:  # an MP3 file counts in packets, and its count may be an estimate
        return
    _refuse_cut(found.frames, done)


def _resampled(blocks: Iterator[np.ndarray], rate_hz: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks (S_i,) of one channel, or (S_i, C), at 16 kHz."""
    if rate_hz == SAMPLE_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE, channels, dtype="float32")
    last = np.zeros(0, np.float32)
    for block in blocks:
        yield resampler.resample_chunk(block)
        last = block[:0]
    yield resampler.resample_chunk(last, last=True)


def _look(found: Header, decoded: Iterator[np.ndarray] | list[np.ndarray], apart: bool) -> _Channels:
    """Check all samples once and find how to mix the channels; ValueError if they cannot be used."""
    channels = found.channels if found.channel is None else 1
    sums, squares, done = np.zeros(channels), np.zeros(channels), 0
    cancellation = Cancellation(found.rate_hz) if channels > 1 and not apart else None
    for block in decoded:
        _check_values(block, done, found)
        sums += block.sum(axis=0, dtype=np.float64)
        squares += np.square(block, dtype=np.float64).sum(axis=0)
        done += len(block)
        if cancellation:
            cancellation.add(block)
    means = sums / done
    power = np.maximum(squares / done - means**2, 0)  # (C,)
    used = power > power.max() * 10 ** (SILENT_DB / 10)
    if not used.any():
        used[:] = True
    if cancellation and used.sum() > 1 and cancellation.found():
        raise ValueError(
            "the channels cancel each other (one is the other upside down), and their average loses what they "
            "share; export one channel, or invert one"
        )
    moved = (np.abs(means) > OFFSET) & (means**2 > OFFSET_SHARE * power)
    return _Channels(used, np.where(moved, means, 0).astype(np.float32))


def _check_values(block: np.ndarray, start: int, found: Header) -> None:
    if not np.isfinite(block).all():
        frame, channel = (int(i) for i in np.argwhere(~np.isfinite(block))[0])
        start += found.first
        raise ValueError(
            f"audio holds NaN or infinite samples (the first at {(start + frame) / found.rate_hz:.3f} s, channel"
            f" {(found.channel or channel) + 1}); remove the row or export it again"
        )
    largest = float(np.abs(block).max())
    if largest > LARGEST:
        raise ValueError(
            f"samples reach {largest:.5g}, expected about ±1: integers saved as floats; divide them by full scale"
        )
