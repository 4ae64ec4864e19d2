"""The layouts that can be read: name → layout. A folder has the first that is found in it: the special ones come
before those that hold for many folders."""

from pathlib import Path

from posttrain.corpus.layouts import (
    audiofolder,
    clarity_scenes,
    common_voice,
    fsdd,
    kaldi,
    lhotse,
    librispeech,
    nemo,
    noise,
    parquet,
    rooms,
    speechocean762,
    table,
    voicebank_demand,
)
from posttrain.corpus.layouts.entry import Layout

LAYOUTS: dict[str, Layout] = {
    "table": Layout("manifest.csv or manifest.tsv with columns path, text, …", table.found, table.read),
    "fsdd": Layout("recordings/DIGIT_SPEAKER_TAKE.wav", fsdd.found, fsdd.read),
    "speechocean762": Layout("WAVE/SPEAKER*/*.WAV, train/spk2age, …", speechocean762.found, speechocean762.read),
    "librispeech": Layout(
        "LibriSpeech and LibriTTS, SUBSET/READER/CHAPTER/*.trans.txt or *.normalized.txt",
        librispeech.found,
        librispeech.read,
    ),
    "common_voice": Layout("train.tsv, dev.tsv, test.tsv and clips/*.mp3", common_voice.found, common_voice.read),
    "voicebank_demand": Layout(
        "noisy_SET_wav, clean_SET_wav, SET_txt of VoiceBank-DEMAND", voicebank_demand.found, voicebank_demand.read
    ),
    "clarity_scenes": Layout("metadata/scenes.SET.json, SET/scenes/*.wav", clarity_scenes.found, clarity_scenes.read),
    "kaldi": Layout("wav.scp, text, utt2spk, segments, here or in folders of splits", kaldi.found, kaldi.read),
    "audiofolder": Layout("metadata.csv or metadata.jsonl with file_name, text", audiofolder.found, audiofolder.read),
    "parquet": Layout("*.parquet with audio {bytes, path} and a text", parquet.found, parquet.read),
    "lhotse": Layout("*cuts*.jsonl or .jsonl.gz, MonoCuts of files", lhotse.found, lhotse.read),
    "nemo": Layout("*manifest*.json, JSON lines with audio_filepath, text", nemo.found, nemo.read),
    "rooms": Layout("room impulse responses, named RIR, BRIR, IR, …", rooms.found, rooms.read),
    "noise": Layout("a folder of recordings, such as MUSAN, DEMAND", noise.found, noise.read),
}


def layout_of(root: Path) -> str | None:
    """Name of the layout that a folder has; None if it has none of them."""
    return next((name for name, layout in LAYOUTS.items() if layout.found(root)), None)
