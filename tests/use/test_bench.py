"""make bench: latencies by construction, and every pair is timed in turns."""

import pytest

from posttrain.use import bench


def test_latencies_are_those_of_windows_and_filters():
    found = bench.latencies()
    assert found["enhancer, window and hop"] == 8.0
    assert found["its peer, pyclarity's linear-phase filter of 221 taps"] == pytest.approx(6.875)
    (ours,) = (value for name, value in found.items() if name.startswith("NAL-R"))
    assert 0 < ours < 2 and found["enhancer and NAL-R"] == pytest.approx(8 + ours)


def test_a_figure_is_the_median_with_the_least_and_the_greatest(monkeypatch):
    """By hand: ours takes 1, 2, 6 s, the peer 2, 2, 2 s, of 2 s of sound."""
    clock = iter([0, 1, 0, 2, 0, 2, 0, 2, 0, 6, 0, 2])
    monkeypatch.setattr(bench.time, "process_time", lambda: next(clock))
    found = bench.timed(bench.Case("a", lambda: None, "b", lambda: None, 2.0), runs=3)
    assert found.ours == (1.0, 0.5, 3.0) and found.peers == (1.0, 1.0, 1.0) and found.ratio == (1.0, 0.5, 3.0)


def test_every_case_runs_beside_its_peer():
    pytest.importorskip("clarity", reason="pip install 'posttrain[hearing]'")
    made = list(bench.cases(seconds=0.6))
    assert len({case.name for case in made}) == len(made) >= 7
    for case in made:
        if "by pyclarity" not in case.name:  # HASPI and HASQI take seconds, and are tried in test_perception
            found = bench.timed(case, runs=1)
            assert min(found.ours[0], found.peers[0], found.ratio[0]) > 0


def test_the_machine_is_named():
    said = "\n".join(bench.machine())
    assert "Python" in said and "pyclarity" in said and "torch " in said
