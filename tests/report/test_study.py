"""A study's arms, its panel and its page: from made ledgers whose answer is known."""

import json
import xml.etree.ElementTree as ET

import pytest
from made_study import arm, read, row, start

from posttrain import ledger
from posttrain.__main__ import run
from posttrain.errors import InputError
from posttrain.report import study_page
from posttrain.report.claims import DISAGREES, NOT_RUN, NOT_SHOWN, REPRODUCED, claims
from posttrain.report.study import arms, changed, command, front, recommended

CURVE = [(100, 0.6, 0.01), (200, 0.4, 0.02), (400, 0.2, 0.03)]
"""KL falls on 0.04 − 0.05 · loss."""


def verdicts(made):
    return {claim.said: claim.verdict for claim in claims(made)}


def verdict(made, words):
    [found] = [claim for claim in claims(made) if words in claim.said]
    return found


def test_seeds_of_one_arm_are_one_line_and_gain_counts_from_where_they_started(tmp_path):
    lora, kl = read(tmp_path, arm("lora", gain=0.5), arm("kl", gain=0.45, kl_weight=1.0))
    assert (lora.name, list(lora.rows)) == ("lora", [0, 1, 2])
    found = lora.mean("gain")
    assert found.value == pytest.approx(0.5) and found.n == 3
    assert found.ci95[1] - found.value == pytest.approx(4.3027 * 0.005 / 3**0.5, abs=1e-5)
    assert lora.items_half("gain") == pytest.approx((2 * 0.02**2) ** 0.5 / 2)
    assert lora.tuned == 800 and changed(kl, lora) == {"kl_weight": 1.0}


def test_arms_are_paired_by_seed(tmp_path):
    """Each seed moves both arms alike: the difference is exact, though each arm alone is not."""
    lora, kl = read(tmp_path, arm("lora", forgot=0.1), arm("kl", forgot=0.09, kl_weight=1.0))
    apart = kl.against(lora, "forgetting/mean")
    assert apart.value == pytest.approx(-0.01) and apart.ci95 == pytest.approx((-0.01, -0.01))


def test_the_front_is_what_nothing_beats_in_both(tmp_path):
    made = read(
        tmp_path,
        arm("lora", gain=0.5, forgot=0.1),
        arm("worse", gain=0.4, forgot=0.2, rank=2),
        arm("careful", gain=0.3, forgot=0.02, kl_weight=1.0),
        arm("equal", gain=0.3, forgot=0.03, kl_weight=2.0),
    )
    assert [a.name for a in front(made)] == ["careful", "lora"]


def test_recommended_is_what_forgets_least_at_as_good_a_target_and_as_safe(tmp_path):
    made = read(
        tmp_path,
        arm("lora", gain=0.5, forgot=0.1),
        arm("too_careful", gain=0.4, forgot=0.0, kl_weight=9.0),
        arm("unsafe", gain=0.5, forgot=0.0, harmful=0.5, kl_weight=2.0),
        arm("replay", gain=0.495, forgot=0.03, replay_share=0.05),
        arm("little", gain=0.5, forgot=0.06, replay_share=0.01),
    )
    assert recommended(made).name == "replay"
    assert command(recommended(made), made[0]) == 'make sft FROM=runs/tiny RUN=tiny_replay SET="sft.replay_share=0.05"'
    said, how = study_page.advice(made)
    assert "Try replay: it surely forgets less than lora (−7.0 points" in said and how.startswith("make sft")


def test_where_nothing_is_better_that_is_said(tmp_path):
    made = read(tmp_path, arm("lora", forgot=0.01), arm("full", forgot=0.2, adapter="full"))
    assert recommended(made).name == "lora" and "stay with it" in study_page.advice(made)[0]


def test_full_is_compared_at_the_loss_that_both_reach(tmp_path):
    """At 0.4, the lowest of full, LoRA has 0.02 and full 0.05."""
    full = arm("full", curve=[(100, 0.5, 0.04), (200, 0.4, 0.05)], tuned=9000, adapter="full", learning_rate=5e-4)
    claim = verdict(read(tmp_path, arm("lora", curve=CURVE), full), "full fine-tuning")
    assert claim.verdict == REPRODUCED
    assert "loss of 0.400" in claim.figures and "0.0200 with lora and 0.0500 with full: +0.0300" in claim.figures


@pytest.mark.parametrize(("kl", "expected"), [(0.005, DISAGREES), (0.02, NOT_SHOWN)])
def test_where_full_forgets_less_or_as_much_the_panel_says_so(tmp_path, kl, expected):
    full = arm("full", curve=[(100, 0.4, kl)], adapter="full")
    assert verdict(read(tmp_path, arm("lora", curve=CURVE), full), "full fine-tuning").verdict == expected


@pytest.mark.parametrize(
    ("gain", "kl", "expected"),
    [(0.6, 0.03, REPRODUCED), (0.4, 0.03, DISAGREES), (0.6, 0.01, DISAGREES), (0.5, 0.03, NOT_SHOWN)],
)
def test_a_higher_rank_gains_and_forgets_more(tmp_path, gain, kl, expected):
    high = arm("lora_r32", gain=gain, kl=kl, tuned=3200, rank=32)
    assert verdict(read(tmp_path, arm("lora", gain=0.5, kl=0.02), high), "rank").verdict == expected


