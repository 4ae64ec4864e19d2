"""make scale: each step takes every recording."""

import json

from posttrain.use import scale


def test_each_step_takes_every_recording(tmp_path, capsys):
    scale.make(tmp_path / "librispeech", 3)
    for step in scale.STEPS:
        scale.run(step, tmp_path)
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert found["rows"] == 3 and found["seconds"] > 0
