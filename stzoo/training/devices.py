"""Training on several devices, of one machine or of many: data parallelism of Keras.

Each device has the same weights and takes its share of each batch. All that is computed
of a batch, the statistics of batch norms too, is of the whole of it, so the result is
that of one device, but for rounding.
"""

import hashlib
import os

import keras
import numpy as np


def distribute():
    """Shares each batch among all devices, for whatever is built from now on.

    Over several machines, the same program runs on each of them, after
    `keras.distribution.initialize`. If its environment variables are set
    (`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `..._NUM_PROCESSES`, `..._PROCESS_ID`), it is
    called here, which must then come before anything that computes.

    Raises:
        ValueError: the backend is not JAX.

    Example: two machines, whose first is 10.0.0.1; `process` is 0 there, and 1 on the
    other.

    ```python
    from stzoo.training.devices import distribute
    from stzoo.training.finetune import finetune
    from stzoo.training.recipes import RECIPES

    keras.utils.set_random_seed(0)
    keras.distribution.initialize("10.0.0.1:1234", 2, process)  # none for one machine
    distribute()
    train = stzoo.read_videos("videos/train")
    model = stzoo.cost_resnet50(pretrained="imagenet", classes=len(train.classes))
    recipe = RECIPES["cost"].resized(epochs=20, batch_size=8)
    finetune(model, train, "/shared/runs/mine", recipe)
    ```
    """
    _check_backend()
    if "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ:
        keras.distribution.initialize()
    parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
    keras.distribution.set_distribution(parallel)


def shard(batch):
    """Which process this is, from 0, and of how many, for `stzoo.data.pipeline.clips`.

    Args:
        batch: int, number of clips in a batch of all devices together.

    Raises:
        ValueError: they cannot share it equally.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 0, 1
    _check_backend()
    import jax

    devices = distribution.device_mesh.devices.size
    if batch % devices:
        raise ValueError(
            f"A batch of {batch} cannot be shared equally among {devices} devices. "
            f"Choose a multiple of {devices}."
        )
    return jax.process_index(), jax.process_count()


def agree(facts, processes):
    """Waits for all processes and checks that they are about to do the same.

    Args:
        facts: what has a `repr`, and should be the same in all of them.
        processes: int, how many there are.

    Raises:
        ValueError: it is not.
    """
    if processes == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    digest = hashlib.sha256(repr(facts).encode()).digest()
    digests = process_allgather(np.frombuffer(digest, np.uint8))
    if (digests != digests[0]).any():
        raise ValueError(
            f"The {processes} processes do not do the same: their arguments, their "
            "videos or the folder differ. They must share one folder."
        )


def _check_backend():
    if keras.backend.backend() != "jax":
        raise ValueError(
            "Keras trains on several devices with JAX only. This is "
            f"{keras.backend.backend()}: set KERAS_BACKEND=jax before Keras is "
            "imported, or train on one device."
        )
