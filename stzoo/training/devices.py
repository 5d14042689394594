"""Data-parallel training with Keras on several devices of one or more machines.

Each device has the same weights and takes its share of each batch. Everything,
including the statistics of batch norms, is computed over the whole batch. So the result
is that of one device, except for rounding.
"""

import hashlib
import os

import keras
import numpy as np


def distribute():
    """Distributes each batch over all devices, for models that are built afterwards.

    On several machines, run the same program on each of them, and call
    `keras.distribution.initialize` first. If its environment variables are set
    (`KERAS_DISTRIBUTION_JOB_ADDRESSES`, `..._NUM_PROCESSES`, `..._PROCESS_ID`), this
    function calls it. Nothing may be computed before.

    Raises:
        ValueError: the backend is not JAX.

    Example: two machines. The first one is 10.0.0.1, where `process` is 0. It is 1 on
    the other one.

    ```python
    from stzoo.training.devices import distribute
    from stzoo.training.finetune import finetune
    from stzoo.training.recipes import RECIPES

    keras.utils.set_random_seed(0)
    keras.distribution.initialize("10.0.0.1:1234", 2, process)  # not for one machine
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
    """Returns the index of this process and the number of processes.

    `stzoo.data.pipeline.clips` takes them.

    Args:
        batch: int, number of clips in a batch over all devices.

    Raises:
        ValueError: the devices cannot share the batch equally.
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
    """Waits for all processes and checks that they run the same training.

    Args:
        facts: object whose `repr` must be the same in all processes.
        processes: int, number of processes.

    Raises:
        ValueError: the processes differ.
    """
    if processes == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    digest = hashlib.sha256(repr(facts).encode()).digest()
    digests = process_allgather(np.frombuffer(digest, np.uint8))
    if (digests != digests[0]).any():
        raise ValueError(
            f"The {processes} processes do not run the same training: their arguments, "
            "their videos or the folder differ. They must share one folder."
        )


def _check_backend():
    if keras.backend.backend() != "jax":
        raise ValueError(
            "Training on several devices needs JAX. The backend is "
            f"{keras.backend.backend()}: set KERAS_BACKEND=jax before Keras is "
            "imported, or train on one device."
        )
