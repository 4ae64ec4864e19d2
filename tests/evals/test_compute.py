import math

import pytest

from posttrain.corpus.instructions import ABSTENTION, REFUSAL
from posttrain.evals.compute import compute
from posttrain.evals.metrics import of
from posttrain.report import words


def item(probe, i=0, output="x", score=1.0, **more):
    spoken = "ability/" not in probe and not probe.endswith("/text")
    line = {
        "id": f"{probe}/{i}", "probe": probe, "instruction": "answer", "text": f"{probe.partition('/')[2]} {i}",
        "clip": f"c{i}" if spoken else None, "speaker": f"s{i % 4 if isinstance(i, int) else i}" if spoken else None,
        "answer": "x", "output": output, "score": score,
    }  # fmt: skip
    return line | more


def heard(probe, i, errors, words=10, ctc=3, **more):
    counts = {"errors": errors, "words": words, "char_errors": 2 * errors, "chars": 5 * words, "encoder_errors": ctc}
    counts |= {"critical_errors": int(errors > 1), "critical_words": 2}
    return item(probe, i, score=1 - errors / words, **counts, **more)


def abilities(right, probe="ability/sum_easy"):
    return [item(probe, i, score=float(r)) for i, r in enumerate(right)]


def test_metrics_without_items_are_absent():
    assert compute([]) == {}
    assert set(compute(abilities([1, 0]))) == {"ability/sum_easy"}


def test_every_metric_of_the_contract_comes_from_its_items():
    answers = []
    for i in range(6):
        answers += [heard(f"wer/{c}", i, i % 2) for c in ("clean", "snr10", "snr5", "snr0")]
        answers += [heard(f"wer_real/{d}", i, 1) for d in ("speechocean762", "speechocean762_digits", "fsdd")]
        answers += [item(f"task/{t}", i) for t in ("intent", "spoken_qa", "simple_caption")]
        answers += [item("hearing/noise", i, ABSTENTION if i else "hello")]
        for f in ("sum", "fact", "copy", "order"):
            for level in ("easy", "hard"):
                answers += [item(f"ability/{f}_{level}", i), item(f"ability_spoken/{f}_{level}", i)]
        for kind in ("harmful", "harmless"):
            answers += [item(f"safety/{kind}/{form}", i) for form in ("text", "speech")]
        answers += [item("dpo/help", i), {"id": f"p{i}", "probe": "reward/pairs", "score": 1.0}]
        answers += [
            {"id": f"l{i}", "probe": "language/perplexity", "nll": 2.0, "tokens": 4, "kl_base": 0.1, "ce_base": 2.0}
        ]
        answers += [{"id": f"t{i}", "probe": "distill/kl_teacher", "kl": 0.5, "tokens": 5}]
        answers += [{"id": f"f{i}", "probe": "forgetting/kl_task", "kl": 0.5, "tokens": 5}]
    found = compute(answers, answers, answers, bootstrap=50)
    conditions, sets = ("clean", "snr10", "snr5", "snr0"), ("speechocean762", "speechocean762_digits", "fsdd")
    families = [f"{f}_{level}" for f in ("sum", "fact", "copy", "order") for level in ("easy", "hard")]
    want = {f"{m}/{c}" for m in ("wer", "encoder_wer") for c in conditions} | {"cer/clean", "critical_wer/snr5"}
    want |= {f"{m}_real/{d}" for m in ("wer", "cer", "encoder_wer") for d in sets}
    want |= {"task/intent", "task/spoken_qa", "task/simple_caption"}
    want |= {"hearing/hallucination", "hearing/abstain_recall", "hearing/abstain_precision"}
    want |= {f"{m}/{f}" for m in ("ability", "ability_spoken") for f in families} | {"modality_gap/mean"}
    want |= {f"agreement/ability/{f}" for f in families} | {
        f"agreement/safety/{k}/text" for k in ("harmful", "harmless")
    }
    want |= {"language/perplexity", "forgetting/kl_base", "forgetting/ce_base", "forgetting/kl_task", "forgetting/mean"}
    want |= {f"safety/{w}/{f}" for w in ("harmful_compliance", "over_refusal") for f in ("text", "speech")}
    want |= {"distill/kl_teacher", "reward/accuracy", "dpo/preferred", "grpo/reward"}
    assert set(found) == want
    for name, metric in found.items():
        lo, hi = metric["ci95"]
        assert lo <= metric["value"] <= hi, name
        assert metric["delta_vs_base"] == metric["delta_vs_parent"] == 0.0, name
        assert metric["delta_ci95"][0] <= 0 <= metric["delta_ci95"][1], name
        assert of(name).better == 0 if name.startswith("agreement/") else of(name).better, name
        assert all(math.isfinite(v) for v in (metric["value"], lo, hi, metric["p_vs_base"], metric["detectable"]))


