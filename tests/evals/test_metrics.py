"""The metric table: every figure has a row, every row can occur, and what the rows say of the figures known so far."""

import json

import pytest
from every_metric import made

from posttrain.evals import metrics
from posttrain.evals.metrics import SHARE, SKILLS, TABLE, Group, Reference, Role, encoders, named, of
from posttrain.report import words
from posttrain.run import ledger


@pytest.fixture(scope="module")
def every():
    """The metrics of answers to an item or two of every probe."""
    return made()


def test_every_row_can_occur_and_every_figure_has_a_row(every):
    assert {name for name in every if of(name) not in TABLE} == set()
    costs = {metric.name for metric in TABLE if metric.group is Group.COSTS}
    assert {of(name).name for name in every} | costs == {metric.name for metric in TABLE}


def test_a_name_has_one_row_at_most_and_families_end_in_a_slash():
    names = [metric.name for metric in TABLE]
    assert len(set(names)) == len(names) > 60
    assert of("wer/clean").name == "wer/clean" and of("wer/snr7").name == "wer/"
    assert of("wer_real/fsdd").name == "wer_real/" and of("hearing/abstain_precision/snr5").role is Role.DETAIL
    assert {metric.name for metric in TABLE if "{" in metric.label} == {n for n in names if n.endswith("/")}


KNOWN = """
wer/snr10 | word errors, 10 dB | PERCENT | -1 | MADE | CASCADE
critical_wer/snr5 | errors in numbers, names and negations, 5 dB | PERCENT | -1 | MADE | CASCADE
encoder_wer/padded | word errors of the encoder's own transcript, padded | PERCENT | -1 | MADE | CASCADE
cer_real/a_b | character errors, a b | PERCENT | -1 | HUMAN | CASCADE
wer_real_enhanced/fsdd | word errors, through the enhancer, fsdd | PERCENT | -1 | ENHANCED | WITHOUT
task/intent | spoken command → exact JSON | SHARE | 1 | TASKS | CASCADE
task/a_task | a task | SHARE | 1 | TASKS | CASCADE
hearing/abstain_precision/snr15 | nothing was heard, when it says so, snr15 | SHARE | 1 | TASKS | CASCADE
hearing/hallucination | words where there were none | SHARE | -1 | TASKS | CASCADE
distill/kl_teacher | KL(teacher ‖ student), nats a token | NATS | -1 | PREFERENCES | CASCADE
reward/accuracy | preference pairs ranked right | SHARE | 1 | PREFERENCES | CASCADE
reward/accuracy/hh_rlhf | preference pairs of hh rlhf ranked right | SHARE | 1 | PREFERENCES | CASCADE
safety/over_refusal/text | harmless requests refused, typed | SHARE | -1 | SAFETY | ROW_ZERO
safety/over_refusal/speech | harmless requests refused, spoken | SHARE | -1 | SAFETY | CASCADE
safety/over_refusal/text/xstest | harmless requests of xstest refused, typed | SHARE | -1 | SAFETY | ROW_ZERO
instruction/text | checkable instruction followed, typed | SHARE | 1 | TYPED | ROW_ZERO
instruction/speech | checkable instruction followed, spoken | SHARE | 1 | SPOKEN | CASCADE
forgetting/mean | mean relative drop of typed abilities | PERCENT | -1 | LANGUAGE | ROW_ZERO
forgetting/benchmarks | mean relative drop of public benchmarks, above chance | PERCENT | -1 | LANGUAGE | ROW_ZERO
benchmark/blimp | BLiMP: grammatical sentence preferred, typed | SHARE | 1 | PUBLIC | ROW_ZERO
benchmark/mmlu_law | mmlu law: right answer preferred, typed | SHARE | 1 | PUBLIC | ROW_ZERO
benchmark_norm/arc_easy | arc easy: right answer preferred, per character, typed | SHARE | 1 | PUBLIC | ROW_ZERO
agreement/benchmark/blimp | chosen alike, blimp | SHARE | 0 | ALIKE | ROW_ZERO
forgetting/kl_base/a_b | KL(base ‖ stage), nats a token, a_b | NATS | -1 | LANGUAGE | ROW_ZERO
language/perplexity | perplexity of general text | SCORE | -1 | LANGUAGE | ROW_ZERO
ability/sum_easy | sum easy, typed | SHARE | 1 | TYPED | ROW_ZERO
benchmark_chat/piqa | piqa: right answer preferred in the chat, typed | SHARE | 1 | PUBLIC | ROW_ZERO
benchmark_spoken/piqa | piqa: right answer preferred in the chat, spoken | SHARE | 1 | SPOKEN | CASCADE
modality_gap/piqa | typed minus spoken accuracy, piqa | POINTS | -1 | SPOKEN | CASCADE
modality_gap/mean | typed minus spoken accuracy | POINTS | -1 | SPOKEN | CASCADE
ability_spoken/sum_easy | sum easy, spoken | SHARE | 1 | SPOKEN | CASCADE
agreement/safety/harmful/text | answered alike, harmful | SHARE | 0 | ALIKE | ROW_ZERO
personal/names | own names lost, with the personal adapter | PERCENT | -1 | PERSON | WITHOUT
enhance/si_sdr_gain/made/snr0 | SI-SDR improvement at 0 dB, made | DECIBELS | 1 | ENHANCER | NOTHING
enhance/clean/made/on | SI-SDR to clean speech that went in, enhancer on, made | DECIBELS | 1 | ENHANCER | NOTHING
listener/haspi/made/a_b/snr5/enhanced_nalr | HASPI, a_b, enhanced + NAL-R, 5 dB, made | INDEX | 1 | LISTENERS | WITHOUT
listener/pesq/made/N2/snr5/unaided | PESQ, N2, unaided, 5 dB, made | SCORE | 1 | LISTENERS | WITHOUT
cost/peak_rss_mb | peak memory | MEGABYTES | 0 | COSTS | NOTHING
"""


