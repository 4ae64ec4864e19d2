"""A corpus read as its authors publish it gives the clips, texts, splits and samples of a table with the same rows."""

import numpy as np
import pytest
import soundfile

from posttrain.config import assets
from posttrain.config.sections import CorpusConfig
from posttrain.corpus import sources

TAKES = [f"{digit}_{speaker}_{take}" for speaker in ("george", "yweweler") for digit in range(3) for take in range(2)]
WORDS = ("ZERO", "ONE", "TWO")
CHOSEN = assets.path("data", "rows/speechocean762.txt").read_text().split()
TESTERS = ("0026", "0056")


def sound(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(9_600), 16_000, subtype="PCM_16")


def table(root, rows):
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.csv").write_text("\n".join(["path,speaker,text,split", *rows]) + "\n")


def digits(here, there):
    for number, name in enumerate(TAKES):
        sound(here / name.split("_")[1] / f"{name}.wav", number)
        sound(there / "recordings" / f"{name}.wav", number)
    for more in ("3_theo_0", "0_george_30"):  # a speaker and a take that the card leaves out
        sound(there / "recordings" / f"{more}.wav", 99)
    table(here, [f"{n.split('_')[1]}/{n}.wav,{n.split('_')[1]},{WORDS[int(n[0])]},train" for n in TAKES])


def utterances(here, there):
    """Two utterances of each of five speakers: of the test, of validation and of training."""
    of = {speaker: [name for name in CHOSEN if name.startswith(f"0{speaker}")][:2] for speaker in (*TESTERS, "0006")}
    of |= {"0001": [name for name in CHOSEN if name.startswith("00001")][:2]}
    chosen = [name for name in CHOSEN if any(name in names for names in of.values())]
    who = {name: speaker for speaker, names in of.items() for name in names}
    rows, kaldi = [], {name: [] for name in ("text", "utt2spk", "wav.scp")}
    for number, name in enumerate(chosen):
        text = f"SAYING NUMBER {'ABCDEFGHIJ'[number]}"
        sound(here / "train" / f"{name}.wav", number)
        sound(there / "WAVE" / f"SPEAKER{who[name]}" / f"{name}.WAV", number)
        rows.append(f"train/{name}.wav,{who[name]},{text},{'valid' if who[name] in TESTERS else 'train'}")
        kaldi["text"].append(f"{name}\t{text}")
        kaldi["utt2spk"].append(f"{name}\t{who[name]}")
        kaldi["wav.scp"].append(f"{name}\tWAVE/SPEAKER{who[name]}/{name}.WAV")
    table(here, rows)
    (there / "train").mkdir()
    (there / "train" / "spk2age").write_text("".join(f"{speaker}\t20\n" for speaker in of))
    for name, lines in kaldi.items():
        (there / "train" / name).write_text("\n".join(lines) + "\n")
    return chosen


def read(root, name):
    recorded = sources.read(CorpusConfig(sources=(name,), data_root=str(root)), progress=False)
    clips = [(clip.id, clip.text, clip.speaker, clip.split, clip.raw, w.tobytes()) for clip, w in recorded.waveforms()]
    return clips, recorded.examples


@pytest.mark.parametrize("name", ["fsdd", "speechocean762"])
def test_the_authors_folder_gives_the_same_corpus_as_the_table(tmp_path, monkeypatch, name):
    here, there = tmp_path / "here" / name, tmp_path / "there" / name
    if name == "fsdd":
        digits(here, there)
    else:
        chosen = utterances(here, there)
        card = sources.card(name)
        (tmp_path / "rows.txt").write_text("\n".join(chosen))
        card["layouts"]["speechocean762"]["rows"] = tmp_path / "rows.txt"
        monkeypatch.setattr(sources, "card", lambda name: card)
    clips, examples = read(tmp_path / "here", name)
    assert len(clips) >= 8 and {clip[3] for clip in clips} >= {"train", "test"}
    assert read(tmp_path / "there", name) == (clips, examples)


def test_the_card_chooses_the_rows_that_the_subset_has():
    assert len(CHOSEN) == len(set(CHOSEN)) == 2_365
    assert all(len(name) == 9 and name.isdigit() for name in CHOSEN)
