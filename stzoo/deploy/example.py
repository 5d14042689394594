"""The program beside an export, which answers without Keras and without stzoo."""

from stzoo.data.video import SWS_BILINEAR, SWS_FULL_CHR_H_INT
from stzoo.deploy.formats import FORMATS

PROGRAM = '''"""Prints the most probable classes: python example.py {argument}

It needs {packages}.
It looks at the middle of a video, like `stzoo.predict`.
"""

import json
import sys
from pathlib import Path

{imports}

folder = Path(__file__).resolve().parent
config = json.loads((folder / "config.json").read_text("utf-8"))
clip, export = config["clip"], config["export"]
{reads}
x = x[None].astype("float32")  # RGB of 0 to 255, (1, frames, height, width, channels)
x = x.repeat(export["input"]["shape"][0] or 1, 0)
{runs}
names = config.get("labels") or [f"class {{i}}" for i in range(len(logits))]
{shares}
'''
ONE = """shares = np.exp(logits - logits.max())
for i in np.argsort(-shares, kind="stable")[:5]:
    print(f"{names[i]}: {shares[i] / shares.sum():.4f}")"""
SEVERAL = """shares = 0.5 + 0.5 * np.tanh(0.5 * logits)
least = np.array(config.get("thresholds") or [0.5] * len(shares), "float32")
for i in np.argsort(-shares, kind="stable"):
    if shares[i] >= least[i]:
        print(f"{names[i]}: {shares[i]:.4f}")"""
ARRAY = """x = np.load(sys.argv[1])  # (frames, height, width, channels); no flow is 128
"""
VIDEO = """with av.open(sys.argv[1]) as video:
    frames = list(video.decode(video=0))
{rate}total, count = len(frames), clip["frames"]
{places}
short = min(frames[0].width, frames[0].height)
width, height = (
    (2 * side * clip["short_side"] + short) // (2 * short)
    for side in (frames[0].width, frames[0].height)
)
x = np.stack(
    [
        frames[i].to_ndarray(
            width=width, height=height, format="rgb24", interpolation={flags}
        )
        for i in places
    ]
)
top, left = (height - clip["height"]) // 2, (width - clip["width"]) // 2
x = x[:, top : top + clip["height"], left : left + clip["width"]]
"""
RATE = """times = np.array([frame.time for frame in frames])
fps = clip["sample_fps"]
last = times[-1] - times[-2] if len(times) > 1 else 1 / fps
slots = np.arange(max(1, round((times[-1] - times[0] + last) * fps)))
shown = np.searchsorted(times, times[0] + (slots + 0.5) / fps, side="right") - 1
frames = [frames[i] for i in shown]
"""
DENSE = """start = max(total - count * clip["stride"] + 1, 1) // 2
places = (start + np.arange(count) * clip["stride"]) % total"""
SEGMENTS = """places = ((np.arange(count) + 0.5) * total / count).astype(int)"""
RUNS = {
    "onnx": """session = onnxruntime.InferenceSession(folder / export["file"])
logits = session.run(["logits"], {"clip": x})[0][0]""",
    "openvino": """exact = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.compile_model(folder / export["file"], "CPU", exact)
logits = model({"clip": x})["logits"][0]""",
    "litert": """model = Interpreter(str(folder / export["file"]))
logits = model.get_signature_runner("serving_default")(clip=x)["logits"][0]""",
    "tf_saved_model": """model = tf.saved_model.load(folder)
answers = model.signatures["serving_default"](clip=tf.constant(x))
logits = answers["logits"].numpy()[0]""",
    "torch": """model = torch.export.load(folder / export["file"]).module()
with torch.no_grad():
    logits = model(torch.from_numpy(x))["logits"].numpy()[0]""",
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
    modules = ["av"] * from_video + ["numpy as np"]
    runtime = IMPORTS.get(format.name, f"import {module}")
    imports = [*[f"import {name}" for name in modules], runtime]
    reads = ARRAY
    if from_video:
        reads = VIDEO.format(
            rate=RATE if clip.sample_fps else "",
            places=SEGMENTS if clip.sampling == "segments" else DENSE,
            flags=SWS_BILINEAR | SWS_FULL_CHR_H_INT,
        )
    needed = ["numpy", *["av"] * from_video, package]
    return PROGRAM.format(
        argument="VIDEO" if from_video else "CLIP.npy",
        packages=f"`pip install {' '.join(needed)}`",
        imports="\n".join(sorted(imports, key=lambda line: line.split()[1])),
        reads=reads.rstrip("\n"),
        runs=RUNS[format.name],
        shares=SEVERAL if config.multi_label else ONE,
    )
