"""Reads what a repository of transformers says of its classes and of its input.

Wolf et al.: Transformers, State-of-the-Art Natural Language Processing. EMNLP 2020.
https://github.com/huggingface/transformers
"""

import dataclasses
import json
import logging
import re

from stzoo.weights import hub

logger = logging.getLogger("stzoo")
PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")


def described(source):
    """Returns a source with the classes and pixel values that its repository states.

    `id2label` of config.json has the order of the classes. `image_mean` and `image_std`
    of the configuration of the processor have the normalization. What a repository does
    not state, or states in a form that is not known, stays as in the entry.

    Args:
        source: `stzoo.weights.checkpoint.Source`.

    Returns:
        The same source if its weights are not in a repository of transformers.
    """
    if not source.config.repository or "://" in source.config.repository:
        return source
    config, known = source.config, _json(source.where, hub.CONFIG)
    labels = in_order_of(known.get("id2label"), config.labels)
    for name in PROCESSORS:
        if processor := _json(source.where, name):
            clip = normalized_as(processor, config.clip)
            break
    else:
        clip = config.clip
    changed = dataclasses.replace(config, labels=labels, clip=clip)
    return dataclasses.replace(source, config=changed)


def in_order_of(id2label, known):
    """Returns class names in the order of a config.json.

    Args:
        id2label: dict from the number of a class, a string, to its name.
        known: tuple of strings, our names of the same classes, which can differ in
            letter case and punctuation ("Pushing [something]").

    Returns:
        Tuple of strings. Our names are used if the classes are the same. Without a
        name for each class, or with "LABEL_0", ..., it is `known`.
    """
    if not isinstance(id2label, dict) or len(id2label) != len(known):
        return known
    theirs = [id2label.get(str(number)) for number in range(len(known))]
    if not all(isinstance(name, str) for name in theirs):
        return known
    if all(re.fullmatch(r"LABEL_\d+", name) for name in theirs):
        return known
    ours = {_letters(name): name for name in known}
    return tuple(ours.get(_letters(name), name) for name in theirs)


def normalized_as(processor, clip):
    """Returns a `ClipConfig` with the mean and standard deviation of a processor."""
    mean, std = (processor.get(f"image_{name}") for name in ("mean", "std"))
    scale = processor.get("rescale_factor", 1 / 255)
    try:
        mean, std = (tuple(float(v) / scale for v in values) for values in (mean, std))
        return dataclasses.replace(clip, mean=mean, std=std)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        logger.info("The normalization of a processor is not known (%r).", error)
        return clip


def _letters(name):
    """Returns a name without what can differ between lists of the same classes."""
    return re.sub(r"\W|_", "", name).casefold()


def _json(where, filename):
    """Returns a dict from a file of a repository, empty if there is no such file."""
    try:
        found = json.loads(hub.fetch(where, filename).read_bytes())
    except (OSError, ValueError) as error:
        logger.info("%s has no %s that can be read (%s).", where, filename, error)
        return {}
    return found if isinstance(found, dict) else {}
