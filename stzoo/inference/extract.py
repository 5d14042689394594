"""Resumable, sharded feature extraction."""

from stzoo.data.reading import Reading
from stzoo.inference.network import with_output
from stzoo.inference.parts import Job, compute_parts, describe
from stzoo.inference.views import predict_views


def extract(
    model,
    videos,
    folder,
    layer="avgpool",
    views="1x1",
    *,
    shard=(0, 1),
    format="npz",
    reading=Reading(),
    engine="local",
    progress=iter,
):
    """Extracts features of videos and writes them to a folder.

    Args:
        model: a model of the zoo.
        videos: `stzoo.data.datasets.Videos`.
        folder: path. It is created if it does not exist. An interrupted extraction
            resumes with the same folder.
        layer: string, the layer whose output is extracted. It is averaged over frames,
            height, width and views. `"avgpool"` is the input of the head. An exported
            model has no other layer.
        views: string, clips x crops.
        shard: tuple of two ints, the index of the shard to compute and the number of
            shards. All shards use the same folder.
        format: `"npz"` or `"parquet"` (needs pyarrow). Each file has the columns
            `path`, `features`, float32 `(videos, channels)`, and `error`. If a video
            cannot be decoded, `error` has the message and the features are NaN. In
            Parquet, bytes of a path that are not UTF-8 are `\\udc80` to `\\udcff`.
        reading: `stzoo.data.reading.Reading`, how videos are read: the number of
            threads (of each Ray worker), the decoder, and the frame rate.
        engine: `"local"`, or `"ray"` (needs ray) for the workers of a Ray cluster. Its
            address is `RAY_ADDRESS`. Without it, a cluster is started on this machine.
            The workers must have stzoo and the same paths of videos. If a worker dies,
            another one computes its part again.
        progress: function that takes the list of parts to compute and yields its
            items, for a progress bar.

    Returns:
        Dict, the manifest: the files in order, the number of videos, and the videos
        that failed. `None` if parts of other shards are still missing.

    Raises:
        ValueError: there is no such layer, or the folder has another extraction.
        ChildProcessError: all Ray workers that computed some parts died. The other
            parts are complete.
    """
    network, width = with_output(model, layer)

    def features(clips):
        outputs = predict_views(network, clips)
        axes = tuple(range(1, outputs.ndim - 1))
        return outputs.mean(axes, dtype="float32")

    job = Job(
        features,
        width=width,
        clip=model.stzoo.clip,
        reading=reading,
        run=describe(network, layer=layer, format=format),
        views=views,
        format=format,
    )
    return compute_parts(job, videos, folder, shard, engine, progress)
