"""Fast operations for each backend of Keras.

`generic` implements every function with Keras operations. The module of a backend
overrides those that are faster in another way. The results are the same. Layers call
these functions and do not depend on the backend.
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
