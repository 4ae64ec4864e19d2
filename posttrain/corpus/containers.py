"""Decodes what libsndfile cannot, by PyAV (extra `audio`): M4A, MP4 and 3GP, raw AAC, WebM and Matroska, AMR.

A file is opened only as the format that its first bytes name. FFmpeg would otherwise also read playlists and scripts,
which can name other files and addresses.
"""

import itertools
import re
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import soundfile

STARTS = {
    "mov": rb".{4}ftyp",
    "matroska": rb"\x1a\x45\xdf\xa3",
    "aac": rb"\xff[\xf0\xf1\xf8\xf9]",
    "amr": rb"#!AMR",
}
"""FFmpeg's name of a format → the bytes with which its files begin."""
NAMES = {"mov": "M4A or MP4", "matroska": "WebM or Matroska", "aac": "AAC", "amr": "AMR"}
MISSING = "which takes PyAV; get it with: pip install 'posttrain[audio]', or convert the file to WAV or FLAC"
CUT_SHARE = 0.01
"""A file that is shorter than it says by more than this share, and by more than CUT_S, is cut off."""
CUT_S = 0.1
LARGEST_VALUES = 1_500_000_000
"""Samples of all channels, 6 GB when decoded: four hours of two channels at 48 kHz, or what a small file of silence
pretends to hold."""
_keeping = threading.Lock()


def format_of(path: Path) -> str | None:
    """FFmpeg's name of the file's format if it is one of STARTS."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return None
    return next((name for name, pattern in STARTS.items() if re.match(pattern, start, re.DOTALL)), None)


def as_wav(path: Path, name: str, longest_s: float, again: bool = False) -> IO[bytes]:
    """A temporary WAV file of 32-bit floats with all channels at the file's rate; it is deleted when it is closed.

    name: its format, as `format_of` says. again: the last one is kept, for its next segment.
    Raises ValueError: PyAV is not installed, no or several tracks of sound, cut off, longer than `longest_s`, too
    large, not decodable.
    """
    if not again:
        return _as_wav(path, name, longest_s)
    with _keeping:
        return _last(path, name, longest_s, path.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _last(path: Path, name: str, longest_s: float, size: int, changed: int) -> IO[bytes]:
    return _as_wav(path, name, longest_s)


def _as_wav(path: Path, name: str, longest_s: float) -> IO[bytes]:
    try:
        import av
    except ImportError as error:
        raise ValueError(f"audio is {NAMES[name]}, {MISSING}") from error
    out = tempfile.NamedTemporaryFile(prefix="posttrain-", suffix=".wav")  # noqa: SIM115 - the caller closes it
    try:
        with av.open(str(path), format=name, options={"protocol_whitelist": "file"}) as container:
            if len(container.streams.audio) != 1:
                tracks = len(container.streams.audio)
                raise ValueError(f"the file has {tracks} tracks of sound, expected one; export the one that is meant")
            stream = container.streams.audio[0]
            promised_s = (container.duration or 0) / av.time_base
            if stream.duration and stream.time_base:
                promised_s = float(stream.duration * stream.time_base)
            seconds = _decode(container, stream, Path(out.name), longest_s)
    except av.FFmpegError as error:
        out.close()
        raise ValueError(f"audio cannot be read ({error.strerror}); give a WAV, FLAC, Ogg, Opus or MP3 file") from error
    except BaseException:
        out.close()
        raise
    if seconds < promised_s * (1 - CUT_SHARE) - CUT_S:
        out.close()
        raise ValueError(f"the file promises {promised_s:.2f} s and has {seconds:.2f} s: it is cut off; copy it again")
    return out


def _decode(container: Any, stream: Any, out: Path, longest_s: float) -> float:
    """Write the stream's samples and return its length in seconds."""
    from av import AudioResampler

    resampler = AudioResampler(format="flt", layout=stream.layout, rate=stream.rate)
    channels, frames = stream.layout.nb_channels, 0
    with soundfile.SoundFile(out, "w", stream.rate, channels, "FLOAT", format="WAV") as file:
        for decoded in itertools.chain(container.decode(stream), [None]):  # None: what the resampler still holds
            for part in resampler.resample(decoded):
                block = part.to_ndarray().reshape(-1, channels)  # (S, C)
                file.write(block)
                frames += len(block)
            if frames > longest_s * stream.rate:
                raise ValueError(
                    f"audio is over {longest_s:,.0f} s long, expected at most that; cut it into shorter files"
                )
            if frames * channels > LARGEST_VALUES:
                raise ValueError(
                    f"audio holds over {LARGEST_VALUES:,} samples in its {channels} channels, which fill the disk when"
                    " decoded; cut it into shorter files, or export the channels that matter"
                )
    return float(frames / stream.rate)
