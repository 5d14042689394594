"""Writes the model card: the README.md of a folder, or of a repository of the Hub.

A card that `stzoo` writes ends with a comment with the hash of its text. If the hash
does not match, someone has edited the card, and it is kept.
"""

import hashlib
import html
import json
import logging
import re
import shlex
import tempfile
from numbers import Real
from pathlib import Path

from stzoo import writer
from stzoo.weights import hub

logger = logging.getLogger("stzoo")
CARD = "README.md"
EVALUATION = "evaluation.json"
PICTURES = {
    "curves.png": "Training curves",
    "confusion.png": "Confusion matrix",
}
TASK = "video-classification"
FEW = 20  # a longer list of classes is collapsed
LICENCES = frozenset(  # huggingface.co/docs/hub/repositories-licenses
    """afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-openrail-m
    bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0
    cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0
    cdla-sharing-1.0 creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr lppl-1.3c mit
    mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql
    unlicense wtfpl zlib""".split()
)
STAMP = re.compile(r"<!-- written by stzoo, sha256 ([0-9a-f]{64}) -->\n?\Z")
SPECIAL = re.compile(
    r"https?://[\w./:%?=+@~-]*[\w/]|[\\`*\[\]|~#]|(?<!\w)_|_(?!\w)|^[-+]"
)
TABLE = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
USE = """# {title}

`{builder}` recognises {what}. It is a model of
`stzoo`, a library for video action recognition in Keras 3.

## Use

{fence}sh
pip install "stzoo[{extras}]"
{fence}

{fence}python
import stzoo

model = stzoo.load({where})
for label, probability in stzoo.predict(model, "video.mp4"):
    print(label, probability)
{fence}

"""
ONE = (
    "It predicts one of its classes for each video, even if the video shows none of "
    "them."
)
SEVERAL = "It predicts all classes whose probabilities reach their thresholds, or none."
LIMITS = """## Intended use and limits

The model is for research, and for classifying videos similar to its training videos.
{answers} The
accuracy applies to videos similar to those it was measured on. Evaluate it on your own
videos first: `stzoo evaluate DATA --model {where}`. Do not use it for decisions about
people.

"""


def files(config, folder, repository="", coming=()):
    """Creates the card of a folder, for `stzoo.writer.write`.

    Args:
        config: `ModelConfig` of the model in the folder.
        folder: path.
        repository: string, `"organisation/name"` if the card is for the Hub.
        coming: names of pictures that will be written later.

    Returns:
        Dict from `"README.md"` to bytes. Empty if the existing card was edited.
    """
    if not _is_ours(folder):
        logger.info("%s was edited, so it is kept.", Path(folder) / CARD)
        return {}
    pictures = [n for n in PICTURES if n in coming or (Path(folder) / n).is_file()]
    where = f"hf://{repository}" if repository else Path(folder).resolve().name
    evaluation = _evaluation(config, folder)
    if evaluation is None and (Path(folder) / EVALUATION).exists():
        pictures = [name for name in pictures if name != "confusion.png"]
    found = results(config, evaluation)
    title = repository.rpartition("/")[2] or config.name
    return {CARD: text(config, where, found, pictures, title).encode()}


def text(config, where, found, pictures=(), title=""):
    """Creates the text of a card.

    Args:
        config: `ModelConfig`.
        where: string, the argument for `stzoo.load`.
        found: list of `huggingface_hub.EvalResult`, the results.
        pictures: names from `PICTURES`.
        title: string. Defaults to the name of the weights.
    """
    title = title or config.name
    extras = "tensorflow,flow" if config.clip.uses_flow else "tensorflow"
    what = f"the action in a video, one of {config.classes} classes"
    if config.multi_label:
        what = f"which of {config.classes} classes a video shows: none, one or several"
    body = USE.format(
        title=_plain(title),
        builder=config.builder,
        what=what,
        extras=extras,
        where=json.dumps(where),
        fence="`" * 3,
    )
    body += f"## Results\n\n<!-- results -->\n{_table(found)}<!-- /results -->\n\n"
    body += _origin(config) + _input(config.clip) + _classes(config)
    body += "".join(f"![{PICTURES[name]}]({name})\n\n" for name in pictures)
    answers = SEVERAL if config.multi_label else ONE
    body += LIMITS.format(where=shlex.quote(where), answers=answers)
    data = _metadata(config, found, title)
    if where == f"hf://{data.base_model}":  # a new version in the same repository
        data.base_model = None
    front = data.to_yaml()
    return _stamped(_printable(f"---\n{front}\n---\n\n{body}"))


def _is_ours(folder):
    """Returns whether a folder has no card, or one that was not edited."""
    try:
        return is_generated(writer.read(folder, CARD))
    except FileNotFoundError:
        return True
    except OSError:  # it cannot be read, so it may have been edited
        return False