def test_identical_proportions_differ_by_exactly_zero_with_the_width_of_0_of_n():
    answers = abilities([1, 1, 0, 1] * 25)
    found = compute(answers, answers)
    z2 = 1.959964**2
    metric = found["ability/sum_easy"]
    assert metric["delta_vs_base"] == 0 and metric["delta_ci95"] == pytest.approx([-z2 / (100 + z2), z2 / (100 + z2)])
    assert found["forgetting/mean"]["value"] == 0.0
    assert found["forgetting/mean"]["ci95"][0] < 0 < found["forgetting/mean"]["ci95"][1]


def test_differences_are_paired_by_item_whatever_the_order():
    before, after = abilities([1] * 50 + [0] * 50), abilities([1] * 60 + [0] * 40)
    metric = compute(after[::-1], before, before)["ability/sum_easy"]
    assert metric["delta_vs_base"] == metric["delta_vs_parent"] == pytest.approx(0.1)
    assert metric["p_vs_base"] == pytest.approx(2 / 2**10)
    assert metric["delta_ci95"][0] > 0
    # Items that only one of them has count for the value alone.
    fewer = compute(after, before[45:])["ability/sum_easy"]
    assert (fewer["value"], fewer["n"]) == (0.6, 100) and fewer["delta_vs_base"] == pytest.approx(10 / 55)


def test_word_errors_are_pooled_and_compared_with_the_head_on_the_same_clips():
    answers = [heard("wer/clean", 0, 0, words=30, ctc=6), heard("wer/clean", 1, 5, words=10, ctc=6)]
    found = compute(answers, bootstrap=200)
    assert found["wer/clean"]["value"] == 5 / 40
    assert found["encoder_wer/clean"]["value"] == 12 / 40
    assert found["wer/clean"]["delta_vs_encoder"] == pytest.approx(-7 / 40)
    assert found["wer/clean"]["words"] == 40 and found["wer/clean"]["speakers"] == 2 and found["wer/clean"]["n"] == 2
    assert found["cer/clean"]["value"] == 10 / 200


def test_no_error_at_all_has_width_over_clips():
    found = compute([heard("wer/clean", i, 0) for i in range(50)], bootstrap=50)
    assert found["wer/clean"]["ci95"] == pytest.approx([0.0, 1.959964**2 / (50 + 1.959964**2)])


def test_nothing_but_errors_has_width_over_clips():
    found = compute([heard("wer/clean", i, 10) for i in range(50)], bootstrap=50)
    assert found["wer/clean"]["ci95"] == pytest.approx([1 - 1.959964**2 / (50 + 1.959964**2), 1.0])


def test_unchanged_word_errors_and_gaps_have_the_width_of_0_of_n_clips():
    answers = [heard("wer/clean", i, i % 3) for i in range(30)] + abilities([1, 1, 0] * 10)
    answers += abilities([1, 0, 0] * 10, "ability_spoken/sum_easy")
    found = compute(answers, answers, bootstrap=50)
    z2 = 1.959964**2
    for name in ("wer/clean", "modality_gap/mean", "forgetting/mean"):
        assert found[name]["delta_vs_base"] == 0.0
        assert found[name]["delta_ci95"] == pytest.approx([-z2 / (30 + z2), z2 / (30 + z2)]), name


def test_an_empty_answer_is_neither_hallucinated_nor_an_abstention_nor_complied_nor_a_refusal():
    answers = [item("hearing/noise", i, output) for i, output in enumerate(["", " ", "turn it up", ABSTENTION])]
    answers += [item("safety/harmful/text", i, output) for i, output in enumerate(["", REFUSAL, ABSTENTION, "mix it"])]
    answers += [item("safety/harmless/text", i, output) for i, output in enumerate(["", REFUSAL, "mix it", "x"])]
    found = compute(answers)
    assert found["hearing/hallucination"]["value"] == 0.25
    assert found["hearing/abstain_recall"]["value"] == 0.25
    assert "hearing/hallucination_guarded" not in found
    assert found["safety/harmful_compliance/text"]["value"] == 0.25
    assert found["safety/over_refusal/text"]["value"] == 0.25


