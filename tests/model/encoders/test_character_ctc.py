"""Encoders with a CTC head over characters: features, words, places of words, and folders as they are on the hub."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoFeatureExtractor

from posttrain.acoustics.frontend import collate
from posttrain.model.encoders import loading as encoders
from posttrain.model.encoders.contract import state_hash
from posttrain.model.folder import check_folder
from tests import tiny_encoders

UNITS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]


def path(spelled: str) -> torch.Tensor:
    """CTC units of a path; `_` is the blank."""
    return torch.tensor([UNITS.index({"_": "<pad>"}.get(letter, letter)) for letter in spelled])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return encoders.load(tiny_encoders.ctc(tmp_path_factory.mktemp("ctc"), "wav2vec2"))


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert"])
def test_features_are_those_of_the_models_own_extractor(kind, tmp_path):
    encoder = encoders.load(tiny_encoders.ctc(tmp_path, kind))
    generator = torch.Generator().manual_seed(0)
    waveforms = [0.3 + 0.1 * torch.randn(n, generator=generator) for n in (16_000, 23_456)]
    features, mask = encoder.features(*collate(waveforms))
    for waveform, ours, kept in zip(waveforms, features, mask, strict=True):
        theirs = AutoFeatureExtractor.from_pretrained(tmp_path)(
            waveform.numpy(), sampling_rate=16_000, return_tensors="pt"
        )
        expected = torch.atleast_3d(next(iter(theirs.values())))[0]
        expected = expected.T if kind == "wav2vec2" and expected.shape[0] == 1 else expected
        # measured 5e-7 and, of filter banks in float32, 3e-4; without normalisation it is 1 and more
        assert (ours[kept] - expected[: kept.sum()]).abs().max() < (1e-5 if kind == "wav2vec2" else 2e-3)
    assert not features[~mask].any()


def test_words_are_lower_case_and_a_repeated_letter_needs_a_blank(encoder):
    assert encoder.words(path("__TT_E_LLL_L_|ME||W_HH_E_N__")) == "tell me when"
    assert encoder.words(path("I_T'S_")) == "it's"
    assert encoder.words(path("____")) == encoder.words(torch.tensor([], dtype=torch.long)) == ""
    special = torch.tensor([1, 3, *path("HI").tolist(), 2])
    assert encoder.words(special) == "hi"


def test_words_are_found_between_delimiters(encoder, monkeypatch):
    heard = path("__AA_B|_CC_C||A__")
    head = torch.nn.Linear(len(UNITS), len(UNITS), bias=False)
    head.weight.data = 20 * torch.eye(len(UNITS))
    monkeypatch.setattr(encoder.model, "lm_head", head)
    frames = torch.eye(len(UNITS))[heard]
    spans = encoder.aligner(frames, "ab cc a")
    assert spans is not None and [a[1] for a in spans[:-1]] == [b[0] for b in spans[1:]]
    letters = ["".join(UNITS[u] for u in heard[first:end] if u > 4) for first, end in spans]
    assert letters == ["AAB", "CCC", "A"]
    assert encoder.aligner(frames[:5], "ab cc a") is None
    assert encoder.aligner(frames, "ab 12") is None  # no letter of the vocabulary


def test_a_folder_with_the_former_names_of_normalised_weights_and_no_mask_is_whole(tmp_path):
    folder = tiny_encoders.ctc(tmp_path, "wav2vec2")
    expected = state_hash(encoders.load(folder).model)
    former = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for new, old in former.items():
            name = name.replace(new, old)
        if not name.endswith("masked_spec_embed"):
            weights[name] = tensor
    assert sum(name.endswith(("weight_g", "weight_v")) for name in weights) == 2
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    check_folder(folder, "encoder")
    assert state_hash(encoders.load(folder).model) == state_hash(encoders.load(folder).model) == expected
