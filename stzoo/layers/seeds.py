"""Seeds of layers that draw random numbers."""

import random


def new_seed():
    """Draws a seed as Keras does.

    Without a seed, dropout on PyTorch uses the global state of PyTorch, and a resumed
    run would have other results.
    """
    return random.randint(1, 10**9)
