"""python scripts/convert_weights.py cost_resnet50 FILE --out FOLDER

`stzoo convert`, see there, for a clone that is not installed.
"""

from stzoo.cli.converting import convert

if __name__ == "__main__":
    convert()
