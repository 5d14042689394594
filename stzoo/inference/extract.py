"""What a network says of each video of a list: in parts, which survive a crash.

A list of videos is cut into parts of `PART` videos. A part is computed and written
whole, or it is not there. Whoever runs next, after a crash or beside others on other
shards, computes parts that are missing and nothing twice. When all are there, a
manifest says so. A part is computed in this process, or by a worker of a Ray cluster;
this process writes it.
"""

import functools
import hashlib
import io
import itertools
import json
import logging
import os
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
from keras import ops

from stzoo.backend import clips_at_once
from stzoo.data.decoders import open_video
from stzoo.data.files import printable
from stzoo.data.sampling import parse_views
from stzoo.data.transforms import Views
from stzoo.layers.network import Network
from stzoo.weights.checkpoint import write

logger = logging.getLogger("stzoo")
ENGINES = ("local", "ray")
PART = 256  # videos in a part
_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")  # as `printable` writes it
TRIES = 4  # how often Ray computes a part whose worker dies
MANIFEST = "manifest.json"
RUN = "run.json"


def extract(
    model,
    videos,
    folder,
    layer="avgpool",
    views="1x1",
    shard=(0, 1),
    format="npz",
    workers=4,
    progress=iter,
    engine="local",
):
    """Writes the features of videos.

    Args:
        model: a model of the zoo.
        videos: `stzoo.data.datasets.Videos`.
        folder: path; made if it is not there. If it holds a part of the same
            extraction, the rest is done.
        layer: string, the layer whose output is taken, averaged over frames, height
            and width, and over the views. `"avgpool"` is what goes into the head.
        views: string, clips x crops.
        shard: tuple of two ints, which share of the parts is computed here, from 0,
            and of how many. All shards share one folder.
        format: `"npz"` or `"parquet"` (needs pyarrow). Each part has `path`,
            `features`, float32 `(videos, channels)`, and `error`, which is empty, or
            says why the video could not be decoded; its features are then NaN. In
            Parquet, bytes of a name that are not UTF-8 stand as `\\udc80` to `\\udcff`.
        workers: int, number of threads that decode, on Ray of each worker.
        progress: function that takes the list of parts to be computed and yields
            them, for a progress bar.
        engine: `"local"`, or `"ray"` (needs ray) for the workers of a Ray cluster: the
            one in `RAY_ADDRESS`, or else one that is started on this machine. They
            must have stzoo, and read the videos by the same paths. A part whose worker
            dies is computed again by the next one.

    Returns:
        Dict, the manifest: the files in order, the number of videos, and the videos
        that failed; or `None` while parts of other shards are missing.

    Raises:
        ValueError: there is no such layer, or the folder holds something else.
        ChildProcessError: some parts killed each worker of Ray that computed them; all
            others are done.
    """
    names = [known.name for known in model.layers]
    if layer not in names:
        raise ValueError(
            f"{model.name} has no layer {layer!r}. The last ones are: "
            f"{', '.join(names[-8:])}."
        )
    network = Network(model.input, model.get_layer(layer).output)

    def features(clips):
        outputs = in_batches(network, clips)
        axes = tuple(range(1, outputs.ndim - 1))
        return outputs.mean(axes, dtype="float32")

    about = {"layer": layer, "format": format}
    return in_parts(
        *(features, network.output.shape[-1], about, model, videos, folder),
        *(views, shard, format, workers, progress, engine),
    )


