"""PyTorch's threads where its operations are small: several slow each other down, and one each does not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def single() -> Iterator[None]:
    """PyTorch uses one thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    """As many threads as PyTorch uses here; in each of them it uses one."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as made:
        try:
            yield made
        finally:
            torch.set_num_threads(threads)
