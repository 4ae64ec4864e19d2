"""speechocean762's folder as its authors publish it gives the rows that the manifest of a copy has, in its order."""

from tests.corpus.layouts.reading import entries, make, named, rows


def ocean(root):
    """Two training speakers and a test speaker, whose files are not in the order of their names."""
    people = {"train": {"0005": ("6", "m"), "0001": ("31", "f")}, "test": {"0003": ("8", "f")}}
    files = {"WAVE/.DS_Store": b"x", "README.md": "x"}
    for split, speakers in people.items():
        ids = [f"0{speaker}{number:04d}" for speaker in speakers for number in (11, 3)]
        files |= {f"WAVE/SPEAKER{i[1:5]}/{i}.WAV": b"RIFF" for i in ids}
        files |= {
            f"{split}/wav.scp": "".join(f"{i}\tWAVE/SPEAKER{i[1:5]}/{i}.WAV\n" for i in ids),
            f"{split}/text": "".join(f"{i}\tWE CALL IT {'BEAR' if i.endswith('3') else 'DEER'}\n" for i in ids),
            f"{split}/utt2spk": "".join(f"{i}\t{i[1:5]}\n" for i in ids),
            f"{split}/spk2age": "".join(f"{speaker}\t{age}\n" for speaker, (age, _) in speakers.items()),
            f"{split}/spk2gender": "".join(f"{speaker}\t{sex}\n" for speaker, (_, sex) in speakers.items()),
        }
    return make(root, files)


def test_rows_come_by_utterance_with_age_and_gender_training_first(tmp_path):
    found, problems = rows(ocean(tmp_path), "speechocean762")
    assert problems == []
    assert [(r.split, r.path.name, r.speaker, r.values["age"], r.values["gender"]) for r in found] == [
        ("train", "000010003.WAV", "0001", "31", "f"),
        ("train", "000010011.WAV", "0001", "31", "f"),
        ("train", "000050003.WAV", "0005", "6", "m"),
        ("train", "000050011.WAV", "0005", "6", "m"),
        ("test", "000030003.WAV", "0003", "8", "f"),
        ("test", "000030011.WAV", "0003", "8", "f"),
    ]
    assert [e.id for e in entries(tmp_path, "speechocean762")[0]][:2] == ["000010003", "000010011"]


def test_one_split_alone_is_read_and_a_recording_that_lacks_is_named(tmp_path):
    ocean(tmp_path)
    for path in (tmp_path / "test").iterdir():
        path.unlink()
    (tmp_path / "WAVE" / "SPEAKER0005" / "000050003.WAV").unlink()
    found, problems = rows(tmp_path, "speechocean762")
    assert len(found) == 3 and named(problems, "train/wav.scp:2", "000050003.WAV not found")