def in_parts(
    function,
    width,
    about,
    model,
    videos,
    folder,
    views,
    shard=(0, 1),
    format="npz",
    workers=4,
    progress=iter,
    engine="local",
):
    """Applies a function to all videos and writes what it says, see `extract`.

    Args:
        function: from `Views`, or an array of such, to an array `(views, width)`.
        width: int.
        about: dict, what the function is, for `run.json`.
    """
    if format not in ("npz", "parquet"):
        raise ValueError(f'format must be "npz" or "parquet". Received: {format!r}.')
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(
            f"shard is a number from 0 and how many there are, such as (0, 16). "
            f"Received: {shard}."
        )
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}. Received: {engine!r}.")
    folder = Path(folder)
    _claim(folder, _run(about, model, videos, views))
    numbers = range(-(-len(videos) // PART))
    names = [f"part-{number:06}.{format}" for number in numbers]
    mine = [
        n for n in numbers[shard[0] :: shard[1]] if not (folder / names[n]).exists()
    ]
    part = functools.partial(
        *(_part, function, width, model.stzoo.clip, views, workers, format)
    )
    jobs = {names[n]: videos.paths[n * PART : (n + 1) * PART] for n in mine}
    if engine == "ray" and jobs:
        done = _by_ray(part, jobs, workers)
    else:
        done = ((name, part(paths)) for name, paths in jobs.items())
    for _, (name, data) in zip(progress(mine), done, strict=True):
        write(folder, {name: data})
    if not all((folder / name).exists() for name in names):
        return None
    failed = []
    for name in names:
        paths, _, errors = read_part(folder / name)
        failed += [
            {"video": path, "error": error}
            for path, error in zip(paths, errors, strict=True)
            if error
        ]
    manifest = {"parts": names, "videos": len(videos), "failed": failed}
    write(folder, {MANIFEST: _json(manifest)})
    return manifest


def read_part(path):
    """What a part holds: paths, features and errors, see `extract`."""
    if Path(path).suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
        features = np.stack(table["features"].to_numpy())
        paths, errors = (
            [_BYTE.sub(lambda byte: chr(int(byte[1], 16)), text) for text in column]
            for column in (table["path"].to_pylist(), table["error"].to_pylist())
        )
        return paths, features, errors
    with np.load(path) as part:
        return part["path"].tolist(), part["features"], part["error"].tolist()


def over(function, paths, clip, views="1x1", workers=4):
    """Applies a function to videos, of which the next are decoded meanwhile.

    Args:
        function: from `Views`, or an array of such, to an array `(views, width)`.
        paths: sequence of paths.
        clip: `stzoo.weights.config.Clip`.
        views: string, clips x crops.
        workers: int, number of threads that decode.

    Yields:
        For each path a tuple: float32 `(width,)`, averaged over the views, or `None`,
        and the error, or `""`.
    """
    clips, crops = parse_views(views)
    together = max(1, clips_at_once() // (clips * crops))
    if clip.height is None:  # each video may have a size of its own
        together = 1

    def decode(path):
        try:
            with open_video(path) as video:
                return Views(video, clip, views), ""
        except (OSError, ValueError) as error:
            return None, str(error)

    ahead = max(together, 2 * workers)
    with ThreadPoolExecutor(workers) as pool:
        paths = iter(paths)
        waiting = deque(pool.submit(decode, p) for p in itertools.islice(paths, ahead))
        while waiting:
            group = [waiting.popleft() for _ in range(min(together, len(waiting)))]
            waiting.extend(
                pool.submit(decode, path)
                for path in itertools.islice(paths, len(group))
            )
            decoded = [future.result() for future in group]
            seen = [found for found, _ in decoded if found is not None]
            rows = iter(())
            if seen:
                batch = seen[0]
                if together > 1:  # one shape
                    full = seen + [batch] * (together - len(seen))
                    batch = np.concatenate([one[:] for one in full])
                answers = function(batch).reshape(together, clips * crops, -1)
                rows = iter(answers.mean(1))
            for found, error in decoded:
                yield (None if found is None else next(rows)), error


def in_batches(network, clips):
    """The outputs of a network for clips: a float array, the first axis theirs.

    Args:
        network: a model from clips to one output.
        clips: `Views`, or array `(clips, frames, height, width, channels)` of 0 to 255.
    """
    most = min(clips_at_once(), len(clips))
    # 30 views are five batches of 6: of 8, the last would be full of copies.
    size = min(range(most, most // 2, -1), key=lambda size: -len(clips) % size)
    outputs = []
    for start in range(0, len(clips), size):
        rows = np.arange(start, start + size).clip(max=len(clips) - 1)
        outputs.append(ops.convert_to_numpy(network.predict_on_batch(clips[rows])))
    return np.concatenate(outputs)[: len(clips)]


def _part(function, width, clip, views, workers, format, paths):
    """Computes a part, as the bytes of its file."""
    rows = list(over(function, paths, clip, views, workers))
    nothing = np.full(width, np.nan, "float32")
    features = np.stack([nothing if row is None else row for row, _ in rows])
    errors = [error for _, error in rows]
    return _serialize(list(paths), features, errors, format)


class _Worker:
    """Holds a model on Ray, within the function that computes a part."""

    def __init__(self, part):
        self.part = part

    def compute(self, name, paths):
        return name, self.part(paths)


def _by_ray(part, jobs, workers):
    """Computes parts on a Ray cluster; yields names and bytes, as they are ready."""
    import ray
    from ray.util import ActorPool

    if not ray.is_initialized():
        ray.init()
    has = ray.cluster_resources()
    count = int(has.get("GPU") or has["CPU"] // workers)
    worker = ray.remote(_Worker).options(
        num_cpus=1,
        num_gpus=1 if has.get("GPU") else 0,
        scheduling_strategy="SPREAD",
        max_restarts=-1,
        max_task_retries=TRIES - 1,
        runtime_env={"env_vars": {"KERAS_BACKEND": keras.backend.backend()}},
    )
    part = ray.put(part)  # must stay: a worker that is replaced starts from it
    count = min(max(count, 1), len(jobs))
    pool = ActorPool([worker.remote(part) for _ in range(count)])
    for job in jobs.items():
        pool.submit(lambda actor, job: actor.compute.remote(*job), job)
    missing = set(jobs)
    while pool.has_next():
        try:
            name, data = pool.get_next_unordered()
        except ray.exceptions.RayActorError as error:
            logger.error("%s", error)
        else:
            missing.remove(name)
            yield name, data
    if missing:
        first = min(missing)
        raise ChildProcessError(
            f"{len(missing)} parts are missing, as each worker died that computed one "
            f"of them; {first} begins with {jobs[first][0]}. A video may be too much "
            "for the decoder or for the memory. The next call tries them again."
        )


def _run(about, model, videos, views):
    """What makes an extraction this one and no other."""
    weights = hashlib.sha256()
    for variable in model.weights:
        weights.update(np.ascontiguousarray(ops.convert_to_numpy(variable)))
    listed = hashlib.sha256(os.fsencode("\n".join(videos.paths)))
    return about | {
        "model": model.stzoo.name,
        "weights": weights.hexdigest(),
        "views": views,
        "videos": len(videos),
        "list": listed.hexdigest(),
        "part": PART,
    }


def _claim(folder, run):
    """Writes what a folder is for, or checks that it is for this."""
    path = folder / RUN
    if not path.exists():
        return write(folder, {RUN: _json(run)})
    known = json.loads(path.read_text("utf-8"))
    if differ := [key for key in run if known.get(key) != run[key]]:
        raise ValueError(
            f"{folder} holds another extraction: it differs in {', '.join(differ)}. "
            "Choose another folder, or delete this one."
        )


def _serialize(paths, features, errors, format):
    """The bytes of a part."""
    file = io.BytesIO()
    if format == "npz":
        np.savez(file, path=paths, features=features, error=errors)
    else:
        import pyarrow
        from pyarrow import parquet

        flat = pyarrow.array(features.ravel())
        column = pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])
        paths, errors = map(printable, paths), map(printable, errors)
        columns = {"path": list(paths), "features": column, "error": list(errors)}
        parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def _json(value):
    return (printable(json.dumps(value, indent=2, ensure_ascii=False)) + "\n").encode()
