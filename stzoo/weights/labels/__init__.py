"""The names of the classes of published data sets, in the order of the logits.

There is a text file for each data set, with a name in each line.

| data set          | order                                                           |
|-------------------|-----------------------------------------------------------------|
| `kinetics400`     | alphabetical: mmaction2, GluonCV, MIT's TSM, P3D's authors      |
| `something_v1`    | alphabetical: TSM, GSM; mmaction2 has another one for v1        |
| `something_v2`    | the official ids, the same 174 names as v1: TSM, GSM, mmaction2 |
| `jester`          | mmaction2, "Swiping Left" first; TSM's and GSM's line sorts it  |
| `ucf101`          | alphabetical, `classInd.txt`                                    |
| `hmdb51`          | alphabetical                                                    |
| `diving48`        | the ids of the official vocabulary                              |
| `moments_in_time` | the official `moments_categories.txt`                           |
| `activitynet`     | mmaction2                                                       |
| `imagenet`        | ILSVRC2012, the first name of each synset; the two cranes and   |
|                   | the two maillots are told apart                                 |

The names of Sports-1M (`sports1m`, 487 classes) are not known here.
"""

import functools
from pathlib import Path

_SAME = {"something_v1": "something_v2"}
_WITHOUT_NAMES = {"sports1m": 487}


def classes_of(dataset, order=tuple):
    """The classes of a data set, as arguments of `ModelConfig`.

    Args:
        dataset: string, the name of a data set.
        order: function of the names, such as `sorted`, for weights that were trained
            with another order than that of the file.

    Returns:
        Dict with `dataset`, `classes`, and `labels`, a tuple of strings, empty where
        the names are not known.
    """
    if dataset in _WITHOUT_NAMES:
        return {"dataset": dataset, "classes": _WITHOUT_NAMES[dataset]}
    labels = tuple(order(names(dataset)))
    return {"dataset": dataset, "classes": len(labels), "labels": labels}


@functools.cache
def names(dataset):
    """The names of the classes of a data set.

    Args:
        dataset: string, one of the table above.

    Returns:
        Tuple of strings.

    Raises:
        ValueError: the names of this data set are not known.
    """
    folder = Path(__file__).parent
    path = folder / f"{_SAME.get(dataset, dataset)}.txt"
    if not path.is_file():
        known = sorted({*_SAME, *(path.stem for path in folder.glob("*.txt"))})
        raise ValueError(
            f"The names of the classes of {dataset!r} are not known. Choose one of "
            f"{', '.join(known)}."
        )
    return tuple(path.read_text("utf-8").splitlines())
