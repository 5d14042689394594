"""Finds the class of a mirrored clip: "left to right" becomes "right to left".

The names of the classes are split into words at spaces, underscores, hyphens, capitals
and digits. Words of several languages name a side or a direction of rotation. Two names
that differ only in these words are a pair.
"""

import csv
import os
import re
import unicodedata

from stzoo.data import tables

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
    """Returns the classes of mirrored clips, from the names of the classes.

    "Pulling something from left to right" becomes "Pulling something from right to
    left", `turn_left` becomes `turn_right`, and clockwise becomes counter-clockwise.
    TSM and GSM relabel Something-Something in the same way. Their code lists three
    pairs by their numbers.

    Args:
        classes: sequence of strings, the names of the classes.
        given: pairs that the names do not show: a sequence of tuples of two names, or
            the path of a file with two names per line, separated by a tab, a semicolon,
            a comma (CSV) or a space. They override pairs from names. A class that is
            paired with itself is mirrored and keeps its label.

    Returns:
        Dict for `Augment.pairs`, from the index of a class to that of its mirror image,
        or to `None` if its name has a side but there is no mirror image.

    Raises:
        ValueError: a name of `given` is not a class, is given twice, or has no partner.
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
    pairs |= dict.fromkeys(left) | new  # the old partner of a new pair has none
    return {number: other for number, other in pairs.items() if number != other}


def mirrored_label(label, pairs):
    """Returns the label of a mirrored clip, or `None` if it has none.

    Args:
        label: int, or `None`. Or tuple of 0 and 1, one for each class. If one of its
            classes has no mirror image, the clip has no label.
        pairs: dict, what `mirror_pairs` returns.
    """
    if not isinstance(label, tuple):
        return pairs.get(label, label)
    present = [n for n, value in enumerate(label) if value]
    mirrored = {pairs.get(n, n) for n in present}
    if None in mirrored:
        return None
    return tuple(int(n in mirrored) for n in range(len(label)))


def describe(classes, pairs):
    """Describes the effect of mirroring on the labels.

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
            "Not mirrored, since the name has a side but no other class is its pair:"
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
    """Returns the words of a name in lower case, separated by single spaces."""
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
    """Returns the indices of pairs of names, in both directions."""
    if isinstance(given, str | os.PathLike):
        rows = _read_pairs(os.fspath(given))
    else:
        rows = ((f"mirror_pairs[{at}]", pair) for at, pair in enumerate(given))
    index = {unicodedata.normalize("NFC", name): n for n, name in enumerate(classes)}
    pairs, seen = {}, {}
    for where, names in rows:
        if isinstance(names, str) or len(names) != 2:
            raise ValueError(
                f"{where}: expected two names of classes. Received: {names!r}. Quote "
                'a name that has a comma or a space: "turn left","turn right".'
            )
        for name in names:
            if unicodedata.normalize("NFC", name) not in index:
                shown = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
                raise ValueError(
                    f"{where}: {name!r} is not one of the {len(classes)} classes: "
                    f"{shown}."
                )
        one, other = (index[unicodedata.normalize("NFC", name)] for name in names)
        for number in {one, other}:
            if number in seen:
                raise ValueError(
                    f"{where}: {classes[number]!r} already has a pair, in "
                    f"{seen[number]}. List each class once."
                )
            seen[number] = where
        pairs |= {one: other, other: one}
    return pairs


def _read_pairs(path):
    """Yields `(file and line, names)`."""
    for number, line in tables.lines(path):
        separator = next((mark for mark in "\t;," if mark in line), " ")
        where = f"{path}, line {number}"
        try:
            row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        except csv.Error as error:
            raise ValueError(f"{where}: this is not CSV ({error}).") from None
        yield where, [cell.strip() for cell in row if cell.strip()]
