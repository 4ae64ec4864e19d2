"""What is measured of the machine."""

import sys

import pytest

from posttrain.machine.device import peak_rss_mb, reset_peak_rss


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a process's peak")
def test_a_new_peak_leaves_out_what_was_freed_before():
    reset_peak_rss()
    before = peak_rss_mb()
    pieces = [bytearray(50_000) for _ in range(6_000)]  # 300 MB in pieces that the C library keeps when they are freed
    kept = pieces[-1]
    assert peak_rss_mb() > before + 250
    del pieces
    reset_peak_rss()
    assert len(kept) and peak_rss_mb() < before + 100
