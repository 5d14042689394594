"""The program beside an export, which answers without Keras and without stzoo."""

import json

from stzoo.data.video import SWS_BILINEAR, SWS_FULL_CHR_H_INT
from stzoo.deploy.formats import FORMATS

PROGRAM = '''"""Prints the most probable classes: python example.py {argument}

It needs `pip install {packages}`.
"""

{json}import sys
from pathlib import Path

{imports}

folder = Path(__file__).resolve().parent
{reads}
x = x[None]{repeats}.astype("float32")  # RGB of 0 to 255
{config}{runs}
{labels}
{answers}
'''
ONE = """shares = np.exp(logits - logits.max())
for i in np.argsort(-shares, kind="stable")[:5]:
    print(f"{labels[i]}: {shares[i] / shares.sum():.4f}")"""
SEVERAL = """shares = 0.5 + 0.5 * np.tanh(0.5 * logits)
least = {least}
for i in np.argsort(-shares, kind="stable"):
    if shares[i] >= least[i]:
        print(f"{{labels[i]}}: {{shares[i]:.4f}}")"""
THRESHOLDS = 'np.array(config["thresholds"], "float32")'
HALVES = "np.full(len(logits), 0.5)"
ARRAY = "x = np.load(sys.argv[1])  # {shape}, uint8 or float; no flow is 128"
VIDEO = """with av.open(sys.argv[1]) as video:
    frames = list(video.decode(video=0))
{rate}{places}
sides = np.array([frames[0].width, frames[0].height])
width, height = map(int, sides * {short_side} / sides.min() + 0.5)
how = dict(width=width, height=height, format="rgb24", interpolation={flags})
x = np.stack([frames[i].to_ndarray(**how) for i in places])
top, left = (height - {height}) // 2, (width - {width}) // 2
x = x[:, top : top + {height}, left : left + {width}]"""
RATE = """times = np.array([frame.time for frame in frames])
length = times[-1] - times[0] + (np.diff(times[-2:]).sum() or 1 / {fps})
slots = times[0] + (np.arange(max(1, round(length * {fps}))) + 0.5) / {fps}
frames = [frames[i] for i in np.searchsorted(times, slots, side="right") - 1]
"""
DENSE = """start = max(len(frames) - {span} + 1, 1) // 2
places = (start + {stride} * np.arange({frames})) % len(frames)"""
SEGMENTS = "places = ((np.arange({frames}) + 0.5) * len(frames) / {frames}).astype(int)"
CONFIG = """config = json.loads((folder / "config.json").read_text("utf-8"))
"""
LABELS = 'labels = config["labels"]'
NUMBERS = 'labels = [f"class {i}" for i in range(len(logits))]'
RUNS = {
    "onnx": """session = onnxruntime.InferenceSession(folder / {file})
logits = session.run(["logits"], {{"clip": x}})[0][0]""",
    "openvino": """exact = {{"INFERENCE_PRECISION_HINT": "f32"}}
model = openvino.compile_model(folder / {file}, "CPU", exact)
logits = model({{"clip": x}})["logits"][0]""",
    "litert": """model = Interpreter(str(folder / {file}))
logits = model.get_signature_runner("serving_default")(clip=x)["logits"][0]""",
    "tf_saved_model": """model = tf.saved_model.load(folder)
answers = model.signatures["serving_default"](clip=tf.constant(x))
logits = answers["logits"].numpy()[0]""",
    "torch": """model = torch.export.load(folder / {file}).module()
with torch.no_grad():
    logits = model(torch.from_numpy(x))["logits"].numpy()[0]""",
}
ONLINE = """{opens}
shapes = config["export"]["states"]
states = {{name: np.zeros(shape, "float32") for name, shape in shapes.items()}}
each = []
for frame in x[0]:
    found = answer({{"clip": frame[None, None], **states}})
    states = {{name: np.array(found["new_" + name]) for name in states}}
    each.append(np.array(found["logits"])[0])
logits = np.mean(each, axis=0)"""
OPENS = {
    "onnx": """session = onnxruntime.InferenceSession(folder / {file})
names = [output.name for output in session.get_outputs()]
answer = lambda inputs: dict(zip(names, session.run(names, inputs)))""",
    "openvino": """exact = {{"INFERENCE_PRECISION_HINT": "f32"}}
answer = openvino.compile_model(folder / {file}, "CPU", exact)""",
    "litert": """model = Interpreter(str(folder / {file}))
runner = model.get_signature_runner("serving_default")
answer = lambda inputs: runner(**inputs)""",
    "tf_saved_model": """model = tf.saved_model.load(folder)
runner = model.signatures["serving_default"]
answer = lambda inputs: runner(**{{k: tf.constant(v) for k, v in inputs.items()}})""",
    "torch": """model = torch.export.load(folder / {file}).module()
def answer(inputs):
    found = model(*[torch.from_numpy(v) for v in inputs.values()])
    return {{name: value.detach().numpy() for name, value in found.items()}}
""",
}
IMPORTS = {
    "litert": "from ai_edge_litert.interpreter import Interpreter",
    "tf_saved_model": "import tensorflow as tf",
}


def program(config):
    """Returns the text of the program for an exported model.

    Args:
        config: `stzoo.weights.config.ModelConfig`, with its `export`.
    """
    format, clip = FORMATS[config.export["format"]], config.clip
    module, package = format.runtimes[0]
    from_video = not clip.uses_flow and clip.snippet == 1
    batch, *shape = config.export["input"]["shape"]
    imports = [IMPORTS.get(format.name, f"import {module}"), "import numpy as np"]
    imports += ["import av"] * from_video
    online = "states" in config.export
    needs_config = bool(config.labels or config.thresholds or online)
    file = json.dumps(config.export["file"])
    several = SEVERAL.format(least=THRESHOLDS if config.thresholds else HALVES)
    reads = _reads(clip) if from_video else ARRAY.format(shape=tuple(shape))
    return PROGRAM.format(
        argument="VIDEO" if from_video else "CLIP.npy",
        packages=" ".join([*["av"] * from_video, "numpy", package]),
        json="import json\n" if needs_config else "",
        imports="\n".join(sorted(imports, key=lambda line: line.split()[1])),
        reads=reads,
        repeats=f".repeat({batch}, 0)" if (batch or 1) > 1 else "",
        config=CONFIG if needs_config else "",
        runs=ONLINE.format(opens=OPENS[format.name].format(file=file))
        if online
        else RUNS[format.name].format(file=file),
        labels=LABELS if config.labels else NUMBERS,
        answers=several if config.multi_label else ONE,
    )


def _reads(clip):
    """Returns the lines that read the frames of a clip from the middle of a video."""
    dense = DENSE.format(
        span=clip.frames * clip.stride, stride=clip.stride, frames=clip.frames
    )
    segments = SEGMENTS.format(frames=clip.frames)
    return VIDEO.format(
        rate=RATE.format(fps=clip.sample_fps) if clip.sample_fps else "",
        places=segments if clip.sampling == "segments" else dense,
        short_side=clip.short_side,
        width=clip.width,
        height=clip.height,
        flags=SWS_BILINEAR | SWS_FULL_CHR_H_INT,
    )
