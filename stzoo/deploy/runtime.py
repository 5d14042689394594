"""Exported models, run by their own runtime. This module imports no Keras."""

import hashlib
from pathlib import Path, PurePosixPath
from reprlib import repr as shortened

import numpy as np

from stzoo import writer
from stzoo.deploy.formats import FORMATS, runtime_of
from stzoo.weights import hub
from stzoo.weights.config import CONFIG_BYTES, ModelConfig

INPUT, BATCH = "clip", "batch"  # its name, and that of its first axis
LOGITS = "logits"
FEATURES = "avgpool"
STATE, NEW = "state_{}", "new_{}"  # of a model that takes frames one by one


class MissingInExport(AttributeError, ValueError):
    """An exported model was asked for what only a model of Keras has."""


class Exported:
    """An exported model. Inference takes it like a model of the zoo.

    `stzoo.load` returns it for the folder of an export. `stzoo.predict`, `evaluate`,
    `extract` and the commands run it by its own runtime, without Keras.

    Args:
        folder: path.
        config: `stzoo.weights.config.ModelConfig`, with its `export`.
        output: string, the output that `predict_on_batch` returns.

    Attributes:
        stzoo: `stzoo.weights.config.ModelConfig`.
        name: string.
        package: string, what runs it.
        states: dict from the names of states to their shapes. It is empty unless the
            model takes frames one by one.
    """

    def __init__(self, folder, config, output=LOGITS):
        self.stzoo, self.name, self.folder = config, config.builder, Path(folder)
        self.output_name = output
        export = config.export
        module, self.package = runtime_of(FORMATS[export["format"]])
        open_file = getattr(_Runners, f"{export['format']}_by_{module}")
        self._run = open_file(self.folder / export["file"])
        self._shape = tuple(export["input"]["shape"])
        self.states = export.get("states", {})

    def __reduce__(self):
        return Exported, (self.folder, self.stzoo, self.output_name)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        raise MissingInExport(
            f"{self.folder} is an exported model, which has no `{name}`: it only "
            "answers. Load the model that it was made from."
        )

    def __call__(self, clips):
        return self.predict_on_batch(clips)

    def predict_on_batch(self, clips):
        """Computes the output for clips: the logits, or what `with_output` chose.

        Args:
            clips: array `(clips, frames, height, width, channels)` of 0 to 255, uint8
                or float.

        Returns:
            float32 array `(clips, classes)`, or `(clips, channels)`.
        """
        return self.compute(clips)[self.output_name]

    def with_output(self, layer):
        """Returns the network from clips to the output of a layer, and its channels."""
        outputs = self.stzoo.export["outputs"]
        if layer not in outputs or layer == LOGITS:
            known = ", ".join(outputs.keys() - {LOGITS}) or "none"
            raise ValueError(
                f"{self.folder} is an exported model, which has no layer {layer!r}. "
                f"It has: {known}. Load the model that it was made from."
            )
        return Exported(self.folder, self.stzoo, layer), outputs[layer]

    def compute(self, clips):
        """Computes all outputs of clips: a dict from name to float32 array."""
        clips = np.asarray(clips, "float32")
        size, *shape = self._shape
        if self.states:
            shape[0] = clips.shape[1] if clips.ndim == 5 and clips.size else "frames"
        if clips.shape[1:] != tuple(shape) or not len(clips):
            raise ValueError(
                f"{self.folder} takes clips {('clips', *shape)}. Received: "
                f"{clips.shape}."
            )
        if self.states:
            return {LOGITS: np.stack([self._mean_of(clip) for clip in clips])}
        size = size or len(clips)
        spare = -len(clips) % size  # the last batch is filled with copies
        full = np.concatenate([clips, clips[-1:].repeat(spare, 0)]) if spare else clips
        parts = [full[i : i + size] for i in range(0, len(full), size)]
        found = [self._run({INPUT: part}) for part in parts]
        return {
            name: np.concatenate([one[name] for one in found])[: len(clips)]
            for name in self.stzoo.export["outputs"]
        }

    def step(self, inputs):
        """Computes one frame of a model that takes frames one by one.

        Args:
            inputs: list of float32 arrays: the frame `(1, 1, height, width, channels)`
                of 0 to 255, and the states. They are zeros before the first frame.

        Returns:
            List of float32 arrays: the logits `(1, classes)` and the new states.
        """
        found = self._run(dict(zip((INPUT, *self.states), inputs, strict=True)))
        return [found[LOGITS], *(found[NEW.format(name)] for name in self.states)]

    def _mean_of(self, clip):
        """Returns the mean of the logits of all frames, which is that of the clip."""
        states = [np.zeros(shape, "float32") for shape in self.states.values()]
        logits = []
        for frame in clip:
            (found,), *states = self.step([frame[None, None], *states])
            logits.append(found)
        return np.mean(logits, axis=0)


