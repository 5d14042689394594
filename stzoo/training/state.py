"""The state of a training: its log, its best model, and where to resume."""

import csv
import io
import json
import math
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
from keras import ops

from stzoo import writer
from stzoo.training.averages import averaged
from stzoo.visualize import results as plots
from stzoo.weights import card, checkpoint, hub
from stzoo.weights.config import ModelConfig

STATE = "state.npz"


class State(keras.callbacks.Callback):
    """Writes the last complete epoch, and the best one as the model of the folder.

    Args:
        folder: path.
        labels: sequence of strings, the classes.
        patience: int, number of epochs without improvement after which training stops,
            or 0.
        write: bool. Of several processes, one writes.
        about: dict, the facts of the training for the record of the model.
        first: int, number of epochs in which only the head is trained. Patience starts
            after them.
    """

    def __init__(self, folder, labels, patience, write, about=None, first=0):
        super().__init__()
        self.folder, self.labels, self.patience = Path(folder), labels, patience
        self.write, self.about, self.first = write, about or {}, first
        self.history = []
        self.is_finite = True

    @property
    def best(self):
        """The index of the best epoch."""
        names = [n for n in ("val_accuracy", "val_pr_auc") if n in self.history[0]]
        if not names:
            return len(self.history) - 1
        values = [(row[names[0]], -row["val_loss"]) for row in self.history]
        return values.index(max(values))

    @property
    def finished(self):
        """Whether training stops because of `patience`."""
        if not self.patience or not self.history:
            return False
        return len(self.history) - 1 - max(self.best, self.first) >= self.patience

    def on_train_batch_end(self, batch, logs=None):
        if logs and not math.isfinite(logs["loss"]):
            self.is_finite, self.model.stop_training = False, True

    def ensure_finite(self, recipe):
        """Raises a `ValueError` if the loss was not a number."""
        if self.is_finite:
            return
        kept = f"{self.folder} has no model yet"
        if self.history:
            kept = f"{self.folder} keeps epoch {self.best + 1}"
        raise ValueError(
            f"The loss became infinite or NaN in epoch {len(self.history) + 1}, so the "
            f"training stopped. {kept}. Train again in another folder with a smaller "
            f"learning rate (now {recipe.learning_rate:.3g}), or with float32 if this "
            "was mixed precision."
        )

    def on_epoch_end(self, epoch, logs=None):
        if not self.is_finite:
            return
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs = {name: float(value) for name, value in logs.items()}
        self.history.append({**logs, "learning_rate": rate})
        self.model.stop_training = self.finished
        if not self.write:
            return
        if self.best == epoch:
            training = self._training()
            with averaged(self.model):
                checkpoint.save(self.model, self.folder, self.labels, training=training)
        files = {"log.csv": self._log(), STATE: self._state()}
        if find_spec("matplotlib"):
            files["curves.png"] = plots.curves(self.history, self.best)
        config = ModelConfig.from_json(writer.read(self.folder, hub.CONFIG))
        writer.write(self.folder, files | card.files(config, self.folder, coming=files))

    def restore(self, model):
        """Restores the last complete epoch. Returns the number of epochs so far."""
        if not (self.folder / STATE).exists():
            return 0
        model.optimizer.build(model.trainable_variables)
        variables = _variables(model)
        with np.load(self.folder / STATE) as state:
            self.history = json.loads(str(state["history"]))
            values = [state[str(number)] for number in range(len(state.files) - 1)]
        if len(values) != len(variables):
            raise ValueError(
                f"{self.folder} has a run in which other layers were trained. Build "
                "the model anew, as for the first call."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return len(self.history)

    def _state(self):
        values = [ops.convert_to_numpy(v.value) for v in _variables(self.model)]
        numbered = {str(number): value for number, value in enumerate(values)}
        file = io.BytesIO()
        np.savez(file, history=json.dumps(self.history), **numbered)
        return file.getvalue()

    def _training(self):
        """What the record of the model says of its training."""
        last, training = self.history[-1], {**self.about, "epochs": len(self.history)}
        if "validation" in training:
            names = ("accuracy", "pr_auc", "loss")
            figures = {n: last[f"val_{n}"] for n in names if f"val_{n}" in last}
            training["validation"] = {**training["validation"], **figures}
        return training

    def _log(self):
        text = io.StringIO()
        rows = csv.DictWriter(text, ["epoch", *self.history[0]])
        rows.writeheader()
        for epoch, row in enumerate(self.history, start=1):
            rows.writerow({"epoch": epoch, **row})
        return text.getvalue().encode()


def _variables(model):
    """Returns the variables that training changes: weights, seeds, optimizer state."""
    return [*model.variables, *model.optimizer.variables]
