"""Stopping by validation WER: as soon as it is low enough, and never later than the last step."""

from types import SimpleNamespace

from posttrain.stages.training import validation
from posttrain.stages.training.validation import StopAtWER


def stopped_at(monkeypatch, wers: list[float], target: float) -> int:
    """The step of ten after which training stops, as the Trainer does it: at the last step it says so itself first."""
    left = iter(wers)
    monkeypatch.setattr(validation, "valid_answers", lambda *_: [])
    monkeypatch.setattr(validation, "valid_wer", lambda *_: next(left))
    callback = StopAtWER(None, None, target, looks=5)
    for step in range(1, 12):
        control = SimpleNamespace(should_training_stop=step >= 10)
        callback.on_step_end(None, SimpleNamespace(global_step=step, max_steps=10), control)
        if control.should_training_stop:
            return step
    return 0


def test_training_stops_at_the_first_look_that_is_low_enough(monkeypatch):
    assert stopped_at(monkeypatch, [0.5, 0.3, 0.2], 0.3) == 4


def test_training_that_never_gets_there_ends_with_its_last_step(monkeypatch):
    assert stopped_at(monkeypatch, [0.5] * 5, 0.3) == 10
