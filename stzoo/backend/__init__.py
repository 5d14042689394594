"""Fast operations for each backend of Keras.

`generic` implements every function with Keras operations. The module of a backend
overrides those that are faster in another way. The results are the same. Layers call
these functions and do not depend on the backend.

Keras has no operation for a gradient. So `gradient(function, x)` is only in the modules
of the backends: from a function of a tensor to a scalar tensor, and an array, to an
array of the shape of `x`.

The process of an export (STZOO_DEPLOY is set there) builds its graph of the operations
that the runtime has, and in the layout that it prefers.
"""

# ruff: noqa: F403
import os

import keras

from stzoo.backend.generic import *

match keras.backend.backend():
    case "tensorflow":
        from stzoo.backend.tensorflow import *
    case "jax":
        from stzoo.backend.jax import *
    case "torch":
        from stzoo.backend.torch import *

match os.environ.get("STZOO_DEPLOY"):
    case "images" | "volumes":
        from stzoo.backend.deploy_torch import *
    case "lowered":
        from stzoo.backend.deploy_tensorflow import *
