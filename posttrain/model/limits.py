"""What is read at once, in a module without torch, since plans count with it."""

LOGITS_BYTES = 2**29
"""Most that the logits of a batch take whose rows are scored: 49,000 words have 200 kB for each token."""
PIECE = 24
"""Most words of a draft that are read in one pass."""