def is_generated(data):
    """Returns whether `stzoo` wrote a card, and it was not edited.

    Args:
        data: bytes.
    """
    whole = data.decode("utf-8", "replace").replace("\r\n", "\n")  # git can change them
    stamp = STAMP.search(whole)
    return bool(stamp) and _digest(whole[: stamp.start()]) == stamp[1]


def results(config, evaluation=None):
    """Returns the results of a model, for the `model-index` of the Hub.

    Args:
        config: `ModelConfig`.
        evaluation: dict, the fields of `stzoo.inference.evaluate.Evaluation`. `None`:
            `config.measured`.

    Returns:
        List of `huggingface_hub.EvalResult`. Accuracies are fractions from 0 to 1.
    """
    found = []
    if evaluation is None:
        shares = {
            key: round(value / 100, 6)
            for key, value in config.measured.items()
            if key.startswith("top") and _is_number(value)
        }
        evaluation = {**config.measured, **shares}
    macro = evaluation.get("macro")
    if isinstance(macro, dict) and "f1" in macro:
        evaluation = {**evaluation, "macro_f1": macro["f1"]}
    for key, kind, name in (
        ("top1", "accuracy", "top-1 accuracy"),
        ("top5", "accuracy", "top-5 accuracy"),
        ("mean_class_accuracy", "mean_class_accuracy", "mean class accuracy"),
        ("mean_average_precision", "mean_average_precision", "mean average precision"),
        ("macro_f1", "f1", "macro F1"),
    ):
        if _is_number(evaluation.get(key)):
            name += f", views {evaluation['views']}" if evaluation.get("views") else ""
            found.append(_result(config, kind, name, evaluation[key], evaluation))
    chosen_by = config.training.get("validation")
    kind, name = "accuracy", "top-1 accuracy"
    if config.multi_label:
        kind, name = "mean_average_precision", "mean average precision"
    if isinstance(chosen_by, dict) and _is_number(chosen_by.get(kind)):
        name += ", validation videos"
        one = _result(config, kind, name, chosen_by[kind], chosen_by)
        one.dataset_split = "validation"
        found.append(one)
    return found


def with_results(data, new, name):
    """Adds results to a card. The rest of the card does not change.

    Args:
        data: bytes, the card.
        new: list of `huggingface_hub.EvalResult`. They replace results with the same
            name and data.
        name: string, the name of the model, for a card without a `model-index`.

    Returns:
        Bytes.

    Raises:
        ValueError: the metadata of the card cannot be read.
    """
    from huggingface_hub import metadata_load, metadata_save
    from huggingface_hub.repocard_data import (
        eval_results_to_model_index,
        model_index_to_eval_results,
    )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CARD
        path.write_bytes(data)
        try:
            metadata = metadata_load(path) or {}
            index = metadata.get("model-index") or [{"name": name, "results": []}]
            for entry in eval_results_to_model_index(name, new)[0]["results"]:
                _merge(index[0]["results"], entry)
            table = _table(model_index_to_eval_results(index)[1])
        except Exception as error:  # the parser raises many kinds
            problem = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"its metadata cannot be read ({problem})") from None
        metadata_save(path, {**metadata, "model-index": index})
        changed = path.read_bytes().decode("utf-8", "surrogateescape")
    changed = TABLE.sub(lambda found: found[1] + table + found[2], changed)
    if is_generated(data):
        changed = _stamped(STAMP.sub("", changed))
    return changed.encode("utf-8", "surrogateescape")


def _merge(there, entry):
    """Merges an entry of a `model-index` into a list of entries."""
    for old in there:
        if (old["task"]["type"], old["dataset"]) == (TASK, entry["dataset"]):
            names = {(m["type"], m["name"]) for m in entry["metrics"]}
            kept = [
                m for m in old["metrics"] if (m["type"], m.get("name")) not in names
            ]
            old["metrics"] = kept + entry["metrics"]
            return
    there.append(entry)


def _result(config, kind, name, value, measured):
    from huggingface_hub import EvalResult

    known = ("views", "videos", "decoder", "backend")
    arguments = {key: measured[key] for key in known if measured.get(key)}
    return EvalResult(
        task_type=TASK,
        task_name="Video Classification",
        dataset_type=config.dataset or "videofolder",  # a term of the Hub
        dataset_name=config.dataset or "own videos",
        metric_type=kind,
        metric_name=name,
        metric_value=float(value),  # YAML has no NumPy floats
        metric_args=arguments or None,
    )


