"""The model card: the README.md of a folder or of a repository of the Hub.

A card that `stzoo` writes ends with a comment that holds the hash of what stands above.
A card whose hash does not fit was edited, so it belongs to its author and stays.
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
    "curves.png": "The training, epoch by epoch",
    "confusion.png": "Which class is taken for which",
}
TASK = "video-classification"
FEW = 20  # classes that are shown at once; more are folded
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

`{builder}` names the action in a video: one of {classes} classes. It is a model of
`stzoo`, video action recognition in Keras 3.

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
LIMITS = """## Intended use and limits

The model is for research and for sorting videos that look like those of its training.
It gives one of its classes for each video, even if the video shows none of them. The
accuracy holds for videos like those it was measured on. Measure it on your own videos
first: `stzoo evaluate DATA --model {where}`. It is not fit for decisions about people.

"""


def files(config, folder, repository="", coming=()):
    """The card of a folder, for `stzoo.writer.write`.

    Args:
        config: `ModelConfig`, what the folder holds or will hold.
        folder: path.
        repository: string, `"organisation/name"` if the card is for the Hub.
        coming: names of pictures that will be there.

    Returns:
        Dict from `"README.md"` to bytes. Empty if the card that is there was edited.
    """
    if not _is_ours(folder):
        logger.info("%s was edited, so it stays as it is.", Path(folder) / CARD)
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
    """The text of a card.

    Args:
        config: `ModelConfig`.
        where: string, what `stzoo.load` is given.
        found: list of `huggingface_hub.EvalResult`, what was measured.
        pictures: names out of `PICTURES`.
        title: string; the name of the weights by default.
    """
    title = title or config.name
    extras = "tensorflow,flow" if config.clip.uses_flow else "tensorflow"
    body = USE.format(
        title=_plain(title),
        builder=config.builder,
        classes=config.classes,
        extras=extras,
        where=json.dumps(where),
        fence="`" * 3,
    )
    body += f"## Results\n\n<!-- results -->\n{_table(found)}<!-- /results -->\n\n"
    body += _origin(config) + _input(config.clip) + _classes(config)
    body += "".join(f"![{PICTURES[name]}]({name})\n\n" for name in pictures)
    body += LIMITS.format(where=shlex.quote(where))
    data = _metadata(config, found, title)
    if where == f"hf://{data.base_model}":  # a model of the same name, changed
        data.base_model = None
    front = data.to_yaml()
    return _stamped(_printable(f"---\n{front}\n---\n\n{body}"))


def _is_ours(folder):
    """Whether there is no card in a folder, or one that `stzoo` may replace."""
    try:
        return is_generated(writer.read(folder, CARD))
    except FileNotFoundError:
        return True
    except OSError:  # what cannot be read may be anything
        return False


def is_generated(data):
    """Whether a card is as `stzoo` wrote it.

    Args:
        data: bytes.
    """
    whole = data.decode("utf-8", "replace").replace("\r\n", "\n")  # as git may have it
    stamp = STAMP.search(whole)
    return bool(stamp) and _digest(whole[: stamp.start()]) == stamp[1]


def results(config, evaluation=None):
    """What was measured of a model, as the Hub has it in its `model-index`.

    Args:
        config: `ModelConfig`.
        evaluation: dict, the fields of `stzoo.inference.evaluate.Evaluation`, or `None`
            for what `config.measured` says.

    Returns:
        List of `huggingface_hub.EvalResult`. Accuracies are shares from 0 to 1.
    """
    found = []
    if evaluation is None:
        shares = {
            key: round(value / 100, 6)
            for key, value in config.measured.items()
            if key.startswith("top") and _is_number(value)
        }
        evaluation = {**config.measured, **shares}
    for key, kind, name in (
        ("top1", "accuracy", "top-1 accuracy"),
        ("top5", "accuracy", "top-5 accuracy"),
        ("mean_class_accuracy", "mean_class_accuracy", "mean class accuracy"),
        ("mean_average_precision", "mean_average_precision", "mean average precision"),
    ):
        if _is_number(evaluation.get(key)):
            name += f", views {evaluation['views']}" if evaluation.get("views") else ""
            found.append(_result(config, kind, name, evaluation[key], evaluation))
    chosen_by = config.training.get("validation")
    if isinstance(chosen_by, dict) and _is_number(chosen_by.get("accuracy")):
        name = "top-1 accuracy, videos that chose the epoch"
        one = _result(config, "accuracy", name, chosen_by["accuracy"], chosen_by)
        one.dataset_split = "validation"
        found.append(one)
    return found


def with_results(data, new, name):
    """A card with more results. All else in it stays.

    Args:
        data: bytes, the card.
        new: list of `huggingface_hub.EvalResult`. They replace those of the same name
            on the same data.
        name: string, of the model, for a card without a `model-index`.

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
        except Exception as error:  # of a parser, or of values of any kind
            problem = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"its metadata cannot be read ({problem})") from None
        metadata_save(path, {**metadata, "model-index": index})
        changed = path.read_bytes().decode("utf-8", "surrogateescape")
    changed = TABLE.sub(lambda found: found[1] + table + found[2], changed)
    if is_generated(data):
        changed = _stamped(STAMP.sub("", changed))
    return changed.encode("utf-8", "surrogateescape")


def _merge(there, entry):
    """Puts the metrics of an entry of a `model-index` among those that are there."""
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
        dataset_type=config.dataset or "videofolder",  # the Hub's word for it
        dataset_name=config.dataset or "own videos",
        metric_type=kind,
        metric_name=name,
        metric_value=float(value),  # NumPy's are no YAML
        metric_args=arguments or None,
    )


def _evaluation(config, folder):
    """What an evaluation of these weights has left in the folder, or `None`."""
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
        "%s is not of the weights beside it, so the card leaves it out. Evaluate the "
        "model of the folder.",
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
        metrics=["accuracy"],
        tags=["stzoo", "keras", TASK, "action-recognition", config.builder],
        model_name=title if found else None,
        eval_results=found or None,
    )


def base_repository(config):
    """The repository of the base model on the Hub, or `""` where it is not known.

    Weights of the zoo by their name are on the Hub under STZOO_HUB_NAMESPACE.
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
    """What was measured, as a table."""
    if not found:
        return "The model was not measured yet.\n"
    rows = ["| measure | value | videos | data |", "|---|---|---|---|"]
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
    by = f"\nDecoded by {_plain('; '.join(sorted(decoders)))}.\n" if decoders else ""
    return "\n".join(rows) + "\n" + by


def _origin(config):
    """Where the weights come from."""
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
        lines.append(f"Reported by the source: {', '.join(reported)}")
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
    of = f"one frame of {clip.stride}"
    if clip.sampling == "segments":
        of = "one frame of each segment"
    if clip.snippet > 1:
        of = f"snippets of {clip.snippet} frames, {of}"
    kind = "optical flow" if clip.uses_flow else "RGB"
    size = f"{clip.height or 'any'}x{clip.width or 'any'}"
    frames = f"{clip.frames or 'any number of'} frames"
    return (
        f"## Input\n\nClips of {frames} of {kind}, {of}; "
        f"shorter side {clip.short_side} pixels, crop {size} (height x width).\n"
        "`stzoo.predict` prepares them.\n\n"
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
    """A text as Markdown that shows it as it is, in one line, with its links."""

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
