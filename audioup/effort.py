"""How much computing a file may ask for: a small one must not keep anybody waiting."""

from collections.abc import Sequence

MOST_EFFORT = 2**30  # multiplications, of all that is computed of the layers of one file: some seconds
EACH = 2**21  # for what goes with any layer


class Effort:
    """What is left of an effort."""

    def __init__(self, most: int = MOST_EFFORT) -> None:
        self.left = most

    def spent(self, work: int) -> bool:
        """Take work off what is left and return True; if it is more than that, take nothing and return False."""
        if work > self.left:
            return False
        self.left -= work
        return True


def of_projections(lengths: Sequence[int], orders: int = 1) -> int:
    """Return the multiplications that it takes to design the projections of kernels of so many taps onto an order."""
    return orders * sum(length**3 for length in lengths)


def of_response(channels: int, length: int, stride: int, frequencies: int) -> int:
    """Return the multiplications that the transform of a kernel takes, and its waves, each as long as 48."""
    return frequencies * stride * length * (48 + min(channels, length))
