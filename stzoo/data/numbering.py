"""The numbers of the classes that a list names."""

from stzoo.data import lookup

INDEXED = ("list", "rawframes", "diving48")  # formats in which a label can be an index


def classes_of(entries):
    """Returns the classes of entries, sorted by number or alphabetically."""
    labels = _names(entries)
    if all(map(_is_number, labels)):
        return sorted(labels, key=lambda label: (int(label), label))
    return sorted(labels)


def numbers_of(entries, classes, format):
    """Returns a dict from labels in a list to indices, and a description of them."""
    labels = _names(entries)
    index = {lookup.composed(name): number for number, name in enumerate(classes)}
    if format == "folder":
        return index, "Each folder is a class."
    numeric = set(filter(_is_number, labels))
    if format not in INDEXED or not numeric:
        return index, "The labels are names."
    if numeric == labels and not any(map(_is_number, index)):
        first = min(classes.values()) if isinstance(classes, dict) else 0
        index = {str(first + number): number for number in range(len(index))}
        plain = {label: str(int(label)) for label in labels}  # "07" is 7
        index |= {one: index[other] for one, other in plain.items() if other in index}
        return index, f"The labels are the indices of the classes, from {first}."
    if list(index) == [str(number) for number in range(len(index))]:
        return index, f"The labels are the numbers 0 to {len(index) - 1}."
    return index, (
        "The labels are names, although there are numbers among them: they are not "
        "consecutive numbers from 0."
    )


def number(label, numbers):
    """Returns the index of a class, or those of several, and the unknown name."""
    if not isinstance(label, tuple):
        return numbers.get(label), label
    found = tuple(map(numbers.get, label))
    if None in found:
        return None, label[found.index(None)]
    return found, None


def _names(entries):
    """Returns the set of all labels in a list."""
    found = set()
    for entry in entries:
        several = isinstance(entry.label, tuple)
        found |= set(entry.label) if several else {entry.label} - {None}
    return found


def _is_number(label):
    return label.isdecimal() and len(label) < 20  # Python refuses long numbers
