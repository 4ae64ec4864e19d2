"""Words correct: what is put in is found again, listeners left out have no part, aids that are new fall back."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import expit, logit

from posttrain.acoustics import audiogram
from posttrain.acoustics.audibility import unaided
from posttrain.errors import InputError
from posttrain.evals.hearing import words_correct
from posttrain.evals.hearing.responses import Response
from posttrain.evals.hearing.words_correct import Logistic, Penalties, Rows, WordsCorrect

NAMES = ("N1", "N2", "N3", "N4", "S1", "S2")
EASE = {"A": 1.0, "B": 0.0, "C": -1.0}


def made(listeners: int = 6, each: int = 60, noise: float = 0.05, seed: int = 0) -> Rows:
    """People who repeat words by the model itself, with a = 0.8, b = 2."""
    rng = np.random.default_rng(seed)
    n = listeners * each
    who = np.repeat(np.arange(listeners), each)
    haspi = rng.uniform(0.05, 0.95, n)
    audibility = np.array([unaided(audiogram.bisgaard(NAMES[i])) for i in range(listeners)])[who]
    system = rng.choice(list(EASE), n)
    scenes = rng.integers(0, 10, n)
    ease = np.array([EASE[name] for name in system]) + 0.1 * (scenes - 4.5)
    share = expit(-1 + 0.8 * logit(haspi) + 2 * audibility + ease) + noise * rng.standard_normal(n)
    names = np.array([f"L{i}" for i in who])
    return Rows(haspi, audibility, np.clip(share, 0, 1), names, system, np.array([f"S{i}" for i in scenes]))


def model(**changes) -> WordsCorrect:
    known = Logistic(-1.0, 0.5, 2.0, {"A": 0.5}, {"S1": 0.25})
    any_aid = Logistic(-0.5, 1.0, 1.0, {}, {"S1": 0.1})
    whole = WordsCorrect(known, any_aid, (-2.0, 5.0), Penalties(1e-4, 1e-4, 1e-4), ("L0",), 10)
    return dataclasses.replace(whole, **changes)


def one(system: str, scene: str, haspi: float = 0.5, audibility: float = 0.5) -> Rows:
    values = (haspi,), (audibility,), (0.5,), ("L9",), (system,), (scene,)
    return Rows(*(np.array(value) for value in values))


@pytest.mark.parametrize(
    ("system", "scene", "z"),
    [("A", "S1", -1 + 1 + 0.5 + 0.25), ("A", "S7", -1 + 1 + 0.5), ("B", "S1", -0.5 + 0.5 + 0.1), ("", "", 0.0)],
)
def test_a_share_by_hand_and_what_is_not_known_falls_back(system, scene, z):
    # HASPI 0.5 has logit 0; audibility is 0.5
    assert model().shares(one(system, scene))[0] == pytest.approx(1 / (1 + math.exp(-z)))
    assert model().plain_shares(one(system, scene))[0] == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_a_clip_of_our_own_is_judged_by_haspi_and_the_audiogram():
    n3 = audiogram.bisgaard("N3")
    assert model().predict(0.5, n3) == pytest.approx(expit(-0.5 + unaided(n3)))
    assert model().predict(0.0, n3) == model().predict(0.005, n3)  # clipped
    shipped = words_correct.load()
    assert shipped.predict(0.9, n3) > shipped.predict(0.5, n3) > shipped.predict(0.1, n3)
    assert shipped.predict(0.5, audiogram.bisgaard("N1")) > shipped.predict(0.5, audiogram.bisgaard("N5"))


def test_what_ships_rises_with_haspi_and_audibility_and_names_its_listeners():
    shipped = words_correct.load()
    for part in (shipped.known_aid, shipped.any_aid):
        assert part.haspi > 0 and part.audibility > 0
    assert shipped.known_aid.systems and not shipped.any_aid.systems
    assert len(shipped.listeners) >= 10 and shipped.rows >= 1000


def test_the_coefficients_that_made_the_answers_are_found():
    fitted = words_correct.fit(made(noise=0.0), Penalties(0.0, 1e-9, 1e-9)).known_aid
    assert (fitted.haspi, fitted.audibility) == pytest.approx((0.8, 2.0), abs=0.03)
    assert fitted.systems["A"] - fitted.systems["C"] == pytest.approx(2, abs=0.05)
    assert fitted.scenes["S9"] - fitted.scenes["S0"] == pytest.approx(0.9, abs=0.05)


def test_slopes_are_never_below_0():
    rows = made()
    upside_down = dataclasses.replace(rows, correct=1 - rows.correct)
    fitted = words_correct.fit(upside_down, Penalties(1e-4, 1e-4, None))
    assert fitted.known_aid.haspi == 0 and fitted.known_aid.audibility == 0 and fitted.haspi_only[1] == 0


def test_a_part_without_a_penalty_is_left_out_and_a_large_one_draws_to_0():
    without = words_correct.fit(made(), Penalties()).known_aid
    assert without.audibility == 0 and not without.systems and not without.scenes
    drawn = words_correct.fit(made(), Penalties(1e3, 1e3, 1e3)).known_aid
    assert max(abs(value) for value in drawn.systems.values()) < 1e-3 and drawn.audibility < 1e-3


def test_the_choice_keeps_what_helps_on_listeners_left_out():
    chosen = words_correct.choose(made(), words_correct.grid())
    assert chosen.system is not None and chosen.scene is not None
    chance = dataclasses.replace(made(), correct=np.random.default_rng(2).random(360))
    assert words_correct.choose(chance, [Penalties(), Penalties(None, None, 1e-9)]) == Penalties()


def test_a_listener_left_out_has_no_part_in_the_model_that_predicts_them(monkeypatch):
    rows = made(4, 20)
    seen = []
    fit = words_correct.fit

    def spy(part: Rows, penalties: Penalties) -> WordsCorrect:
        seen.append(set(part.listener.tolist()))
        return fit(part, penalties)

    monkeypatch.setattr(words_correct, "fit", spy)
    monkeypatch.setattr(words_correct, "choose", lambda part, options: Penalties(1e-4, 1e-4, 1e-4))
    found = words_correct.assess(rows)
    everyone = {"L0", "L1", "L2", "L3"}
    assert all(part < everyone and len(part) == 3 for part in seen)
    assert list(found) == [
        "haspi + audibility",
        "haspi + system + scene",
        "haspi + audibility + system + scene",
        "all, of an aid left out",
    ]
    whole = found["haspi + audibility + system + scene"]
    assert whole["n"] == 80 and whole["rmse"] < whole["rmse_haspi_only"] and whole["difference"]["ci95"][1] < 0


def test_penalties_are_chosen_without_the_listener_and_the_aid_that_they_predict(monkeypatch):
    rows, fit, chosen = made(4, 20), words_correct.fit, []

    def choice(part: Rows, options: list[Penalties]) -> Penalties:
        chosen.append({(who, aid) for who, aid in zip(part.listener, part.system, strict=True)})
        return Penalties(1e-4, None, 1e-4)

    def spy(part: Rows, penalties: Penalties) -> WordsCorrect:
        assert chosen[-1] == {(who, aid) for who, aid in zip(part.listener, part.system, strict=True)}
        return fit(part, penalties)

    monkeypatch.setattr(words_correct, "choose", choice)
    monkeypatch.setattr(words_correct, "fit", spy)
    words_correct.assess(rows)
    everyone, aids = set(rows.listener), set(rows.system)
    assert all(len({who for who, _ in part}) == len(everyone) - 1 for part in chosen)
    new_aid = [part for part in chosen if {aid for _, aid in part} != aids]
    assert len(new_aid) == len(everyone) * len(aids)


def test_figures_by_hand():
    rows = Rows(*(np.array(v) for v in ((0.5, 0.5), (0.5, 0.5), (0.3, 0.7), ("L1", "L2"), ("", ""), ("", ""))))
    flat = model(any_aid=Logistic(0.0, 1.0, 0.0, {}, {}), haspi_only=(50.0, 0.0))
    answers = [Response(i, f"L{i}", c, 0.5, "", "") for i, c in ((1, 0.3), (2, 0.7))]
    found = words_correct.validate(
        [*answers, Response(3, "L1", 0.1, None, "", "")],
        {name: audiogram.bisgaard("N3") for name in ("L1", "L2")},
        flat,
    )
    assert len(rows.haspi) == found["n"] == 2 and found["dropped"] == 1 and found["listeners"] == 2
    assert found["rmse"] == pytest.approx(20)  # 0.5 for 0.3 and for 0.7
    assert found["rmse_haspi_only"] == pytest.approx(100 * ((0.7**2 + 0.3**2) / 2) ** 0.5)
    assert found["difference"]["value"] == pytest.approx(found["rmse"] - found["rmse_haspi_only"])
    assert found["pearson"] is None  # predictions that do not vary
    assert found["also_fitted_on"] == []


def test_two_listeners_are_too_few_to_leave_one_out():
    with pytest.raises(InputError, match="2 listeners, expected 3 or more"):
        words_correct.assess(made(2, 10))


def test_coefficients_come_back_from_their_file_and_other_files_are_refused(tmp_path):
    path = tmp_path / "c.json"
    words_correct.save(model(), path)
    assert words_correct.load(path) == model()
    for text in ("", "{}", "[]", '{"known_aid": 3}'):
        path.write_text(text)
        with pytest.raises(InputError, match="holds no coefficients"):
            words_correct.load(path)
    with pytest.raises(InputError, match="posttrain hearing fit"):
        words_correct.load(tmp_path / "nowhere.json")
