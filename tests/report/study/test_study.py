"""A study's arms, its panel and its page: from made ledgers whose answer is known."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from made_study import arm, in_memory, measured, read, row, scores, start

from posttrain.__main__ import run
from posttrain.errors import InputError
from posttrain.report.claims import DISAGREES, NOT_RUN, NOT_SHOWN, REPRODUCED, UNDECIDABLE, claims
from posttrain.report.study import study_page
from posttrain.report.study.study import arms, changed, choice, command, figures, front
from posttrain.run import ledger

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
    assert choice(made).arm.name == "replay"
    assert command(choice(made).arm, made[0]) == 'make sft FROM=runs/tiny RUN=tiny_replay SET="sft.replay_share=0.05"'
    said, how = study_page.advice(made)
    assert "Try replay. It was chosen on validation items, where it surely forgets less than lora (−7.0" in said
    assert "it surely forgets less: −7.0 [" in said and "one comparison" in said and how.startswith("make sft")


def test_the_choice_does_not_look_at_the_test(tmp_path):
    """`lucky` forgets least on the test, `kl` on validation; what is said of `kl` is the test's."""
    made = read(
        tmp_path,
        arm("lora", forgot=0.1),
        arm("lucky", forgot=0.0, valid_forgot=0.1, replay_share=0.05),
        arm("kl", forgot=0.09, valid_forgot=0.02, kl_weight=1.0),
        arm("weak", forgot=0.0, valid_forgot=0.0, valid_gain=0.3, rank=1),
    )
    assert choice(made).arm.name == "kl"
    said, _ = study_page.advice(made)
    assert "(−8.0" in said and "it perhaps forgets less: −1.0 [" in said
    again = read(tmp_path / "b", arm("lora", valid_forgot=0.1), arm("kl", forgot=0.0, valid_forgot=0.1, kl_weight=1.0))
    assert choice(again).arm.name == "lora", "an arm that validation calls equal is not recommended"


def test_of_equal_arms_the_first_stays_in_all_but_a_few_studies():
    """Through rows as a ledger has them: 470 validation items in contents, each lost by chance, in 21 trainings."""
    rng, chosen = np.random.default_rng(1), 0
    for _ in range(60):
        made = []
        for n in range(7):
            rows = arm(f"arm{n}", rank=n + 1)
            arms_items = rng.random((2, 235)) < 0.05  # an arm's seeds lose some of the same items
            for one in rows:
                right = ~(arms_items | (rng.random((2, 235)) < 0.05 * rng.lognormal(0, 0.3)))
                found = one["train_metrics"]["validation"]
                for probe, grades in zip(found["scores"], right, strict=True):
                    found["scores"][probe] = {"right": grades.astype(int).tolist(), "of": [1] * 235}
                found["metrics"]["forgetting/mean"]["value"] = float(1 - right.mean())
                found["zero"] = scores(0, 235)
            made.append(rows)
        chosen += choice(in_memory(*made)).arm.name != "arm0"
    assert chosen <= 5, "2.5 % of 60 is 1.5; five is just under three standard deviations above"


def test_a_study_without_validation_answers_says_so_and_chooses_nothing(tmp_path, capsys):
    rows = [arm("lora"), arm("kl", forgot=0.0, kl_weight=1.0)]
    del rows[1][2]["train_metrics"]["validation"]
    read(tmp_path / "old", *rows)
    assert run(["study", str(tmp_path / "old")]) == 0
    said = capsys.readouterr().out
    assert "No arm is chosen: kl@2 answered no validation items; make the study again" in said and "Try" not in said
    assert json.loads((tmp_path / "old" / "study.json").read_text())["choice"]["arm"] is None
    single = in_memory(*(one[:1] for one in (arm("lora"), arm("kl", forgot=0.0, kl_weight=1.0))))
    assert "fewer than two seeds" in study_page.advice(single)[0] and choice(single).arm.name == "lora"


def test_where_nothing_is_better_that_is_said(tmp_path):
    made = read(tmp_path, arm("lora", forgot=0.01), arm("full", forgot=0.2, adapter="full"))
    assert choice(made).arm.name == "lora"
    [said] = study_page.advice(made)
    assert said.startswith("Stay with lora") and "The nearest is full: +19.0" in said


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
    assert claim.verdict == REPRODUCED
    assert "KL = 0.0400 −0.0500 · loss, R² = 1.000, of a rank left out R² = 1.000 (" in claim.figures
    bent = [(100, 0.6, 0.01), (200, 0.4, 0.04), (400, 0.2, 0.01)]
    made = read(tmp_path / "b", arm("lora", curve=bent), arm("lora_r2", curve=bent, tuned=200, rank=2))
    assert verdict(made, "line").verdict == NOT_SHOWN


def test_ranks_that_have_each_a_line_of_their_own_share_none(tmp_path):
    steep = [(step, loss, 5 * kl) for step, loss, kl in CURVE]
    made = read(tmp_path, arm("lora", curve=CURVE), arm("lora_r32", curve=steep, tuned=3200, rank=32))
    claim = verdict(made, "line")
    assert claim.verdict == NOT_SHOWN
    assert claim.figures.endswith("each rank by itself: lora R² = 1.000, lora_r32 R² = 1.000")


def law(kl):
    """An arm's curve whose KL is a function of steps."""
    return [(step, 1.0 / step, kl(step)) for step in (100, 200, 400)]


