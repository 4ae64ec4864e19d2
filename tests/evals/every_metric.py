"""Answers to an item or two of every probe, and the metrics computed from them."""

from posttrain.evals.compute import compute
from tests.report.made_run import make_answers

RANKED_OR_GRADED = ("task/mine", "task/request", "task/request/dolly", "reward/pairs/hh")
PROCESSINGS = ("unaided", "nalr", "enhanced", "enhanced_nalr")


def made():
    """Every metric that is computed from answers."""
    answers = [*make_answers("sft", 4), *_heard(), *_language(), *_personal(), *_enhanced(), *_listeners(), *_asked()]
    zero = make_answers("base", 4) + make_answers("ctc", 4) + _asked() + _benchmarks()
    return compute(answers + _benchmarks(), zero, bootstrap=5)


def _lines(probe, **more):
    return [{"id": f"{probe}/{i}", "probe": probe, "clip": f"c{i}", "speaker": f"v{i}"} | more for i in range(2)]


def _heard():
    counts = {"errors": 1, "words": 4, "char_errors": 2, "chars": 9, "output": "x", "text": "y"}
    counts |= {"encoder_errors": 2, "together_errors": 1}
    counts |= {"open_asr_errors": 1, "encoder_open_asr_errors": 2, "open_asr_words": 4}
    lines = [_lines(probe, **counts, score=0.5, speech=True) for probe in ("wer/padded", "wer/joined", "wer_real/fsdd")]
    silence = {"instruction": "repeat", "text": "", "score": 0.0, "speech": True, "output": "words"}
    return [*(line for found in lines for line in found), *_lines("hearing/sound", **silence)]


def _language():
    text = {"nll": 2.0, "tokens": 4, "kl_base": 0.1, "ce_base": 2.0}
    lines = [_lines(probe, **text) for probe in ("language/perplexity", "language/perplexity/wikitext")]
    scored = [_lines(probe, score=1.0) for probe in RANKED_OR_GRADED]
    return [line for found in (*lines, _lines("forgetting/kl_task", kl=0.5, tokens=5), *scored) for line in found]


def _benchmarks():
    tasks = ("arc_challenge", "arc_easy", "blimp", "hellaswag", "mmlu", "piqa")
    more = {"score": 1.0, "normed": 1.0, "nats": [-1.0, -2.0], "output": "x"}
    probes = [f"benchmark/{task}" for task in tasks]
    asked = _lines("benchmark_chat/piqa", text="Why?", clip=None, score=1.0, endings=2, output="a")
    asked += _lines("benchmark_spoken/piqa", text="why", score=0.0, endings=2, output="b")
    return [{"id": f"{probe}/{i}", "probe": probe} | more for probe in probes for i in range(9)] + asked


def _asked():
    kinds = ("instruction/{}", "safety/harmful/{}/xstest", "safety/harmless/{}/xstest")
    probes = [(kind.format(form), form) for kind in kinds for form in ("text", "speech")]
    more = {"instruction": "answer", "text": "t", "output": "no", "score": 0.0}
    lines = [_lines(probe, **more) if form == "speech" else _lines(probe, **more, clip=None) for probe, form in probes]
    return [line for found in lines for line in found]


def _personal():
    counts = {"errors": 1, "words": 4, "lost_names": 1, "names": 2, "text": "t"}
    lines = [_lines(f"personal/{variant}", **counts) for variant in ("adapted", "parent")]
    return [line | {"utterance": line["id"][-1]} for found in lines for line in found]


def _enhanced():
    probes = ("si_sdr_gain/made/snr0", "stoi_gain/made/snr0", "ear_gain/made/N2", "clean/made/on", "own_snr/fsdd")
    lines = [_lines(f"enhance/{probe}", value=1.0, noise="rain") for probe in probes]
    counts = {"errors": 1, "words": 4, "encoder_errors": 2}
    both = ("wer_enhanced/snr0", "wer_unenhanced/snr0", "wer_real_enhanced/fsdd", "wer_real_unenhanced/fsdd")
    return [line for found in (*lines, *(_lines(probe, **counts) for probe in both)) for line in found]


def _listeners():
    measures = ("haspi", "hasqi", "words", "si_sdr", "stoi", "pesq")
    places = [f"made/N2/snr5/{processing}" for processing in PROCESSINGS]
    scores = [_lines(f"listener/{measure}/{place}", value=0.5) for measure in measures for place in places]
    errors = [_lines(f"listener/wer/{place}", errors=1, words=4) for place in places]
    return [line for found in (*scores, *errors) for line in found]
