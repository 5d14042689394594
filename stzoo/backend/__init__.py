"""What each backend of Keras computes fast.

`generic` has every function, by the operations of Keras; the module of a backend has
those that it computes faster in another way. The numbers are the same either way.
Layers call these functions and know no backend.
"""

# ruff: noqa: F403
import keras

from stzoo.backend.generic import *

match keras.backend.backend():
    case "tensorflow":
        from stzoo.backend.tensorflow import *
    case "jax":
        from stzoo.backend.jax import *
    case "torch":
        from stzoo.backend.torch import *