def ranks(kl, sizes=(200, 800, 3200)):
    """Arms of several ranks; kl: of steps and size."""
    arms = [arm(f"r{n}", curve=law(lambda step, n=n: kl(step, n)), tuned=n, rank=n // 100) for n in sizes]
    return verdict(in_memory(arm("lora", tuned=0), *arms), "power law")


def test_a_power_law_in_steps_and_parameters_is_found_again():
    claim = ranks(lambda step, size: 1e-4 * step**0.5 * size**0.25)
    assert claim.verdict == REPRODUCED
    assert "KL = 0.0001 · steps^0.50 · parameters^0.25, R² of log KL = 1.000, of a rank left out R² = 1.000" in (
        claim.figures
    )


@pytest.mark.parametrize("exponent", [0.25, -0.4, 2.0])
def test_two_sizes_lie_on_every_power_law_and_so_nothing_is_said(exponent):
    claim = ranks(lambda step, size: 1e-6 * step**0.5 * size**exponent, sizes=(200, 800))
    assert claim.verdict == UNDECIDABLE and "two sizes" in claim.figures and "200, 800" in claim.figures


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (lambda step, size: 1e-4 * step**0.5, NOT_SHOWN),
        (lambda step, size: 1e-4 * step**0.5 * {200: 1, 800: 4, 3200: 1.5}[size], NOT_SHOWN),
        (lambda step, size: 1e-4 * step**0.5 * (1 + 9 * (size == 3200)), NOT_SHOWN),
        (lambda step, size: 1e-2 * step**0.5 * size**-0.3, DISAGREES),
    ],
)
def test_three_sizes_that_are_on_no_rising_law_do_not_reproduce_it(kl, expected):
    """The fitted R² of the second and third is high; only ranks left out show that size follows no power law."""
    assert ranks(kl).verdict == expected


def test_sizes_at_random_seldom_pass_for_a_power_law():
    rng, passed = np.random.default_rng(0), 0
    for _ in range(60):
        of_size = dict(zip((200, 800, 3200), np.exp(rng.normal(0, 1, 3)), strict=True))
        passed += ranks(lambda step, size, f=of_size: 1e-3 * step**0.5 * f[size]).verdict == REPRODUCED
    assert passed <= 12, "a claim has to be able to fail"


def test_one_rank_cannot_show_a_line_for_all_ranks(tmp_path):
    claim = verdict(read(tmp_path, arm("lora", curve=CURVE), arm("kl", kl_weight=1.0)), "line")
    assert claim.verdict == UNDECIDABLE


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
        ledger.put(tmp_path / "ledger.jsonl", one)
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
    assert "nowhere has no ledger.jsonl with rows" in capsys.readouterr().err


def test_a_curve_that_is_bent_alike_for_every_rank_is_not_a_line(tmp_path):
    bent = [(100 * n, loss, (1 - loss) ** 2) for n, loss in enumerate((0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3), 1)]
    made = read(tmp_path, arm("lora", curve=bent), arm("lora_r2", curve=bent[:-1], tuned=200, rank=2))
    claim = verdict(made, "line")
    assert claim.verdict == NOT_SHOWN and "R² = 1.000 by a parabola" in claim.figures


def test_benchmarks_of_a_real_base_have_columns_of_their_own_and_its_recipe_is_in_the_command():
    plain, arms_of = in_memory(arm("lora"), arm("kl", kl_weight=1.0)), []
    for name, options in (("lora", {}), ("kl", {"kl_weight": 1.0})):
        rows = arm(name, **options)
        for each in rows:
            each["metrics"] |= measured({"benchmark/blimp": 0.75, "language/perplexity/wikitext": 30.0})
        arms_of.append(rows)
    real = in_memory(*arms_of)
    assert set(figures(real)) - set(figures(plain)) == {"benchmark/blimp", "language/perplexity/wikitext"}
    head, first, _ = study_page.figure_table(real)
    assert first[head.index("BLiMP: grammatical sentence preferred, typed")].startswith("75")
    assert "BLiMP: grammatical sentence preferred, typed" not in study_page.figure_table(plain)[0]
    from_hub = dataclasses.replace(real[0].start, base="a/model", config={"recipe": "smol", "stage": "distill"})
    of_real, of_tiny = (command(dataclasses.replace(real[1], start=s), real[0]) for s in (from_hub, real[0].start))
    assert of_real.startswith("make sft RECIPE=smol DATA_ROOT=… FROM=") and of_tiny.startswith("make sft FROM=")


def test_arms_on_a_loaded_base_are_chosen_by_what_they_forgot_of_benchmarks():
    def of_benchmarks(rows):
        for each in rows:
            for metrics in (each["metrics"], each["train_metrics"]["validation"]["metrics"]):
                metrics["forgetting/benchmarks"] = metrics.pop("forgetting/mean")
        return rows

    taught = arm("lora", forgot=0.2), arm("kl", forgot=0.05, kl_weight=1.0)
    loaded = [of_benchmarks(arm("lora", forgot=0.2)), of_benchmarks(arm("kl", forgot=0.05, kl_weight=1.0))]
    by_abilities, by_benchmarks = choice(in_memory(*taught)), choice(in_memory(*loaded))
    assert by_benchmarks.arm.name == by_abilities.arm.name == "kl"
    assert by_benchmarks.difference == by_abilities.difference
    shown = figures(in_memory(*loaded))
    assert "forgetting/benchmarks" in shown and "forgetting/mean" not in shown
    assert "surely forgets less than lora" in study_page.advice(in_memory(*loaded))[0]
