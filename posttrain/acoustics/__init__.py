"""Sound: its levels, scenes, listeners and aids. All of it is mono."""

SAMPLE_RATE = 16_000
"""Samples a second of every waveform between reading a file and writing one."""