def _evaluation(config, folder):
    """Returns the saved evaluation of these weights in a folder, or `None`."""
    try:
        found = json.loads(writer.read(folder, EVALUATION))
        same = bool(config.sha256) and found["sha256"] == config.sha256
        if same and len(found["classes"]) == config.classes:
            return found
    except OSError:
        return None
    except (KeyError, TypeError, ValueError):
        pass
    logger.info(
        "%s belongs to other weights, so it is not added to the card. Evaluate the "
        "model in this folder.",
        Path(folder) / EVALUATION,
    )
    return None


def _metadata(config, found, title):
    from huggingface_hub import ModelCardData

    licence = {"license": config.licence.lower() or None}
    if config.licence and licence["license"] not in LICENCES:
        licence = {"license": "other", "license_name": config.licence}
    return ModelCardData(
        library_name="stzoo",
        pipeline_tag=TASK,
        **licence,
        base_model=base_repository(config) or None,
        datasets=[config.dataset] if config.dataset else None,
        metrics=["mean_average_precision" if config.multi_label else "accuracy"],
        tags=["stzoo", "keras", TASK, "action-recognition", config.builder],
        model_name=title if found else None,
        eval_results=found or None,
    )


def base_repository(config):
    """Returns the repository of the base model on the Hub, or `""` if it is unknown.

    The weights of the zoo are in repositories of STZOO_HUB_NAMESPACE.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name = config.base_model.removeprefix("hf://").partition("@")[0]
    if not name.count("/"):
        name = f"{hub.namespace()}/{name}" if name and hub.namespace() else ""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return ""
    return name


def _table(found):
    """Returns the results as a table."""
    if not found:
        return "The model has not been evaluated yet.\n"
    rows = ["| metric | value | videos | data |", "|---|---|---|---|"]
    for result in found:
        value = result.metric_value
        if _is_number(value):
            value = f"{100 * value:.2f} %" if 0 <= value <= 1 else f"{value:g}"
        arguments = result.metric_args
        videos = arguments.get("videos", "") if isinstance(arguments, dict) else ""
        measure = result.metric_name or result.metric_type
        cells = (measure, value, videos, result.dataset_name)
        rows.append("| " + " | ".join(map(_plain, cells)) + " |")
    decoders = {
        result.metric_args["decoder"]
        for result in found
        if isinstance(result.metric_args, dict) and result.metric_args.get("decoder")
    }
    by = f"\nDecoder: {_plain('; '.join(sorted(decoders)))}.\n" if decoders else ""
    return "\n".join(rows) + "\n" + by


def _origin(config):
    """Returns the section about the origin of the weights."""
    lines = []
    if config.base_model:
        lines.append(f"Base model: {_plain(config.base_model)}")
    if config.source:
        lines.append(f"Source: {_plain(config.source)}")
    if config.licence:
        lines.append(f"Licence of the weights: {_plain(config.licence)}")
    reported = [
        f"{key.replace('top', 'top-')} {value:.1f} %"
        for key, value in config.reported.items()
        if key in ("top1", "top5") and _is_number(value)
    ]
    if reported:
        lines.append(f"Accuracy reported by the source: {', '.join(reported)}")
    for key, value in config.training.items():
        if not isinstance(value, dict):
            name = str(key).replace("_", " ").capitalize()
            lines.append(f"{_plain(name)}: {_plain(value)}")
    if not lines:
        return ""
    return (
        "## Origin and training\n\n" + "".join(f"* {line}\n" for line in lines) + "\n"
    )


def _input(clip):
    of = f"one of every {clip.stride} frames"
    if clip.sampling == "segments":
        of = "one frame from each segment"
    if clip.snippet > 1:
        of = f"snippets of {clip.snippet} frames, {of}"
    kind = "optical flow" if clip.uses_flow else "RGB"
    size = f"{clip.height or 'any'}x{clip.width or 'any'}"
    frames = f"{clip.frames or 'any number of'} frames"
    return (
        f"## Input\n\nClips of {frames} of {kind}, {of}; "
        f"shorter side {clip.short_side} pixels, crop {size} (height x width).\n"
        "`stzoo.predict` prepares the clips.\n\n"
    )


def _classes(config):
    if not config.labels:
        return ""
    lines = "".join(f"* {_plain(label)}\n" for label in config.labels)
    if len(config.labels) > FEW:
        title = f"<summary>{len(config.labels)} classes</summary>"
        lines = f"<details>{title}\n\n{lines}\n</details>\n"
    return f"## Classes\n\n{lines}\n"


def _plain(value):
    """Escapes a text for Markdown, on one line, and keeps its links."""

    def shown(found):
        return f"<{found[0]}>" if found[0].startswith("http") else "\\" + found[0]

    line = html.escape(" ".join(str(value).split()), quote=False)
    return SPECIAL.sub(shown, line)


def _printable(text):
    return text.encode("utf-8", "backslashreplace").decode()


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _stamped(text):
    return f"{text}<!-- written by stzoo, sha256 {_digest(text)} -->\n"


def _digest(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
