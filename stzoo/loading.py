"""From a folder or an address to a model, of Keras or exported."""

from stzoo import _environment
from stzoo.deploy.runtime import load_export, read_export


def load(where, classes=None, input_shape=None, name=None):
    """Loads the model of a folder or of a repository of the Hub.

    An exported model (`stzoo.export`) needs its own runtime only: neither Keras nor
    one of its backends is imported.

    Args:
        where: path of a folder that `stzoo.save` or `stzoo.export` has written, or
            `"hf://organisation/repository@revision"`.
        classes: int, for a new head of another size.
        input_shape: tuple `(frames, height, width, channels)`, for another input.
        name: string, the name of the model.

    Returns:
        `keras.Model`, or `stzoo.deploy.runtime.Exported`, which `stzoo.predict`,
        `stzoo.evaluate` and `stzoo.extract` take like a model.

    Raises:
        FileNotFoundError: there is no such model.
        ConnectionError: it did not arrive.
        ValueError: it is there, and wrong; or it is exported, and `classes`,
            `input_shape` or `name` is given.
        ImportError: what runs it is not installed.
    """
    config = read_export(where)
    if config is None:
        _environment.check()
        from stzoo import zoo

        return zoo.load(where, classes, input_shape, name)
    if (classes, input_shape, name) != (None, None, None):
        raise ValueError(
            f"{where} is an exported model, which is fixed: classes, input_shape and "
            "name cannot be chosen. Load the model that it was made from."
        )
    return load_export(where, config)