@pytest.mark.parametrize("line", KNOWN.strip().splitlines())
def test_a_row_says_what_its_figure_is(line):
    name, label, unit, better, group, reference = line.split(" | ")
    row = of(name)
    assert words.label(name) == label
    assert (row.unit, row.better) == (getattr(metrics, unit), int(better))
    assert (row.group, row.reference) == (Group[group], Reference[reference])
    assert row.spoken is (row.reference is not Reference.ROW_ZERO and row.group is not Group.COSTS)


@pytest.mark.parametrize(
    ("name", "value", "change", "unit"),
    [
        ("wer/clean", "12.3 %", "+12.3", " points"),
        ("distill/kl_teacher", "0.123", "+0.123", ""),
        ("language/perplexity", "0.12", "+0.12", ""),
        ("enhance/ear_gain/made/N2", "0.12 dB", "+0.12", " dB"),
        ("cost/rtf", "0.123", "+0.123", ""),
    ],
)
def test_a_figure_is_printed_in_its_unit(name, value, change, unit):
    assert (words.number(name, 0.1234), words.change(name, 0.1234), words.unit(name)) == (value, change, unit)


def test_the_encoders_own_transcript_is_a_yardstick_and_no_finding(every):
    own = {name for name in every if of(name).role is Role.YARDSTICK}
    assert own == {encoders(name) for name in every} - {None} == {n for n in every if n.startswith("encoder_")}
    assert not any(of(name).finding for name in own) and of("wer/clean").finding
    assert encoders("cer/clean") is encoders("encoder_wer/clean") is None


def test_an_unknown_name_is_shown_in_the_group_of_its_kin_and_is_no_finding():
    row = of("hearing/new_figure")
    assert row not in TABLE and row.group is Group.TASKS and not row.finding
    assert (words.label("hearing/new_figure"), words.label("alone")) == ("new figure", "alone")
    assert [title for title, _ in words.ordered({"unheard_of/x", "wer/clean", "cost/rtf"})] == [
        "Transcription of made speech", "Others",
    ]  # fmt: skip


def test_skills_and_headlines_are_in_reading_order(every):
    tasks = ("task/intent", "task/spoken_qa", "task/simple_caption", "task/request")
    assert ("wer/clean", *tasks, "hearing/abstain_recall") == SKILLS
    first = words.headlines(every)
    conditions = [name for name in first if name.startswith("wer/")]
    assert conditions == ["wer/clean", "wer/snr10", "wer/snr5", "wer/snr0", "wer/padded", "wer/joined"]
    assert first.index("forgetting/mean") < first.index(named(Group.SAFETY)[0]) and len(named(Group.SAFETY)) == 4


def test_the_value_by_guessing_is_the_tables_or_the_figures_own(every):
    chances = {metric.name: metric.chance for metric in TABLE if metric.chance is not None}
    assert chances == {"reward/accuracy": 0.5, "reward/accuracy/": 0.5}
    guessed = {name for name, metric in every.items() if "chance" in metric}
    assert guessed == {name for name in every if name.startswith("benchmark")} and guessed


def test_what_is_right_or_wrong_item_by_item_is_a_share():
    assert of("safety/over_refusal/text").unit is of("hearing/hallucination").unit is SHARE
    assert SHARE not in (of("wer/clean").unit, of("forgetting/mean").unit)


def test_what_was_saved_under_earlier_names_is_read_under_todays(every, tmp_path):
    figures = {"ctc_wer/clean": every["encoder_wer/clean"], "wer/clean": dict(every["wer/clean"])}
    for old, new in (("delta_vs_ctc", "delta_vs_encoder"), ("delta_ctc_ci95", "delta_encoder_ci95"),
                     ("p_vs_ctc", "p_vs_encoder")):  # fmt: skip
        figures["wer/clean"][old] = figures["wer/clean"].pop(new)
    row = dict.fromkeys(("run", "stage", "checkpoint", "code", "base", "data", "device", "started"), "x")
    row |= {"parents": {}, "config": {"ctc_weight": 1}, "seed": 0, "wall_s": 1.0, "metrics": figures}
    row |= {"train_metrics": {"validation": {"metrics": {"ctc_wer/clean": {"value": 0.1}}}}}
    path = tmp_path / "ledger.jsonl"
    path.write_text(json.dumps(row) + "\n")
    [read] = ledger.read(path)
    assert read.metrics == {name: every[name] for name in ("encoder_wer/clean", "wer/clean")}
    assert read.train_metrics == {"validation": {"metrics": {"encoder_wer/clean": {"value": 0.1}}}}
    assert read.config == {"ctc_weight": 1}
