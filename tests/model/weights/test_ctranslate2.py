"""CTranslate2's container: what is written is read, and what is cut off, longer or of an unknown type is refused."""

import numpy as np
import pytest

from posttrain.errors import InputError
from posttrain.model.weights import ctranslate2
from tests.model.weights.made_container import array, container

ONE = np.arange(6, dtype=np.float16).reshape(2, 3)
ENTRIES = [array("a/weight", ONE), array("a/steps", np.array(-1, np.int16)), array("b", np.ones(2, np.float32))]
WHOLE = container(ENTRIES, {"tied": "a/weight"})


def read(tmp_path, content: bytes) -> ctranslate2.Container:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    return ctranslate2.read(path)


def test_arrays_of_every_type_and_aliases_are_read_as_they_were_written(tmp_path):
    values = {np.dtype(dtype).name: np.array([[1], [3]], dtype) for dtype in ctranslate2.TYPES.values()}
    found = read(tmp_path, container([array(name, value) for name, value in values.items()], {"x": "int8"}))
    assert (found.specification, found.revision, found.aliases) == ("WhisperSpec", 3, {"x": "int8"})
    assert found.arrays.keys() == values.keys() and len(values) == 5
    assert all(np.array_equal(found.arrays[n], values[n]) and found.arrays[n].dtype == n for n in values)
    assert read(tmp_path, WHOLE).arrays["a/steps"] == -1


def test_a_file_that_is_cut_off_anywhere_is_refused_and_so_is_a_longer_one(tmp_path):
    for end in range(4, len(WHOLE)):
        with pytest.raises(InputError, match=r"model\.bin is not a whole CTranslate2 container: .* get the file again"):
            read(tmp_path, WHOLE[:end])
    with pytest.raises(InputError, match="1 bytes follow the last alias"):
        read(tmp_path, WHOLE + b"\0")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (container(ENTRIES, {}, version=7), "has version 7, expected 6"),
        (container([array("a", ONE, kind=5)], {}), "array a has type 5, expected one of 0 .float32., 1 .int8."),
        (container([array("a", ONE, length=10)], {}), r"array a has 10 bytes, expected 6 × 2 for \[2, 3\]"),
        (container([array("a", ONE)] * 2, {}), "array a occurs twice"),
        (container(ENTRIES, {"b": "a/weight"}), "alias b stands for a/weight, expected a new name"),
        (container(ENTRIES, {"c": "d"}), "alias c stands for d, expected a new name for an array that is there"),
        (container([array("a\0", ONE)], {}), "expected UTF-8 that ends in zero"),
        (b"PK\x03\x04" + b"\0" * 40, "has version 67324752"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(tmp_path, content, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, content)