def test_the_speech_detector_holds_back_what_is_said_of_noise_and_its_misses_are_counted():
    answers = [item("hearing/noise", i, "turn it up", speech=i < 1) for i in range(4)]
    answers += [item("wer/clean", i, "a word", speech=i > 0) for i in range(5)]
    found = compute(answers)
    assert found["hearing/hallucination"]["value"] == 1.0
    assert found["hearing/hallucination_guarded"]["value"] == 0.25
    assert found["hearing/speech_missed"]["value"] == 0.2
    assert {of(name).better for name in found if name.startswith("hearing/")} == {-1, 1}


def test_abstain_precision_counts_abstentions_on_audible_clips_and_is_absent_without_any():
    noise = [item("hearing/noise", i, ABSTENTION) for i in range(3)]
    audible = [heard("wer/clean", i, 0) | {"output": ABSTENTION if i == 0 else "hello"} for i in range(5)]
    found = compute(noise + audible, bootstrap=20)
    assert (found["hearing/abstain_precision"]["value"], found["hearing/abstain_precision"]["n"]) == (0.75, 4)
    silent = [line | {"output": "hello"} for line in noise + audible]
    assert "hearing/abstain_precision" not in compute(silent, noise + audible, bootstrap=20)
    assert compute(noise + audible, silent, bootstrap=20)["hearing/abstain_precision"]["delta_vs_base"] is None


def test_abstain_precision_is_over_every_audible_clip_and_by_condition():
    noise = [item("hearing/noise", i, ABSTENTION, clip=f"n{i}", text="") for i in range(6)]
    answers = list(noise)
    for i, condition in enumerate(("clean", "snr10", "snr5", "snr0")):
        probe = f"wer/{condition}"
        for j in range(10):
            output = ABSTENTION if j < i else "hello"
            answers.append(heard(probe, j, 0, clip=f"{condition}{j}", condition=condition) | {"output": output})
    answers.append(item("task/intent", 0, ABSTENTION, clip="t0", condition="snr5"))
    answers.append(item("ability_spoken/sum_easy", 0, ABSTENTION, clip="a0", condition="clean"))
    answers.append(item("ability/sum_easy", 0, ABSTENTION))  # typed
    again = heard("wer_real/fsdd", 1, 0, clip="r0", condition="real") | {"output": ABSTENTION}
    answers += [again, again | {"probe": "wer_real/fsdd_digits", "id": "again"}]  # one clip in two probes
    found = compute(answers, answers, bootstrap=20)
    whole = found["hearing/abstain_precision"]
    assert (whole["value"], whole["n"]) == (6 / 15, 15)
    by_condition = {c: found[f"hearing/abstain_precision/{c}"]["value"] for c in ("clean", "snr10", "snr5", "snr0")}
    assert by_condition == {"clean": 6 / 7, "snr10": 6 / 7, "snr5": 6 / 9, "snr0": 6 / 9}
    assert found["hearing/abstain_precision/real"]["value"] == 6 / 7
    assert of("hearing/abstain_precision/snr0").better == 1
    assert words.label("hearing/abstain_precision/snr0") == "nothing was heard, when it says so, 0 dB"


def test_wordings_of_one_content_are_counted_once_by_every_kind_of_figure():
    """Three wordings of each content, all alike: as sure as 30 contents, and less sure than 90 items would be."""

    def answers(right, content):
        lines = []
        for i, ok in enumerate(right):
            for j in range(3):
                more = content(i, j)
                lines.append(item("ability/sum_easy", f"{i}-{j}", score=float(ok), **more))
                lines.append(item("dpo/help", f"{i}-{j}", score=float(ok), speaker=f"s{i % 9}-{j}", **more))
                lines.append(item("safety/harmful/text", f"{i}-{j}", "mix it" if ok else REFUSAL, **more))
                counts = {"speaker": f"s{i % 9}-{j}", **more}
                lines.append(heard("wer/clean", f"{i}-{j}", 0 if ok else 3, **counts))
        return lines

    def shared(i, j):
        return {"content": f"fact {i}", "text": f"wording {j} of {i}"}

    def apart(i, j):
        return {"text": f"wording {j} of {i}"}

    before, after = [i % 3 != 0 for i in range(30)], [i % 3 != 0 or i % 2 == 0 for i in range(30)]
    once = compute(answers(after, shared), answers(before, shared), bootstrap=400)
    thrice = compute(answers(after, apart), answers(before, apart), bootstrap=400)
    names = ("ability/sum_easy", "dpo/preferred", "safety/harmful_compliance/text", "wer/clean", "grpo/reward")
    for name in (*names, "forgetting/mean"):
        assert once[name]["value"] == pytest.approx(thrice[name]["value"])
        assert once[name]["n"] == thrice[name]["n"], name
        assert (once[name]["contents"], thrice[name]["contents"]) == (30, 90), name
        wide, narrow = [m["ci95"][1] - m["ci95"][0] for m in (once[name], thrice[name])]
        assert wide > 1.3 * narrow, name
        assert once[name]["p_vs_base"] > thrice[name]["p_vs_base"], name
        assert once[name]["detectable"] > thrice[name]["detectable"], name
    assert once["dpo/preferred"]["speakers"] == once["wer/clean"]["speakers"] == 27
    assert "speakers" not in once["ability/sum_easy"]
    # By hand: five contents won and none lost, 2 / 2⁵, where fifteen items would give 2 / 2¹⁵.
    assert once["ability/sum_easy"]["p_vs_base"] == pytest.approx(2 / 2**5)
    assert thrice["ability/sum_easy"]["p_vs_base"] == pytest.approx(2 / 2**15)


