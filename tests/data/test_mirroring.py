import pytest

from stzoo.data import motions
from stzoo.data.mirroring import describe, mirror_pairs


def partners(*classes, given=()):
    """Returns the pairs by name instead of by index."""
    pairs = mirror_pairs(classes, given)
    return {
        classes[number]: None if other is None else classes[other]
        for number, other in pairs.items()
    }


def test_pairs_of_published_classes():
    """The names are from Something-Something and Jester. TSM and GSM have the same
    pairs.
    """
    classes = (
        "Pulling something from left to right",
        "Pulling something from right to left",
        "Holding something",
        "Turning the camera left while filming something",
        "Turning the camera right while filming something",
        "Plugging something but pulling it right out as you remove your hand",
        "Turning Hand Clockwise",
        "Turning Hand Counterclockwise",
        "Putting something upright on the table",
        "copyright and leftovers",
    )
    assert mirror_pairs(classes) == {0: 1, 1: 0, 3: 4, 4: 3, 5: None, 6: 7, 7: 6}
    named = partners(*motions.CLASSES)
    assert named == {
        one: motions.REVERSED[one] for one in motions.CLASSES[:2] + motions.CLASSES[6:8]
    }
    assert mirror_pairs(motions.SHAPES) == {}


@pytest.mark.parametrize(
    "pair",
    [
        ("turn_left", "turn_right"),
        ("turn-left", "turn-right"),
        ("TurnLeft", "TurnRight"),
        ("TURNLeft", "TURNRight"),
        ("TURN_LEFT", "TURN_RIGHT"),
        ("turnleft", "turnright"),
        ("left2", "right2"),
        ("left2right", "right2left"),
        ("leftwards", "rightwards"),
        ("Left-Handed", "Right-Handed"),
        ("lefthand", "righthand"),
        ("clockwise", "anticlockwise"),
        ("clockwise", "counter-clockwise"),
        ("RotateClockWise", "RotateCounterClockWise"),
        ("rotate_cw", "rotate_ccw"),
        ("nach links", "nach rechts"),
        ("linken_Arm_heben", "rechten_Arm_heben"),
        ("Linkskurve", "Rechtskurve"),
        ("im Uhrzeigersinn", "gegen den Uhrzeigersinn"),
        ("bras gauche", "bras droit"),
        ("à gauche", "à droite"),
        ("sens_horaire", "sens_anti-horaire"),
        ("brazo_izquierdo", "brazo_derecho"),
        ("a-la-izquierda", "a-la-derecha"),
        ("girare a sinistra", "girare a destra"),
        ("virar_à_esquerda", "virar_à_direita"),
        ("向左转", "向右转"),
        ("逆时针旋转", "顺时针旋转"),
    ],
)
def test_pairs_are_found_in_different_spellings(pair):
    left, right = pair
    assert partners(left, "run", right) == {left: right, right: left}
    alone = partners(left, "run")
    assert alone in ({left: None}, {})  # "turnleft" alone could be any word
    assert alone or left in ("turnleft", "Linkskurve")


def test_a_side_without_one_partner_is_not_mirrored():
    assert partners("kick_left", "punch_right") == dict.fromkeys(
        ("kick_left", "punch_right")
    )
    # It is unknown which of the two spellings is the partner.
    two = ("turn_left", "TurnLeft", "turn_right")
    assert partners(*two) == dict.fromkeys(two)
    assert partners("L", "R", "east", "west", "blinks") == {}


def test_given_pairs_override_pairs_from_names():
    classes = ("wave_l", "wave_r", "go left", "go right", "right now")
    found = {"go left": "go right", "go right": "go left", "right now": None}
    assert partners(*classes) == found
    waves = {"wave_l": "wave_r", "wave_r": "wave_l"}
    assert partners(*classes, given=[("wave_l", "wave_r")]) == found | waves
    # A class paired with itself is mirrored and keeps its label.
    given = partners(*classes, given=[("right now", "right now")])
    assert given == {"go left": "go right", "go right": "go left"}
    # The old partner of a new pair has none.
    given = partners(*classes, given=[("go left", "wave_l")])
    assert given["go left"] == "wave_l" and given["go right"] is None


@pytest.mark.parametrize(
    "text",
    [
        "wave l,wave r\n\n",
        '"wave l", "wave r" \r\n',
        "wave l;wave r\n",
        "wave l\twave r\n",
        '"wave l" "wave r"\n',
    ],
)
def test_pairs_in_a_file(tmp_path, text):
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-16")
    assert mirror_pairs(["wave l", "run", "wave r"], path) == {0: 2, 2: 0}
    assert mirror_pairs(["wave l", "run", "wave r"], str(path)) == {0: 2, 2: 0}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("wave_l", r"line 2: expected two names .* Received: \['wave_l'\]"),
        ("wave_l,wave_r,run", "line 2: expected two names of classes"),
        ("wave_l,wave_x", "line 2: 'wave_x' is not one of the 3 classes: wave_l, wave"),
        ("run,wave_l", "line 2: 'run' already has a pair, in .*pairs.txt, line 1"),
        ('"run,wave_l', "line 2: expected two names of classes"),
        ("wave_l," + "x" * 150_000, "line 2: this is not CSV"),
    ],
)
def test_errors_in_a_file_of_pairs_name_the_line(tmp_path, line, message):
    path = tmp_path / "pairs.txt"
    path.write_text(f"run,run\n{line}\n")
    with pytest.raises(ValueError, match=f"pairs.txt, {message}"):
        mirror_pairs(["wave_l", "wave_r", "run"], path)


def test_errors_in_a_sequence_of_pairs_name_its_index():
    with pytest.raises(ValueError, match=r"mirror_pairs\[0\]: expected .*'ab'"):
        mirror_pairs(["a", "b"], ["ab"])
    with pytest.raises(ValueError, match=r"mirror_pairs\[1\]: 'c' is not one of the 2"):
        mirror_pairs(["a", "b"], [("a", "b"), ("c", "b")])


def test_description_names_all_pairs():
    classes = ("go_left", "go_right", "right now", "run")
    assert describe(classes, mirror_pairs(classes)).splitlines() == [
        "A mirrored clip gets the label of the other class of a pair:",
        "  go_left <-> go_right",
        "Not mirrored, since the name has a side but no other class is its pair:",
        "  right now",
        "The other classes keep their label when they are mirrored.",
    ]
    assert "No class name has a side: all classes" in describe(["run"], {})