@pytest.mark.parametrize(("forgot", "expected"), [(0.01, REPRODUCED), (0.05, NOT_SHOWN), (0.2, DISAGREES)])
def test_one_percent_of_replay_holds_abilities_or_does_not(tmp_path, forgot, expected):
    made = read(tmp_path, arm("lora", forgot=0.1), arm("replay_1", forgot=forgot, replay_share=0.01))
    assert verdict(made, "replay").verdict == expected


def test_safety_rows_restore_refusals_and_more_of_them_refuse_too_much(tmp_path):
    some, more = arm("s3", harmful=0.05, refused=0.2, safety_share=0.03), arm("s10", refused=0.4, safety_share=0.1)
    made = read(tmp_path, arm("lora", harmful=0.3), some, more)
    assert verdict(made, "restore refusals").verdict == verdict(made, "over-refusal").verdict == REPRODUCED
    assert "answered 5.0 % of the harmful requests with s3 and 30.0 % with lora: −25.0 points" in (
        verdict(made, "restore").figures
    )


def test_a_curve_on_a_line_is_one_and_noise_is_not(tmp_path):
    other = arm("lora_r2", curve=CURVE, tuned=200, rank=2)
    made = read(tmp_path / "a", arm("lora", curve=CURVE), other)
    claim = verdict(made, "line")
    assert claim.verdict == REPRODUCED and "KL = 0.0400 −0.0500 · loss, R² = 1.000, n = 18 looks" in claim.figures
    bent = [(100, 0.6, 0.01), (200, 0.4, 0.04), (400, 0.2, 0.01)]
    made = read(tmp_path / "b", arm("lora", curve=bent), arm("lora_r2", curve=bent, tuned=200, rank=2))
    assert verdict(made, "line").verdict == NOT_SHOWN


def test_ranks_that_have_each_a_line_of_their_own_share_none(tmp_path):
    steep = [(step, loss, 5 * kl) for step, loss, kl in CURVE]
    made = read(tmp_path, arm("lora", curve=CURVE), arm("lora_r32", curve=steep, tuned=3200, rank=32))
    claim = verdict(made, "line")
    assert claim.verdict == NOT_SHOWN
    assert claim.figures.endswith("each rank by itself: lora R² = 1.000, lora_r32 R² = 1.000")


def test_a_power_law_in_steps_and_parameters_is_found_again(tmp_path):
    def curve(tuned):
        return [(s, 1.0 / s, 1e-4 * s**0.5 * tuned**0.25) for s in (100, 200, 400)]

    made = read(tmp_path, arm("lora", curve=curve(800)), arm("lora_r2", curve=curve(200), tuned=200, rank=2))
    claim = verdict(made, "power law")
    assert claim.verdict == REPRODUCED
    assert "KL = 0.0001 · steps^0.50 · parameters^0.25, R² of log KL = 1.000, n = 18 looks at 6 trainings" in (
        claim.figures
    )


def test_what_was_not_run_says_so_and_what_it_needs(tmp_path):
    made = read(tmp_path, arm("lora"), arm("kl", kl_weight=1.0))
    assert set(verdicts(made).values()) == {NOT_RUN} and len(verdicts(made)) == 7
    assert "replay of 1 %" in verdict(made, "replay").figures


def test_an_arm_made_from_another_counts_from_the_same_start(tmp_path):
    half = arm("lora_half", gain=0.3, tuned=0, keep_change=0.5, steps=0)
    for one in half:
        one["parents"] = {"model": f"runs/study/{one['stage'].replace('_half', '')}"}
    made = read(tmp_path, arm("lora"), half)
    assert made[1].start.stage == "distill" and made[1].mean("gain").value == pytest.approx(0.3)
    assert changed(made[1], made[0]) == {"keep_change": 0.5}


def test_a_ledger_without_arms_is_refused(tmp_path):
    for one in (start(), row("sft", "sft", {"task/intent": 0.3})):
        ledger.append(tmp_path / "ledger.jsonl", one)
    with pytest.raises(InputError, match="1 sft stages"):
        arms(ledger.read(tmp_path / "ledger.jsonl"))


def test_the_page_shows_panel_front_and_every_arm(tmp_path, capsys):
    folder = tmp_path / "study"
    full = arm("full", curve=[(100, 0.4, 0.05)], adapter="full")
    made = read(folder, arm("lora", curve=CURVE), full, arm("replay_1", forgot=0.01, replay_share=0.01))
    assert run(["study", str(folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["recommended"] == "replay_1" and list(printed["arms"]) == ["lora", "full", "replay_1"]
    assert printed["arms"]["replay_1"]["figures"]["forgetting/mean"]["against_first"]["n"] == 3
    page, text = ((folder / f"study.{kind}").read_text() for kind in ("html", "md"))
    for said in ("✓ reproduced", "– not run", "replay_share 0.01", "sft.replay_share=0.01"):
        assert said in page
    assert "| ✓ | 1 % replay holds abilities |" in text and "| replay_1 |" in text
    svg = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    circles = [float(c.get("cx")) for c in svg.iter("circle")]
    assert len(circles) == 3 and circles[0] == circles[1] > circles[2]
    assert run(["study", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(claims(made)) + 3 and lines[-1].endswith("study.html")


def test_a_study_of_a_run_that_is_not_one_is_refused(tmp_path, capsys):
    assert run(["study", str(tmp_path / "nowhere")]) == 2
    assert "expected two or more" in capsys.readouterr().err