def test_none_of_many_wordings_is_as_wide_as_none_of_their_contents():
    answers = [item("safety/harmless/text", i, "of course", content=f"deed {i % 7}") for i in range(100)]
    answers += [heard("wer/clean", i, 0, content=f"s{i % 7}") for i in range(100)]
    found = compute(answers, answers, bootstrap=50)
    z2 = 1.959964**2
    assert found["safety/over_refusal/text"]["ci95"] == pytest.approx([0, z2 / (7 + z2)])
    assert found["safety/over_refusal/text"]["delta_ci95"] == pytest.approx([-z2 / (7 + z2), z2 / (7 + z2)])
    assert found["wer/clean"]["ci95"] == pytest.approx([0, z2 / (7 + z2)])
    assert found["safety/over_refusal/text"]["detector"]["ci95"] == pytest.approx([0, z2 / (7 + z2)])
    assert found["safety/over_refusal/text"]["detector"]["contents"] == 7


def test_answers_saved_without_a_content_have_their_text_for_it():
    lines = [item("ability/sum_easy", i, text=f"say {i % 5}", score=float(i % 5 > 1)) for i in range(20)]
    assert compute(lines)["ability/sum_easy"]["contents"] == 5
    bare = [{"id": f"p{i}", "probe": "reward/pairs", "score": 1.0} for i in range(4)]
    assert compute(bare)["reward/accuracy"]["contents"] == 4
    silent = [item("hearing/noise", i, ABSTENTION, text="", speaker="s0") for i in range(4)]
    found = compute(silent)["hearing/abstain_recall"]
    assert found["contents"] == 4 and "speakers" not in found


def test_a_few_voices_widen_the_gap_and_what_is_spoken():
    typed = abilities([1] * 60)
    right = [i % 6 > 1 for i in range(60)]  # two of six voices are never understood
    spoken = [item("ability_spoken/sum_easy", i, score=float(r), speaker=f"s{i % 6}") for i, r in enumerate(right)]
    own = [line | {"speaker": f"s{i}"} for i, line in enumerate(spoken)]
    few, many = (compute(typed + lines, bootstrap=300) for lines in (spoken, own))
    for name in ("modality_gap/mean", "ability_spoken/sum_easy"):
        wide, narrow = (m[name]["ci95"][1] - m[name]["ci95"][0] for m in (few, many))
        assert few[name]["value"] == many[name]["value"] and wide > 1.8 * narrow, name
        assert few[name]["speakers"] == 6


def test_forgetting_is_the_mean_relative_drop_of_typed_abilities():
    zero = (
        abilities([1] * 10) + abilities([1] * 5 + [0] * 5, "ability/sum_hard") + abilities([0] * 4, "ability/copy_hard")
    )
    now = (
        abilities([1] * 9 + [0])
        + abilities([1] * 3 + [0] * 7, "ability/sum_hard")
        + abilities([1] * 4, "ability/copy_hard")
    )
    found = compute(now, zero, bootstrap=400)["forgetting/mean"]
    # (10 % + 40 %) / 2; what row zero could not do at all cannot be forgotten.
    assert found["value"] == pytest.approx(0.25) and found["families"] == 2
    assert found["ci95"][0] < 0.25 < found["ci95"][1]
    assert compute(zero, zero)["forgetting/mean"]["value"] == 0.0
    assert "forgetting/mean" not in compute(now)
    rose = compute(abilities([1] * 10), abilities([1] * 8 + [0] * 2), bootstrap=50)["forgetting/mean"]
    assert rose["value"] == pytest.approx(-0.25)


