"""The weights that `make weights` brings, where they are there: what they say, and that another runtime says so too."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from posttrain.corpus.speech import Espeak, voices
from posttrain.model.speech_llama import load_llama
from posttrain.model.weights import cards, fetch
from tests.model.weights import made_container

ROOT = Path(__file__).parents[3] / "runs" / "weights"
SENTENCES = ("please turn the television down", "the train leaves at half past seven", "can you hear the birds singing")


def folder(name: str) -> Path:
    if not (ROOT / name).is_dir():
        pytest.skip(f"runs/weights/{name} is not there; make weights brings it")
    assert fetch.status(cards.read(name), ROOT).state == "there"
    return ROOT / name


def test_smollm2_answers_a_typed_question_and_stops():
    llama, tokenizer = load_llama(folder("smollm2-135m-instruct"))
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        ids = llama.generate(prompt, max_new_tokens=20, do_sample=False)[0, prompt.shape[1] :]
    assert tokenizer.decode(ids) == "The capital of France is Paris.<|im_end|>"


def test_whispers_greedy_transcripts_are_those_of_the_ctranslate2_runtime(tmp_path):
    source = folder("whisper-tiny.en")
    ctranslate2 = pytest.importorskip("ctranslate2", reason="the package ctranslate2 is not installed")
    processor = WhisperProcessor.from_pretrained(source)
    model = WhisperForConditionalGeneration.from_pretrained(source).eval()
    espeak, voice = Espeak(), voices("test")[0]
    clips = [espeak.say(text, voice, 130, 50, 50) for text in SENTENCES]
    features = processor(clips, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        ids = model.generate(features, do_sample=False, num_beams=1)
    ours = [[i for i in row if i < model.generation_config.eos_token_id] for row in ids.tolist()]
    made_container.write(tmp_path / "model.bin", made_container.arrays_of(model))
    generation = model.generation_config
    settings = {"suppress_ids": generation.suppress_tokens, "suppress_ids_begin": generation.begin_suppress_tokens}
    settings |= {"lang_ids": [], "alignment_heads": generation.alignment_heads}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    tokens = processor.tokenizer.convert_ids_to_tokens(list(range(model.config.vocab_size)))
    (tmp_path / "vocabulary.txt").write_text("".join(f"{token}\n" for token in tokens))
    theirs = ctranslate2.models.Whisper(str(tmp_path), compute_type="float32", intra_threads=1).generate(
        ctranslate2.StorageView.from_array(np.ascontiguousarray(features.numpy())),
        [[generation.decoder_start_token_id, generation.no_timestamps_token_id]] * len(clips),
        beam_size=1,
    )
    assert [result.sequences_ids[0] for result in theirs] == ours and all(ours)
