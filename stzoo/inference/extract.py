"""Resumable, sharded feature extraction."""

from stzoo.data.reading import Reading
from stzoo.inference.parts import Job, compute_parts, describe
from stzoo.inference.views import predict_views
from stzoo.layers.network import Network


def extract(
    model,
    videos,
    folder,
    layer="avgpool",
    views="1x1",
    shard=(0, 1),
    format="npz",
    num_workers=4,
    progress=iter,
    engine="local",
    sample_fps=None,
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
        num_workers: int, number of threads that decode, on Ray of each worker.
        progress: function that takes the list of parts to be computed and yields
            them, for a progress bar.
        engine: `"local"`, or `"ray"` (needs ray) for the workers of a Ray cluster: the
            one in `RAY_ADDRESS`, or else one that is started on this machine. They
            must have stzoo, and read the videos by the same paths. A part whose worker
            dies is computed again by the next one.
        sample_fps: float, see `stzoo.predict`.

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
        outputs = predict_views(network, clips)
        axes = tuple(range(1, outputs.ndim - 1))
        return outputs.mean(axes, dtype="float32")

    reading = Reading(views, num_workers, sample_fps=sample_fps)
    job = Job(
        features,
        width=network.output.shape[-1],
        clip=model.stzoo.clip,
        reading=reading,
        run=describe(network, layer=layer, format=format),
        format=format,
    )
    return compute_parts(job, videos, folder, shard, engine, progress)
