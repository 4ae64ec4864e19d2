"""Thresholds as clinics write them: each way is read by a rule, or refused with what to write."""

import pytest

from posttrain.acoustics.thresholds import threshold


@pytest.mark.parametrize(
    ("written", "db_hl"),
    [
        (35, 35), (-10, -10), ("35", 35), (" 35.5 ", 35.5), ("35,5", 35.5), ("-10", -10), ("−10", -10), ("+5", 5),
        ("35 dB", 35), ("35dB HL", 35), ("\xa035\xa0", 35),
        ("NR", 120), ("n.r.", 120), ("No response", 120), (">110", 115), ("> 110", 115), (">=110", 115), ("≥110", 115),
        ("110+", 115), ("110 NR", 115),
        ("110NR", 115), ("NR (110)", 115), ("110 (NR)", 115), ("NR@110", 115), ("110↓", 115),
        ("NR110", 115), ("nr at 105", 110), (">110 dB", 115), (">120", 120),
        ("<0", 0), ("<= -10", -10),
        (None, None), ("", None), ("  ", None), ("—", None), ("-", None), ("DNT", None), ("CNT", None), ("n/a", None),
        ("NaN", None), ("not tested", None),
    ],
)  # fmt: skip
def test_each_way_of_writing_a_threshold_is_read(written, db_hl):
    found = threshold(written)
    assert found.db_hl == db_hl
    plain = not isinstance(written, str) or db_hl is None or not set(written.lower()) & set("nr><≥+↓") - {" "}
    assert bool(found.note) is (not plain and written not in ("+5",))


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("deaf", "NR or >110 for no response"),
        ("130", "from -10 to 120 dB HL"),
        (-15, "from -10 to 120 dB HL"),
        (">130", "from -10 to 120"),
        ("666", "write NR"),
        (666, "write NR"),
        (888, "not measured in NHANES"),
        ("1,000", "threshold is '1,000'"),
        ("35 40", "threshold is '35 40'"),
        ("1_0", "threshold is '1_0'"),
        ("35 dB SPL", "a number of dB HL"),
        ("inf", "threshold is 'inf'"),
        (float("nan"), "from -10 to 120"),
        (float("inf"), "from -10 to 120"),
        (True, "threshold is True"),
        ([35], r"threshold is \[35\]"),
    ],
)
def test_what_is_no_threshold_is_refused_with_what_to_write(written, named):
    with pytest.raises(ValueError, match=named):
        threshold(written)


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(ValueError, match="expected a number from -10 to 120"):
        threshold(10**400)
