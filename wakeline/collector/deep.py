"""JSON nested as deeply as orjson reads it: Python's own `json` gives up a little earlier."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Twice the 1,024 levels that orjson reads, beside the frames that are there already.
READ_LEVELS = 2_048
#: Whatever was read can also be written, from wherever that happens.
WRITE_LEVELS = READ_LEVELS + 1_024


@contextmanager
def deep_recursion(levels: int) -> Iterator[None]:
    """Room on the stack for so many levels; a stack of 8 MB has it.

    The limit is the process's, but nothing else runs on the event loop within the block.
    """
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual + levels)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)
