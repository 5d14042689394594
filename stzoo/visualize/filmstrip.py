"""Frames and predictions in one picture: of a clip, or of several videos."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

_MARGIN, _ROW, _BAR = 12, 22, 220  # pixels
_INK, _FILL = (32, 32, 32), (0, 114, 178)  # a blue visible to the colour-blind
_TILE, _LINE, _COLUMNS = (200, 150), 16, 6  # size of a frame, height of a line
_GAP = (200, 200, 200)  # where there is no frame


def filmstrip(frames, answers, path, title=""):
    """Saves frames in a row, with the probabilities below.

    Args:
        frames: uint8 array `(frames, height, width, 3)`, RGB.
        answers: list of tuples `(label, probability)`.
        path: path of the PNG file.
        title: string, a line above the frames.
    """
    from PIL import Image, ImageDraw

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
    font = _font(14)
    draw.text((_MARGIN, _MARGIN), title, _INK, font)
    for row, (label, probability) in enumerate(answers):
        y = below + _ROW * row
        left, right = _MARGIN + _BAR, _MARGIN + _BAR + round(_BAR * probability)
        draw.text((_MARGIN, y), str(label), _INK, font)
        draw.rectangle((left, y + 2, right, y + _ROW - 4), _FILL)
        draw.text((right + 8, y), f"{100 * probability:.1f} %", _INK, font)
    image.save(path)


def contact_sheet(frames, captions):
    """Draws frames of several videos in rows, with captions below.

    Frames keep their shape. A caption that is too wide is cut.

    Args:
        frames: sequence of uint8 arrays `(height, width, 3)`, RGB, or `None`: a grey
            tile is drawn instead.
        captions: sequence of strings, with as many lines each.

    Returns:
        Bytes, a PNG.
    """
    from PIL import Image, ImageDraw

    lines = max(caption.count("\n") + 1 for caption in captions)
    width, height = _TILE[0] + _MARGIN, _TILE[1] + lines * _LINE + _MARGIN
    columns = min(len(frames), _COLUMNS)
    size = columns * width + _MARGIN, -(-len(frames) // columns) * height + _MARGIN
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), _font(12)
    for number, (frame, caption) in enumerate(zip(frames, captions, strict=True)):
        row, column = divmod(number, columns)
        left, top = _MARGIN + column * width, _MARGIN + row * height
        if frame is None:
            tile = Image.new("RGB", _TILE, _GAP)
        else:
            tile = Image.fromarray(frame)
            scale = min(_TILE[0] / tile.width, _TILE[1] / tile.height)
            sides = [max(1, round(side * scale)) for side in tile.size]
            tile = tile.resize(sides)
        image.paste(tile, (left, top + _TILE[1] - tile.height))
        for line, text in enumerate(caption.split("\n")):
            place = left, top + _TILE[1] + line * _LINE
            draw.text(place, _shortened(text, font), _INK, font)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _font(size):
    """Returns the font of matplotlib, since that of Pillow has only ASCII."""
    from PIL import ImageFont

    if not find_spec("matplotlib"):
        return ImageFont.load_default(size=size)
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)


def _shortened(text, font):
    """Cuts a text to the width of a tile."""
    if font.getlength(text) <= _TILE[0]:
        return text
    while font.getlength(f"{text}…") > _TILE[0]:
        text = text[:-1]
    return f"{text}…"
