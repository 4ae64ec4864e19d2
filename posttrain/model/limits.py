"""Limits of one forward pass, in a module without torch, since the memory plan (run/memory.py) counts with them."""

LOGITS_BYTES = 2**29
"""Most that the logits of a batch take whose rows are scored: 49,000 words have 200 kB for each token."""
PIECE = 24
"""Most words of a draft that are read in one pass."""