class _Runners:
    """For each format and runtime: a function from a file to one that runs clips.

    That function takes and returns a dict from names to float32 arrays.
    """

    @staticmethod
    def onnx_by_onnxruntime(path):
        import onnxruntime

        chosen = ("CUDAExecutionProvider", "CPUExecutionProvider")
        there = onnxruntime.get_available_providers()
        providers = [one for one in chosen if one in there]

        def opened(batch):
            options = onnxruntime.SessionOptions()
            if batch:
                options.add_free_dimension_override_by_name(BATCH, batch)
            session = onnxruntime.InferenceSession(path, options, providers)
            names = [output.name for output in session.get_outputs()]

            def run(inputs):
                return dict(zip(names, session.run(names, inputs), strict=True))

            return run

        return _with_fixed_batch(opened)

    @staticmethod
    def openvino_by_openvino(path):
        import openvino

        # It computes in bfloat16 on some processors unless told otherwise.
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()

        def opened(batch):
            graph = core.read_model(path)
            if batch:
                _, *sizes = graph.input(INPUT).partial_shape
                graph.reshape({INPUT: openvino.PartialShape([batch, *sizes])})
            model = core.compile_model(graph, "CPU", exact)
            names = [output.get_any_name() for output in model.outputs]

            def run(inputs):
                found = model(inputs)
                return {name: np.array(found[name]) for name in names}

            return run

        return _with_fixed_batch(opened)

    @staticmethod
    def litert_by_ai_edge_litert(path):
        from ai_edge_litert.interpreter import Interpreter

        return _with_interpreter(Interpreter(str(path)))

    @staticmethod
    def litert_by_tensorflow(path):
        import warnings

        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it advertises ai-edge-litert
            return _with_interpreter(tf.lite.Interpreter(str(path)))

    @staticmethod
    def tf_saved_model_by_tensorflow(path):
        import tensorflow as tf

        model = tf.saved_model.load(path)  # must stay alive
        function = model.signatures["serving_default"]

        def run(inputs, model=model):
            found = function(**{name: tf.constant(x) for name, x in inputs.items()})
            return {name: value.numpy() for name, value in found.items()}

        return run

    @staticmethod
    def torch_by_torch(path):
        import torch

        module = torch.export.load(path).module()

        def run(inputs):
            with torch.no_grad():
                found = module(*map(torch.from_numpy, inputs.values()))
            return {name: value.numpy() for name, value in found.items()}

        return run


def _with_fixed_batch(opened):
    """Runs batches of the first size by a graph for this size.

    It is faster than the graph for all sizes, which runs the others. For one clip on
    two cores of an Intel Xeon, `p3d_resnet152` takes 107 ms instead of 117 on OpenVINO,
    and `s3d` takes 745 ms instead of 756 on ONNX Runtime.

    Args:
        opened: function from the size of a batch, or `None` for any, to a function
            that runs clips.
    """
    runs = {}

    def run(inputs):
        count = len(inputs[INPUT])
        size = count if not runs or count in runs else None
        if size not in runs:
            runs[size] = opened(size)
        return runs[size](inputs)

    return run


def _with_interpreter(interpreter):
    """Runs clips by the signature of a file of LiteRT."""
    signature = interpreter.get_signature_runner("serving_default")
    return lambda inputs: {k: v.copy() for k, v in signature(**inputs).items()}


def read_export(where):
    """Reads the record of an exported model.

    Args:
        where: path of a folder, or `"hf://organisation/repository@revision"`.

    Returns:
        `ModelConfig` with an `export`, or `None` if the folder holds something else,
        or nothing.
    """
    try:
        if hub.is_url(where):
            text = hub.fetch(where, hub.CONFIG).read_bytes()
        else:
            writer.recover(where)
            text = writer.read(where, hub.CONFIG)
    except (FileNotFoundError, NotADirectoryError):
        return None
    # A broken record of another model is the business of its loader.
    if len(text) > CONFIG_BYTES or b'"export"' not in text:
        return None
    try:
        config = ModelConfig.from_json(text)
        if config.export:
            _check(config.export)
    except ValueError as error:
        raise ValueError(
            f"{where}/{hub.CONFIG}: this does not describe an exported model: {error}. "
            "Copy or export it again."
        ) from None
    return config if config.export else None


def load_export(where, config):
    """Opens an exported model whose files have the hashes of its record.

    Args:
        where: as of `read_export`.
        config: `ModelConfig`, from `read_export`.

    Returns:
        `Exported`.

    Raises:
        ValueError: a file is damaged.
        ImportError: the runtime is not installed.
    """
    runtime_of(FORMATS[config.export["format"]])  # before a download
    for name, expected in config.export["files"].items():
        path = hub.fetch(where, name)
        if hash_of(path) != expected:
            raise ValueError(
                f"{path} is damaged or of another export: its sha256 is not the one "
                f"that {hub.CONFIG} states. Copy or export it again."
            )
    folder = hub.fetch(where, hub.CONFIG).parent
    return Exported(folder, config)


def hash_of(path):
    """Returns the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(export):
    """Raises a `ValueError` unless this is the `export` of a record."""
    kinds = dict(format=str, file=str, input=dict, outputs=dict, files=dict)
    for name, kind in kinds.items():
        if type(export.get(name)) is not kind:
            raise ValueError(f'"export" needs "{name}", a {kind.__name__}')
    if export["format"] not in FORMATS:
        known = ", ".join(FORMATS)
        raise ValueError(
            f"the format is {shortened(export['format'])}, which is none of {known}"
        )
    for name in (export["file"], *export["files"]):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ValueError(f"a file is outside of the folder: {shortened(name)}")
    shape = export["input"].get("shape")
    if not isinstance(shape, list) or [type(n) for n in shape[1:]] != [int] * 4:
        raise ValueError(f'"input" needs a "shape" of five, not {shortened(shape)}')
    if "states" in export and not _are_shapes(export["states"]):
        states = shortened(export["states"])
        raise ValueError(f'"states" must have shapes, not {states}')
    if LOGITS not in export["outputs"] or not export["files"]:
        raise ValueError('"outputs" needs "logits", and "files" a file')


def _are_shapes(states):
    """Returns whether this is a dict from names to shapes, with at least one."""
    if not isinstance(states, dict) or not states:
        return False
    return all(
        isinstance(shape, list) and all(type(size) is int for size in shape)
        for shape in states.values()
    )
