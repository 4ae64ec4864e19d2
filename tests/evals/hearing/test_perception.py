"""Scores of clips: pyclarity's own, the same every time, kept by content, shared over processes."""

import dataclasses

import numpy as np
import pytest

from posttrain.acoustics import audiogram
from posttrain.errors import InputError
from posttrain.evals.hearing import perception
from posttrain.evals.hearing.perception import EAR_HZ, Task

RATE = 16_000
TIME = np.arange(RATE) / RATE
SPEECH = (np.sin(2 * np.pi * 300 * TIME) * (np.sin(9 * TIME) > 0)).astype(np.float32)
NOISE = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
N3 = tuple(float(level) for level in audiogram.bisgaard("N3").at(EAR_HZ, "left"))


def task(measure: str = "si_sdr", noise: float = 0.1, thresholds: tuple[float, ...] = N3) -> Task:
    return Task(measure, SPEECH + np.float32(noise) * NOISE, SPEECH, thresholds)


@pytest.mark.parametrize("name", ["haspi", "hasqi"])
def test_a_score_is_pyclaritys_own_and_the_same_every_time(name):
    clarity = pytest.importorskip("clarity", reason="pip install 'posttrain[hearing]'")
    assert clarity
    from clarity.evaluator.haspi.haspi import haspi_v2
    from clarity.evaluator.hasqi.hasqi import hasqi_v2
    from clarity.utils.audiogram import Audiogram

    theirs = {"haspi": haspi_v2, "hasqi": hasqi_v2}[name]
    asked = task(name)
    ear = Audiogram(levels=np.array(N3), frequencies=np.array(EAR_HZ))
    np.random.seed(perception.SEED)
    expected = theirs(asked.reference, RATE, asked.processed, RATE, ear, level1=65.0)[0]
    found = perception.MEASURES[name][1](asked)
    assert 0 < found == pytest.approx(float(expected), abs=1e-12)
    np.random.seed(5)
    assert perception.MEASURES[name][1](asked) == found


def test_pesq_is_near_its_end_at_equality_and_has_no_figure_for_less_than_it_takes(tmp_path):
    pytest.importorskip("pesq", reason="pip install 'posttrain[hearing]'")
    words = np.concatenate([SPEECH, SPEECH])
    assert perception.pesq(Task("pesq", words, words, ())) > 4.5
    short = words[:2_000]
    assert perception.score([Task("pesq", short, short, ())], tmp_path / "s.jsonl", jobs=1) == [None]


def test_scores_are_kept_by_content(tmp_path, monkeypatch):
    asked, calls = [], tmp_path / "runs" / "scores.jsonl"

    def counted(each: Task) -> float:
        asked.append(each)
        return float(np.abs(each.processed).max())

    monkeypatch.setitem(perception.MEASURES, "si_sdr", ("numpy", counted))
    tasks = [task(), task(noise=0.2), task()]
    first = perception.score(tasks, calls, jobs=1)
    assert first[0] == first[2] != first[1] and len(asked) == 2
    assert perception.score(tasks, calls, jobs=1) == first and len(asked) == 2
    perception.score([task(thresholds=(0.0,) * 6), task("stoi")], calls, jobs=1)
    assert len(asked) == 3
    with calls.open("a") as file:
        file.write('["cut o')
    assert perception.score(tasks, calls, jobs=1) == first and len(asked) == 3


def test_what_the_score_hangs_on_is_in_the_key():
    keys = {
        each.key
        for each in (
            task(),
            task("stoi"),
            task(noise=0.2),
            task(thresholds=()),
            dataclasses.replace(task(), reference=NOISE),
        )
    }
    assert len(keys) == 5 and task().key in keys


def test_a_clip_that_cannot_be_measured_is_none_and_stops_nothing(tmp_path):
    silent = dataclasses.replace(task(), reference=np.zeros_like(SPEECH))
    broken = dataclasses.replace(task(), processed=np.full_like(SPEECH, np.nan))
    assert perception.score([silent, broken, task()], tmp_path / "s.jsonl", jobs=1)[:2] == [None, None]
    assert perception.score([task()], tmp_path / "s.jsonl", jobs=1) != [None]


def test_processes_give_what_one_gives(tmp_path):
    tasks = [task(noise=noise) for noise in (0.1, 0.2, 0.3)]
    one, two = (perception.score(tasks, tmp_path / f"{jobs}.jsonl", jobs) for jobs in (1, 2))
    assert one == two and len(set(one)) == 3


def test_a_missing_extra_is_named_and_pesq_alone_is_left_out(monkeypatch):
    find = perception.importlib.util.find_spec
    monkeypatch.setattr(perception.importlib.util, "find_spec", lambda name: None if name == "pesq" else find(name))
    assert perception.available() == ["haspi", "hasqi", "si_sdr", "stoi"]
    monkeypatch.setattr(perception.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'posttrain\[hearing\]'"):
        perception.available()
