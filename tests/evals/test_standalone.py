import pytest

from posttrain.errors import InputError
from posttrain.evals.standalone import evaluate_checkpoint


def test_a_folder_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        evaluate_checkpoint(tmp_path, "cpu")
