"""Resumable, sharded work on a list of videos.

A list of videos is split into parts of `PART` videos. The file of a part is written
atomically. A run computes only missing parts, so it resumes after a crash, and several
runs can compute different shards. The manifest is written when all parts exist. A part
is computed in this process or by a worker of a Ray cluster. This process writes it.
"""

import hashlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stzoo.data.files import printable
from stzoo.data.reading import Reading
from stzoo.inference.network import fingerprint
from stzoo.inference.views import map_videos
from stzoo.weights.config import ClipConfig
from stzoo.writer import recover, write

logger = logging.getLogger("stzoo")
ENGINES = ("local", "ray")
FORMATS = ("npz", "parquet")
PART = 256  # videos in a part
TRIES = 4  # attempts to compute a part whose worker dies
MANIFEST = "manifest.json"
RUN = "run.json"
_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")  # as `printable` writes it


@dataclass(frozen=True)
class Job:
    """What is computed for each video.

    Args:
        function: function from `Views`, or from an array of clips, to an array
            `(clips, width)`.
        width: int, number of values for each video.
        clip: `stzoo.weights.config.ClipConfig`, the input of the model.
        reading: `stzoo.data.reading.Reading`.
        run: dict that identifies the job, see `describe`.
        views: string, clips x crops.
        format: `"npz"` or `"parquet"`.
    """

    function: Callable
    width: int
    clip: ClipConfig
    reading: Reading
    run: dict
    views: str = "1x1"
    format: str = "npz"

    def __post_init__(self):
        if self.format not in FORMATS:
            raise ValueError(
                f'format must be "npz" or "parquet". Received: {self.format!r}.'
            )

    def compute(self, paths):
        """Computes a part. Returns its file as bytes."""
        rows = list(
            map_videos(self.function, paths, self.clip, self.views, self.reading)
        )
        nothing = np.full(self.width, np.nan, "float32")
        features = np.stack([nothing if row is None else row for row, _ in rows])
        errors = [error for _, error in rows]
        return _serialize(list(paths), features, errors, self.format)


def describe(model, **what):
    """Returns a dict that identifies a job: the model, its weights, and other values.

    Args:
        model: a model of the zoo.
        **what: further values that JSON can represent.
    """
    return {**what, "model": model.stzoo.name, "weights": fingerprint(model)}


def compute_parts(job, videos, folder, shard=(0, 1), engine="local", progress=iter):
    """Computes the missing parts of a list, see `stzoo.inference.extract`.

    Args:
        job: `Job`.
        videos: `stzoo.data.datasets.Videos`.
        folder, shard, engine, progress: see `stzoo.inference.extract.extract`.

    Returns:
        Dict, the manifest, or `None` while parts of other shards are missing.
    """
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(
            "shard must be the index of a shard and the number of shards, such as "
            f"(0, 16). Received: {shard}."
        )
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}. Received: {engine!r}.")
    folder = Path(folder)
    ensure_same_run(folder, job.run | _listed(videos, job))
    numbers = range(-(-len(videos) // PART))
    names = [f"part-{number:06}.{job.format}" for number in numbers]
    mine = [
        n for n in numbers[shard[0] :: shard[1]] if not (folder / names[n]).exists()
    ]
    missing = {names[n]: videos.paths[n * PART : (n + 1) * PART] for n in mine}
    compute = compute_on_ray if engine == "ray" and missing else compute_here
    for _, (name, data) in zip(progress(mine), compute(job, missing), strict=True):
        write(folder, {name: data})
    if not all((folder / name).exists() for name in names):
        return None
    manifest = _manifest(folder, names)
    write(folder, {MANIFEST: _json(manifest)})
    return manifest


def ensure_same_run(folder, run, kind="extraction", writes=True):
    """Writes the description of a run to a folder, or checks that it is the same run.

    Args:
        folder: `pathlib.Path`.
        run: dict of values that JSON can represent.
        kind: string, the kind of run for the error message.
        writes: bool, whether this process writes.

    Raises:
        ValueError: the folder has another run.
    """
    recover(folder)
    path = folder / RUN
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
        if differ := [key for key in run if known.get(key) != run[key]]:
            raise ValueError(
                f"{folder} has another {kind}, with different {', '.join(differ)}. "
                "Choose another folder, or delete this one."
            )
    elif writes:
        write(folder, {RUN: _json(run)})


def read_part(path):
    """Reads a part: paths, features and errors, see `stzoo.inference.extract`."""
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


def compute_here(job, missing):
    """Computes parts in this process. Yields their names and bytes."""
    for name, paths in missing.items():
        yield name, job.compute(paths)


class _Worker:
    """A Ray actor with a job and its model."""

    def __init__(self, job):
        self.job = job

    def compute(self, name, paths):
        return name, self.job.compute(paths)


def compute_on_ray(job, missing):
    """Computes parts on a Ray cluster. Yields names and bytes, unordered."""
    import ray

    pool = _ray_pool(job, len(missing))
    for item in missing.items():
        pool.submit(lambda actor, item: actor.compute.remote(*item), item)
    left = set(missing)
    while pool.has_next():
        try:
            name, data = pool.get_next_unordered()
        except ray.exceptions.RayActorError as error:
            logger.error("%s", error)
        else:
            left.remove(name)
            yield name, data
    if left:
        first = min(left)
        raise ChildProcessError(
            f"{len(left)} parts are missing, because the workers that computed them "
            f"died. The part {first} begins with {missing[first][0]}. Perhaps a video "
            "crashes the decoder or needs too much memory. The next call tries again."
        )


def _ray_pool(job, most):
    """Creates workers: one for each GPU, or for every `num_workers` cores."""
    import ray
    from ray.util import ActorPool

    env = {}
    if "keras" in sys.modules:
        from keras.config import backend

        env = {"KERAS_BACKEND": backend()}
    if not ray.is_initialized():
        ray.init()
    has = ray.cluster_resources()
    count = int(has.get("GPU") or has["CPU"] // job.reading.num_workers)
    worker = ray.remote(_Worker).options(
        num_cpus=1,
        num_gpus=1 if has.get("GPU") else 0,
        scheduling_strategy="SPREAD",
        max_restarts=-1,
        max_task_retries=TRIES - 1,
        runtime_env={"env_vars": env},
    )
    job = ray.put(job)  # Ray needs it to restart a worker
    return ActorPool([worker.remote(job) for _ in range(min(max(count, 1), most))])


def _listed(videos, job):
    """Returns a dict that identifies the list of videos and how they are read."""
    listed = hashlib.sha256(os.fsencode("\n".join(videos.paths)))
    fps = job.reading.sample_fps
    rate = {"sample_fps": fps} if fps else {}
    return {
        "views": job.views,
        **rate,
        "videos": len(videos),
        "list": listed.hexdigest(),
        "part": PART,
    }


def _manifest(folder, names):
    """Returns the manifest: the files in order, and the videos that failed."""
    videos, failed = 0, []
    for name in names:
        paths, _, errors = read_part(folder / name)
        videos += len(paths)
        failed += [
            {"video": path, "error": error}
            for path, error in zip(paths, errors, strict=True)
            if error
        ]
    return {"parts": names, "videos": videos, "failed": failed}


def _serialize(paths, features, errors, format):
    """Returns the file of a part as bytes."""
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
