"""A clip and its predictions in one picture."""

import numpy as np

_MARGIN, _ROW, _BAR = 12, 22, 220  # pixels
_INK, _FILL = (32, 32, 32), (0, 114, 178)  # a blue visible to the colour-blind


def filmstrip(frames, answers, path, title=""):
    """Saves frames in a row, with the probabilities below.

    Args:
        frames: uint8 array `(frames, height, width, 3)`, RGB.
        answers: list of tuples `(label, probability)`.
        path: path of the PNG file.
        title: string, a line above the frames.
    """
    from PIL import Image, ImageDraw, ImageFont

    scale = max(1, round(128 / frames.shape[2]))
    film = np.concatenate(list(frames), axis=1).repeat(scale, 0).repeat(scale, 1)
    top = _MARGIN + _ROW
    below = top + film.shape[0] + _MARGIN
    size = (
        max(film.shape[1], 2 * _BAR + 160) + 2 * _MARGIN,
        below + _ROW * len(answers) + _MARGIN,
    )
    image = Image.new("RGB", size, "white")
    image.paste(Image.fromarray(film), (_MARGIN, top))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=14)
    draw.text((_MARGIN, _MARGIN), title, _INK, font)
    for row, (label, probability) in enumerate(answers):
        y = below + _ROW * row
        left, right = _MARGIN + _BAR, _MARGIN + _BAR + round(_BAR * probability)
        draw.text((_MARGIN, y), str(label), _INK, font)
        draw.rectangle((left, y + 2, right, y + _ROW - 4), _FILL)
        draw.text((right + 8, y), f"{100 * probability:.1f} %", _INK, font)
    image.save(path)
