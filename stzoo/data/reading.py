"""How the videos of a list are read: one record for training, measuring, extracting."""

import dataclasses
from dataclasses import dataclass

from stzoo.data.decoders import open_video
from stzoo.data.sampling import parse_views
from stzoo.data.transforms import Views


@dataclass(frozen=True)
class Reading:
    """How the videos of a list are read.

    Args:
        views: string, clips x crops whose answers are averaged; `"10x3"` is the
            protocol of the papers. Training reads one random clip instead.
        num_workers: int, number of threads that decode.
        decoder: string, see `stzoo.data.decoders.open_video`.
        skip: bool. In training, a video that cannot be decoded is an error, or, with
            `skip=True`, it is logged, and the next one of the list stands in its place
            (without `drop_remainder`: a black clip that has no weight). Measuring and
            extracting always go on, and name what failed.
        sample_fps: float, see `stzoo.weights.config.ClipConfig`, instead of what the
            model says. `None`: as the model says.
    """

    views: str = "1x1"
    num_workers: int = 4
    decoder: str = "av"
    skip: bool = False
    sample_fps: float | None = None

    @property
    def count(self):
        """How many views each video has."""
        clips, crops = parse_views(self.views)
        return clips * crops

    def read(self, path, clip):
        """Reads the views of a video.

        Args:
            path: string, path or URL.
            clip: `stzoo.weights.config.ClipConfig`, how the model is fed.

        Returns:
            Tuple of `Views` and `""`, or of `None` and why they cannot be read.
        """
        try:
            with open_video(path, self.decoder) as video:
                return Views(video, self.timed(clip), self.views), ""
        except (OSError, ValueError) as error:
            return None, str(error)

    def timed(self, clip):
        """How a model is fed, at the frame rate that was asked for."""
        if self.sample_fps is None:
            return clip
        return dataclasses.replace(clip, sample_fps=self.sample_fps)
