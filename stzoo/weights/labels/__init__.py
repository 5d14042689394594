"""Names of the classes of published data sets, in the order of the logits.

Each data set has a text file with one name per line.

| data set          | order                                                           |
|-------------------|-----------------------------------------------------------------|
| `kinetics400`     | alphabetical: mmaction2, GluonCV, TSM, P3D                      |
| `something_v1`    | alphabetical: TSM, GSM, TRN                                     |
| `something_v2`    | the official ids, the same 174 names as v1: TSM, GSM, mmaction2 |
| `jester`          | mmaction2, "Swiping Left" first; entries of TSM and GSM sort it |
| `ucf101`          | alphabetical, `classInd.txt`                                    |
| `hmdb51`          | alphabetical                                                    |
| `diving48`        | the ids of the official vocabulary                              |
| `moments_in_time` | the official `moments_categories.txt`                           |
| `activitynet`     | mmaction2                                                       |
| `imagenet`        | ILSVRC2012, the first name of each synset, made unique for the  |
|                   | two cranes and the two maillots                                 |

`something_v1_official` has the names of `something_v1` in the order of their official
ids, as in mmaction2.

Sports-1M (`sports1m`, 487 classes) has no file of names.
"""

import functools
from pathlib import Path

_SAME = {"something_v1": "something_v2"}
_WITHOUT_NAMES = {"sports1m": 487}


def classes_of(dataset, order=tuple):
    """Returns the classes of a data set, as arguments of `ModelConfig`.

    Args:
        dataset: string, the name of a data set.
        order: function of the names, such as `sorted`, for weights whose classes have
            another order than the file.

    Returns:
        Dict with `dataset`, `classes`, and `labels`, a tuple of strings. There are no
        `labels` if the data set has no file of names.
    """
    if dataset in _WITHOUT_NAMES:
        return {"dataset": dataset, "classes": _WITHOUT_NAMES[dataset]}
    labels = tuple(order(names(dataset)))
    return {"dataset": dataset, "classes": len(labels), "labels": labels}


@functools.cache
def names(dataset):
    """Returns the names of the classes of a data set.

    Args:
        dataset: string, see the table of this module.

    Returns:
        Tuple of strings.

    Raises:
        ValueError: there is no file of names for this data set.
    """
    folder = Path(__file__).parent
    path = folder / f"{_SAME.get(dataset, dataset)}.txt"
    if not path.is_file():
        known = sorted({*_SAME, *(path.stem for path in folder.glob("*.txt"))})
        raise ValueError(
            f"There are no class names for the data set {dataset!r}. Choose one of "
            f"{', '.join(known)}."
        )
    return tuple(path.read_text("utf-8").splitlines())