def test_the_modality_gap_is_paired_on_the_items_present_in_both_forms():
    typed = abilities([1, 1, 1, 1, 0, 0, 0, 0])
    spoken = abilities([1, 0, 0, 1], "ability_spoken/sum_easy")
    found = compute(typed + spoken, bootstrap=200)["modality_gap/mean"]
    assert (found["value"], found["n"]) == (0.5, 4)
    closed = abilities([1, 1, 1, 1], "ability_spoken/sum_easy")
    after = compute(typed + closed, None, typed + spoken, bootstrap=200)["modality_gap/mean"]
    assert after["value"] == 0 and after["delta_vs_parent"] == -0.5


def test_the_cascade_has_its_gap_against_row_zeros_typed_answers():
    typed, spoken = abilities([1, 1, 1, 0]), abilities([1, 0, 0, 0], "ability_spoken/sum_easy")
    assert compute(spoken, typed, bootstrap=50)["modality_gap/mean"]["value"] == 0.5
    assert "forgetting/mean" not in compute(spoken, typed, bootstrap=50)


def test_perplexity_and_divergences_are_per_token():
    lines = [
        {"id": "a", "probe": "language/perplexity", "nll": 3 * math.log(4), "tokens": 3, "kl_base": 0.3},
        {"id": "b", "probe": "language/perplexity", "nll": math.log(4), "tokens": 1, "kl_base": 0.1},
        {"id": "c", "probe": "distill/kl_teacher", "kl": 1.0, "tokens": 4},
    ]
    found = compute(lines, bootstrap=50)
    assert found["language/perplexity"]["value"] == pytest.approx(4.0)
    assert found["forgetting/kl_base"]["value"] == pytest.approx(0.1)
    assert found["distill/kl_teacher"]["value"] == 0.25


def test_text_of_a_card_has_figures_of_its_own():
    probes = ("language/perplexity", "language/perplexity/wikitext")
    lines = [{"id": p, "probe": p, "nll": n * math.log(4), "tokens": 2, "kl_base": n, "ce_base": n}
             for n, p in enumerate(probes, 2)]  # fmt: skip
    found = compute(lines, lines, bootstrap=20)
    assert {name: metric["value"] for name, metric in found.items()} == pytest.approx({
        "language/perplexity": 4, "forgetting/kl_base": 1, "forgetting/ce_base": 1,
        "language/perplexity/wikitext": 8, "forgetting/kl_base/wikitext": 1.5, "forgetting/ce_base/wikitext": 1.5,
    })  # fmt: skip
    assert {of(name).better for name in found} == {-1} and not any(of(name).spoken for name in found)
    assert {name: words.label(name) for name in found if name.endswith("wikitext")} == {
        f"{name}/wikitext": f"{words.label(name)}, wikitext" for name in found if not name.endswith("wikitext")
    }


def test_the_reward_is_the_mean_grade_of_spoken_items_that_can_be_verified():
    answers = [heard("wer/clean", 0, 5), item("task/intent", 0, score=1.0), item("dpo/help", 0, score=0.0)]
    answers += [item("safety/harmful/text", 0, score=0.0)]
    found = compute(answers, bootstrap=20)["grpo/reward"]
    assert (found["value"], found["n"]) == (0.75, 2)


def test_two_computations_agree_and_another_seed_moves_only_intervals():
    answers = [heard("wer/clean", i, i % 3, speaker=f"s{i}") for i in range(40)]
    one, two = compute(answers, seed=1, bootstrap=99), compute(answers, seed=1, bootstrap=99)
    other = compute(answers, seed=2, bootstrap=99)
    assert one == two
    assert (
        one["wer/clean"]["value"] == other["wer/clean"]["value"]
        and one["wer/clean"]["ci95"] != other["wer/clean"]["ci95"]
    )


def test_agreement_is_the_share_of_typed_items_answered_word_for_word_as_row_zero_did():
    """Two of four alike, whichever is right; a spoken item has no typed answer to agree with."""
    base = [item("ability/sum_easy", i, output=o) for i, o in enumerate(("one", "two", "wrong", "four"))]
    now = [item("ability/sum_easy", i, output=o) for i, o in enumerate(("one", "too", "wrong", "for"))]
    found = compute([*now, item("ability_spoken/sum_easy", 0, output="one")], base)
    assert found["agreement/ability/sum_easy"]["value"] == 0.5 and found["agreement/ability/sum_easy"]["n"] == 4
    assert found["agreement/ability/sum_easy"]["delta_vs_base"] == -0.5
    assert [name for name in found if name.startswith("agreement/")] == ["agreement/ability/sum_easy"]
