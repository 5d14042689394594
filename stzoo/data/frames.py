"""A video that is a folder of images, as Jester and Something-Something v1 are."""

import re

import numpy as np

from stzoo.data import files
from stzoo.data.transforms import resize
from stzoo.data.video import scaled_size


class Frames:
    """The frames of a folder of images, in the order of the numbers in their names.

    It is read as a `stzoo.data.video.Video` is.

    Args:
        folder: path or URL of a folder with images `00001.jpg`, `00002.jpg`, or
            `img_00001.jpg` and so on.

    Raises:
        ValueError: if there are no images, or those of several series.

    Attributes:
        size: tuple of ints `(height, width)` in pixels, that of the first image.
    """

    def __init__(self, folder):
        self.name = str(folder)
        names = [name for name in files.listing(self.name) if files.is_image(name)]
        numbers = {name: re.findall(r"\d+", name)[-1:] for name in names}
        series = {re.sub(r"\d+\.\w+$", "", name) for name in names}
        if not names:
            raise ValueError(f"{self.name} has no images in it. Check the path.")
        if len(series) > 1 or not all(numbers.values()):
            raise ValueError(
                f"{self.name}: its images must be called by numbers, such as "
                f"00001.jpg, and be of one series. Received: {sorted(series)[:5]}."
            )
        self._names = sorted(names, key=lambda name: int(numbers[name][0]))
        self.size = self._image(0).shape[:2]

    def __len__(self):
        return len(self._names)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def read(self, indices, short_side=None):
        """Reads the frames that are asked for, as `Video.read` does.

        Args:
            indices: sequence of ints from 0 to `len(frames) - 1`, in any order.
            short_side: int, pixels of the shorter side, or `None` as they are.

        Returns:
            uint8 array `(len(indices), height, width, 3)`, RGB.

        Raises:
            ValueError: if an index is out of range, or if an image cannot be read or
                is of another size than the first.
        """
        indices = np.asarray(indices, dtype=int).reshape(-1)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise ValueError(
                f"{self.name} has {len(self)} frames, 0 to {len(self) - 1}. "
                f"Received indices from {indices.min()} to {indices.max()}."
            )
        result = np.empty((len(indices), *scaled_size(self.size, short_side), 3), "u1")
        for index in np.unique(indices):
            image = self._image(index)
            if image.shape[:2] != self.size:
                raise ValueError(
                    f"{self.name}/{self._names[index]} has the size {image.shape[:2]}, "
                    f"but the first image has {self.size}. Write the frames anew."
                )
            result[indices == index] = (
                image if short_side is None else resize(image, short_side)
            )
        return result

    def _image(self, index):
        from PIL import Image, UnidentifiedImageError

        path = files.join(self.name, self._names[index])
        try:
            with files.open_bytes(path) as file, Image.open(file) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise ValueError(f"{path} cannot be read as an image: {error}.") from None
