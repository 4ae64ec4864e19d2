"""A folder has one layout: the special one, where a general one would do too; cards name layouts that there are."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from posttrain.config import assets
from posttrain.corpus.layouts.kinds import LAYOUTS, layout_of
from tests.corpus.layouts.reading import make


def parquet():
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["x"]}), file)
    return file.getvalue()


FOLDERS = {
    "table": {"manifest.csv": "path,text\na.wav,hello\n", "a.wav": "x", "metadata.csv": "file_name\na.wav\n"},
    "fsdd": {"recordings/0_theo_1.wav": "x", "metadata.py": "x"},
    "speechocean762": {"WAVE/SPEAKER0001/000010011.WAV": "x", "train/spk2age": "0001 6\n", "train/wav.scp": "x"},
    "librispeech": {"dev-clean/1/2/1-2.trans.txt": "1-2-0000 A\n", "dev-clean/1/2/1-2-0000.flac": "x"},
    "common_voice": {"en/train.tsv": "client_id\tpath\tsentence\n", "en/clips/a.mp3": "x"},
    "voicebank_demand": {"noisy_testset_wav/p1_1.wav": "x", "clean_testset_wav/p1_1.wav": "x"},
    "clarity_scenes": {"metadata/scenes.dev.json": "[]", "dev/scenes/S1_mix_CH1.wav": "x"},
    "kaldi": {"data/train/wav.scp": "a wav/a.wav\n", "wav/a.wav": "x"},
    "audiofolder": {"train/metadata.jsonl": "{}", "train/a.wav": "x"},
    "parquet": {"data/train-00000-of-00001.parquet": parquet(), "README.md": "x"},
    "lhotse": {"cuts_train.jsonl.gz": "x", "recordings.jsonl": '{"id": 1}', "wav/a.wav": "x"},
    "nemo": {"train_manifest.json": '{"audio_filepath": "wav/a.wav"}\n', "wav/a.wav": "x"},
    "rooms": {"hall/RIR_1.wav": "x"},
    "noise": {"kitchen/1.wav": "x"},
}


def test_every_layout_has_its_folder_here():
    assert FOLDERS.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_has_its_own_layout(tmp_path, name):
    assert layout_of(make(tmp_path, FOLDERS[name])) == name


@pytest.mark.parametrize("name", FOLDERS)
def test_a_reader_of_another_layout_finds_nothing_and_does_not_break(tmp_path, name):
    """Any reader may be named on a card; on the wrong folder it yields entries or problems, and raises nothing."""
    make(tmp_path, FOLDERS[name])
    for layout in LAYOUTS.values():
        problems = []
        list(layout.read(tmp_path, {}, problems))
        assert all(isinstance(problem, str) for problem in problems)


@pytest.mark.parametrize("name", [None, "a.txt"])
def test_a_folder_without_any_and_one_that_is_not_there_have_no_layout(tmp_path, name):
    root = make(tmp_path, {"a/a.txt": "x"}) if name else tmp_path / "none"
    assert layout_of(root) is None


def test_cards_name_layouts_that_there_are_and_say_which_rows_go_where():
    named = {name: yaml.safe_load(assets.path("data", name).read_text()) for name in assets.names("data")}
    cards = {name: card for name, card in named.items() if "layouts" in card}
    assert {"librispeech", "libritts", "common_voice", "speechocean762", "fsdd", "musan", "demand"} <= cards.keys()
    for name, card in cards.items():
        assert set(card["layouts"]) <= LAYOUTS.keys(), name
        assert card["kind"] == "rooms" or {"train", "test"} <= card["use"].keys(), name
