"""Which class a mirrored clip shows: from left to right becomes from right to left.

The names of the classes are split into words at spaces, underscores, hyphens, capitals
and digits. Words of several languages name a side or a sense of turning. Two names
that differ in these words only are a pair.
"""

import csv
import os
import re
import unicodedata

from stzoo.data import annotations

# Each word and its opposite: English, German and Dutch, French, Spanish, Italian,
# Portuguese, Chinese and Japanese. Single letters are left out: in sign language, L
# and R are letters.
_PAIRS = (
    *(("left", "right"), ("clockwise", "counterclockwise")),
    *(("links", "rechts"), ("linke", "rechte")),
    ("im uhrzeigersinn", "gegen den uhrzeigersinn"),
    *(("gauche", "droite"), ("horaire", "antihoraire")),
    ("sens des aiguilles", "sens inverse des aiguilles"),
    *(("izquierda", "derecha"), ("izquierdo", "derecho")),
    *(("horario", "antihorario"), ("horário", "antihorário")),
    *(("sinistra", "destra"), ("sinistro", "destro"), ("orario", "antiorario")),
    *(("esquerda", "direita"), ("esquerdo", "direito")),
    *(("左", "右"), ("顺时针", "逆时针"), ("順時針", "逆時針")),
)
_OTHER = dict(_PAIRS) | {other: word for word, other in _PAIRS}
_STEMS = "|".join(sorted(_OTHER, key=len, reverse=True))
_ANYWHERE = re.compile(_STEMS)  # "turnleft"
_WORDS = re.compile(  # "left", "leftwards", "linken"
    rf"\b({_STEMS})(?=(?:[mnrs]|wards?|hand(?:ed|er)?|most|sided?)?\b)"
)
_SPELLINGS = (
    (r"([左右]|[顺順逆][时時][针針])", r" \1 "),  # no spaces in Chinese
    (r"\b(counter|anti|contra) (?=\w)", r"\1"),
    (r"clock wise", "clockwise"),
    (r"\bcw\b", "clockwise"),
    (r"\b(anti|contra)clockwise\b|\ba?ccw\b|\bacw\b", "counterclockwise"),
    (r"\bentgegen dem\b", "gegen den"),
    (r"\bdroit\b", "droite"),
)


def mirror_pairs(classes, given=()):
    """Which class a mirrored clip shows, as the names of the classes tell.

    "Pulling something from left to right" becomes "Pulling something from right to
    left", `turn_left` becomes `turn_right`, and what turns clockwise turns
    counter-clockwise. That is the relabelling of TSM and GSM on Something-Something,
    which name three pairs there by their numbers.

    Args:
        classes: sequence of strings, the names of the classes.
        given: pairs that the names do not tell, a sequence of tuples of two names, or
            the path of a file with two names a line, separated by a tab, a semicolon,
            a comma (CSV) or a space. They replace what the names tell. A class that is
            paired with itself is mirrored and keeps its label.

    Returns:
        Dict for `Augment.pairs`: all classes that have a mirror image, with its index,
        and all classes whose name has a side but no mirror image, with `None`.

    Raises:
        ValueError: a name of `given` is no class, is given twice, or stands alone.
    """
    keys = [_plain(name) for name in classes]
    numbers = {key: keys.index(key) for key in keys if keys.count(key) == 1}
    pairs = {}
    for number, key in enumerate(keys):
        mirrored = [pattern.sub(_opposite, key) for pattern in (_WORDS, _ANYWHERE)]
        found = [numbers[m] for m in mirrored if m != key and m in numbers]
        if found:
            pairs[number] = found[0]
        elif _WORDS.search(key):
            pairs[number] = None
    for number, other in pairs.items():
        if other is not None and pairs.get(other) != number:
            pairs[number] = None
    new = _given(classes, given)
    left = {pairs.get(number) for number in new} - {None, *new}
    pairs |= dict.fromkeys(left) | new  # who loses a partner has none
    return {number: other for number, other in pairs.items() if number != other}


def describe(classes, pairs):
    """What mirroring does to the labels, in words.

    Args:
        classes: sequence of strings, the names of the classes.
        pairs: dict, what `mirror_pairs` returns.

    Returns:
        String of one or more lines.
    """
    lines = [
        f"  {classes[number]} <-> {classes[other]}"
        for number, other in pairs.items()
        if other is not None and number < other
    ]
    if lines:
        lines.insert(0, "A mirrored clip gets the label of the other class of a pair:")
    alone = [f"  {classes[n]}" for n, other in pairs.items() if other is None]
    if alone:
        lines += [
            "Not mirrored, as the name has a side and no other class is its pair:"
        ]
    lines += alone
    if len(pairs) < len(classes):
        which = (
            "The other classes" if pairs else "No class name has a side: all classes"
        )
        lines.append(f"{which} keep their label when they are mirrored.")
    return "\n".join(lines)


def _opposite(match):
    return _OTHER[match[0]]


def _plain(name):
    """The words of a name, in lower case, with one space between two."""
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"(?<=\d)(?=\D)|(?<=\D)(?=\d)|[\W_]+", " ", name)
    letters = []
    for before, letter, after in zip(f" {name}", name, f"{name[1:]} ", strict=False):
        starts = letter.isupper() and (before.islower() or after.islower())
        letters.append(f" {letter}" if starts else letter)
    words = " ".join("".join(letters).lower().split())
    for pattern, spelling in _SPELLINGS:
        words = re.sub(pattern, spelling, words)
    return " ".join(words.split())


def _given(classes, given):
    """Dict of the indices of pairs of names, in both directions."""
    if isinstance(given, str | os.PathLike):
        rows = _read_pairs(os.fspath(given))
    else:
        rows = ((f"mirror_pairs[{at}]", pair) for at, pair in enumerate(given))
    index = {unicodedata.normalize("NFC", name): n for n, name in enumerate(classes)}
    pairs, seen = {}, {}
    for where, names in rows:
        if isinstance(names, str) or len(names) != 2:
            raise ValueError(
                f"{where}: two names of classes are needed. Received: {names!r}. Quote "
                'a name that holds a comma or a space: "turn left","turn right".'
            )
        for name in names:
            if unicodedata.normalize("NFC", name) not in index:
                shown = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
                raise ValueError(
                    f"{where}: {name!r} is none of the {len(classes)} classes: {shown}."
                )
        one, other = (index[unicodedata.normalize("NFC", name)] for name in names)
        for number in {one, other}:
            if number in seen:
                raise ValueError(
                    f"{where}: {classes[number]!r} has a pair already, in "
                    f"{seen[number]}. Name each class once."
                )
            seen[number] = where
        pairs |= {one: other, other: one}
    return pairs


def _read_pairs(path):
    """Yields `(file and line, names)`."""
    for number, line in annotations.lines(path):
        separator = next((mark for mark in "\t;," if mark in line), " ")
        where = f"{path}, line {number}"
        try:
            row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        except csv.Error as error:
            raise ValueError(f"{where}: this is not CSV ({error}).") from None
        yield where, [cell.strip() for cell in row if cell.strip()]
