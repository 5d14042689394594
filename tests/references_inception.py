"""Independent PyTorch references of TSN, TSM and GSM, with the names of their files.

BN-Inception and Inception v3 (converted from Caffe) are lists of lines, `output =
operation(input)`, like the manifests of the original code. The ResNet is from
`references`. Frames are in the batch axis, and logits are averaged.
"""

import numpy as np
import torch
from references import MEAN, STD, _ImageNet, randomize
from references_mobilenet import MobileNetV2
from torch import nn
from torch.nn import functional as F

from stzoo.models import tsm
from stzoo.weights.checkpoint import check
from stzoo.weights.convert import convert

BGR_MEAN = (104, 117, 128)


def reference_tsn(
    backbone, width, classes, gates=(), shifts=None, module=None, online=False
):
    """Builds TSN, GSM, CSTM or TSM with random weights and statistics.

    Args:
        backbone: `"bn_inception"` or `"inception_v3"`, with the names of GSM's and
            TSN's checkpoints, or `"mobilenetv2"` or the depths of a ResNet, with the
            names of TSM's.
        width: int, filters of the stem.
        classes: int.
        gates: names of convolutions that are followed by GSM's gate, or by `module`.
        shifts: function of the depth of a stage, which of its blocks shift; for
            BN-Inception `True`: the input of each stage but the first; for MobileNetV2
            `True`: each block that adds its input.
        module: pair of a prefix for names and a function of the number of channels.
        online: bool, whether shifts only look back.

    Returns:
        `torch.nn.Module` in evaluation mode, from normalised clips
        `(batch, 3, frames, height, width)` to logits.
    """
    module = module or ("gsm", _Gate)
    model = randomize(_Video(backbone, width, classes, gates, shifts, module))
    for part in model.modules():
        part.online = online
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith(("conv3D.weight", "fc1.weight", "fc2.weight")):
                tensor *= 0.02  # soft choices, since hard ones amplify rounding errors
    return model


def logits(model, clips):
    """Returns the outputs of a reference for the input of a model of stzoo.

    Args:
        model: the result of `reference_tsn`.
        clips: array `(batch, frames, height, width, 3)`, RGB of 0 to 255.
    """
    x = np.asarray(clips, "float64")
    if isinstance(model.base_model, _Manifest):
        x = x[..., ::-1] - BGR_MEAN
    else:
        x = (x - MEAN) / STD
    x = torch.from_numpy(np.moveaxis(x, -1, 1).astype("float32"))
    with torch.no_grad():
        return model(x).numpy()


def load(model, reference, key_map=()):
    """Assigns all weights of a reference to a model.

    Args:
        key_map: pairs for `stzoo.weights.convert.convert`, after those of the line.
    """
    variables = {variable.path: variable for variable in model.weights}
    shapes = {path: tuple(variable.shape) for path, variable in variables.items()}
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    state = tsm.prepare([state], {})
    tensors = convert(state, shapes, (*tsm.KEY_MAP, *key_map))
    check(tensors, shapes)
    for path, tensor in tensors.items():
        variables[path].assign(tensor)


class _Video(nn.Module):
    def __init__(self, backbone, width, classes, gates, shifts, module):
        super().__init__()
        if backbone == "mobilenetv2":
            self.base_model = MobileNetV2(width, _Shifted if shifts else None)
        elif isinstance(backbone, str):
            lines = {"bn_inception": _bn_inception, "inception_v3": _inception_v3}
            lines = lines[backbone](
                width / {"bn_inception": 64, "inception_v3": 32}[backbone]
            )
            self.base_model = _Manifest(lines, gates, shifts, module)
        else:
            self.base_model = _ImageNet(backbone, width, 1)
            self.base_model.fc = nn.Identity()
            for stage, depth in enumerate(backbone, 1):
                for index in shifts(depth) if shifts else ():
                    block = getattr(self.base_model, f"layer{stage}")[index]
                    block.conv1 = _Shifted(block.conv1)
        features = {"bn_inception": 16, "inception_v3": 64, "mobilenetv2": 40}
        features = features.get(str(backbone), 32)
        self.new_fc = nn.Linear(features * width, classes)

    def forward(self, x):
        batch, channels, frames, height, width = x.shape
        x = x.transpose(1, 2).reshape(-1, channels, height, width)
        for module in self.modules():
            module.frames = frames
        return self.new_fc(self.base_model(x)).view(batch, frames, -1).mean(1)


def _shift(x, frames, divisor=8, online=False):
    """The shift of TSM, for frames in the batch axis."""
    x = x.view(-1, frames, *x.shape[1:])
    fold = x.shape[2] // divisor
    y = torch.zeros_like(x)
    if online:
        y[:, 1:, :fold] = x[:, :-1, :fold]
        y[:, :, fold:] = x[:, :, fold:]
        return y.flatten(0, 1)
    y[:, :-1, :fold] = x[:, 1:, :fold]
    y[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
    y[:, :, 2 * fold :] = x[:, :, 2 * fold :]
    return y.flatten(0, 1)


class _Shifted(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(_shift(x, self.frames, online=self.online))


class _Gate(nn.Module):
    """GSM."""

    def __init__(self, channels):
        super().__init__()
        self.conv3D = nn.Conv3d(channels, 2, 3, padding=1, groups=2)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x):
        x = x.view(-1, self.frames, *x.shape[1:]).transpose(1, 2)
        gates = self.conv3D(self.bn(x).relu()).tanh()
        halves = []
        for side, half in enumerate(x.chunk(2, 1)):
            passed = gates[:, side : side + 1] * half
            kept = half - passed
            moved = torch.zeros_like(half)
            if side == 0:
                moved[:, :, :-1] = passed[:, :, 1:]
            else:
                moved[:, :, 1:] = passed[:, :, :-1]
            mixed = moved + kept
            quarters = mixed.view(len(x), 2, -1, *x.shape[2:])
            halves.append(quarters.transpose(1, 2).flatten(1, 2))
        return torch.cat(halves, 1).transpose(1, 2).flatten(0, 1)


class CSTM(nn.Module):
    """A 3D convolution and a gated or plain shift, added or fused by attention."""

    def __init__(self, channels, fusion="attention", shift="gate", reduction=4):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm3d(channels)
        self.shift = _Gate(channels) if shift == "gate" else None
        self.fc1 = self.fc2 = None
        if fusion == "attention":
            hidden = max(1, channels // reduction)
            self.fc1 = nn.Linear(channels, hidden)
            self.fc2 = nn.Linear(hidden, 2 * channels)

    def forward(self, x):
        moved = self.shift(x) if self.shift else _shift(x, self.frames)
        video = x.view(-1, self.frames, *x.shape[1:]).transpose(1, 2)
        deep = self.bn(self.conv(video))
        moved = moved.view(-1, self.frames, *x.shape[1:]).transpose(1, 2)
        y = deep + moved
        if self.fc1:
            scores = self.fc2(self.fc1(y.mean((2, 3, 4))).relu())
            shares = scores.view(len(scores), 2, -1, 1, 1, 1).softmax(1)
            y = shares[:, 0] * deep + shares[:, 1] * moved
        return y.transpose(1, 2).flatten(0, 1)


class _Manifest(nn.Module):
    """Runs lines `(name, operation, inputs, arguments)`."""

    def __init__(self, lines, gates, shifts, module):
        super().__init__()
        self.lines, self.shifts, self.prefix = lines, shifts, module[0]
        self.gates = set(gates)
        channels = {"data": 3}
        for name, operation, inputs, arguments in lines:
            if operation == "conv":
                bn, filters, size, stride, padding = arguments
                conv = nn.Conv2d(channels[inputs[0]], filters, size, stride, padding)
                setattr(self, name, conv)
                setattr(self, bn, nn.BatchNorm2d(filters))
                if name in gates:
                    setattr(self, f"{module[0]}_{name}", module[1](filters))
                channels[name] = filters
            else:
                channels[name] = sum(channels[i] for i in inputs)

    def forward(self, x):
        seen = {"data": x}
        for name, operation, inputs, arguments in self.lines:
            given = [seen[i] for i in inputs]
            if operation == "conv":
                y = getattr(self, name)(given[0])
                if name in self.gates:
                    y = getattr(self, f"{self.prefix}_{name}")(y)
                y = getattr(self, arguments[0])(y).relu()
            elif operation == "max":
                y = F.max_pool2d(given[0], 3, *arguments, ceil_mode=True)
            elif operation == "ave":
                y = F.avg_pool2d(given[0], 3, *arguments, ceil_mode=True)
            elif operation == "stage":  # where TSM shifts
                y = given[0]
                if self.shifts:
                    y = _shift(y, self.frames, online=self.online)
            else:
                y = torch.cat(given, 1)
            seen[name] = y
        return y.mean((2, 3))


def _bn_inception(scale):
    lines = []

    def conv(name, source, filters, size, stride=1):
        filters, padding = int(filters * scale), size // 2
        arguments = (f"{name}_bn", filters, size, stride, padding)
        lines.append((name, "conv", [source], arguments))
        return name

    def line(name, operation, inputs, *arguments):
        lines.append((name, operation, inputs, arguments))
        return name

    x = conv("conv1_7x7_s2", "data", 64, 7, 2)
    x = line("pool1_3x3_s2", "max", [x], 2, 0)
    x = line("stage_2", "stage", [x])
    x = conv("conv2_3x3_reduce", x, 64, 1)
    x = conv("conv2_3x3", x, 192, 3)
    x = line("pool2_3x3_s2", "max", [x], 2, 0)
    table = """
        3a  64  64  64  64  96 ave  32
        3b  64  64  96  64  96 ave  64
        3c   0 128 160  64  96 max   0
        4a 224  64  96  96 128 ave 128
        4b 192  96 128  96 128 ave 128
        4c 160 128 160 128 160 ave 128
        4d  96 128 192 160 192 ave 128
        4e   0 128 192 192 256 max   0
        5a 352 192 320 160 224 ave 128
        5b 352 192 320 192 224 max 128
    """
    for row in table.split("\n")[1:-1]:
        block, *numbers = row.split()
        pool = numbers.pop(5)
        single, reduce3, three, reduce_double, double, projection = map(int, numbers)
        name, stride = f"inception_{block}", 1 if single else 2
        x = line(f"stage_{block}", "stage", [x])
        ends = []
        if single:
            ends.append(conv(f"{name}_1x1", x, single, 1))
        y = conv(f"{name}_3x3_reduce", x, reduce3, 1)
        ends.append(conv(f"{name}_3x3", y, three, 3, stride))
        y = conv(f"{name}_double_3x3_reduce", x, reduce_double, 1)
        y = conv(f"{name}_double_3x3_1", y, double, 3)
        ends.append(conv(f"{name}_double_3x3_2", y, double, 3, stride))
        if projection:
            y = line(f"{name}_pool", pool, [x], 1, 1)
            ends.append(conv(f"{name}_pool_proj", y, projection, 1))
        else:
            ends.append(line(f"{name}_pool", "max", [x], 2, 0))
        x = line(f"{name}_output", "cat", ends)
    return lines


def _inception_v3(scale):
    """Each row: the place, a source, filters, kernel, stride and padding."""
    lines, produced = [], {}

    def conv(row):
        name, source, filters, size, stride, padding = row.split()
        size = tuple(map(int, size.split("x")))
        padding = tuple(n // 2 for n in size) if padding == "pad" else 0
        arguments = (
            f"{name}_batchnorm",
            int(int(filters) * scale),
            size,
            int(stride),
            padding,
        )
        source = produced.get(source, source)
        produced[name] = f"{name}_Conv2D"
        lines.append((f"{name}_Conv2D", "conv", [source], arguments))

    def rows(text, **names):
        for row in text.strip().splitlines():
            row = row.format(**names)
            if "=" in row:
                name, operation = row.split("=")
                operation, *rest = operation.split()
                count = 1 if operation in ("max", "ave") else len(rest)
                inputs = [produced.get(i, i) for i in rest[:count]]
                arguments = tuple(map(int, rest[count:]))
                lines.append((name.strip(), operation, inputs, arguments))
            else:
                conv(row)

    rows("""
        conv data 32 3x3 2 no
        conv_1 conv 32 3x3 1 no
        conv_2 conv_1 64 3x3 1 pad
        pool = max conv_2 2 0
        conv_3 pool 80 1x1 1 no
        conv_4 conv_3 192 3x3 1 no
        pool_1 = max conv_4 2 0
    """)
    x = "pool_1"
    for m, projection in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
        rows(
            """
            {m}_conv {x} 64 1x1 1 no
            {m}_tower_conv {x} 48 1x1 1 no
            {m}_tower_conv_1 {m}_tower_conv 64 5x5 1 pad
            {m}_tower_1_conv {x} 64 1x1 1 no
            {m}_tower_1_conv_1 {m}_tower_1_conv 96 3x3 1 pad
            {m}_tower_1_conv_2 {m}_tower_1_conv_1 96 3x3 1 pad
            {m}_tower_2_pool = ave {x} 1 1
            {m}_tower_2_conv {m}_tower_2_pool {p} 1x1 1 no
            {m}_join = cat {m}_conv {m}_tower_conv_1 {m}_tower_1_conv_2 {m}_tower_2_conv
            """,
            m=m,
            x=x,
            p=projection,
        )
        x = f"{m}_join"
    rows("""
        mixed_3_conv mixed_2_join 384 3x3 2 no
        mixed_3_tower_conv mixed_2_join 64 1x1 1 no
        mixed_3_tower_conv_1 mixed_3_tower_conv 96 3x3 1 pad
        mixed_3_tower_conv_2 mixed_3_tower_conv_1 96 3x3 2 no
        mixed_3_pool = max mixed_2_join 2 0
        mixed_3_join = cat mixed_3_conv mixed_3_tower_conv_2 mixed_3_pool
    """)
    x = "mixed_3_join"
    for m, n in (
        ("mixed_4", 128),
        ("mixed_5", 160),
        ("mixed_6", 160),
        ("mixed_7", 192),
    ):
        rows(
            """
            {m}_conv {x} 192 1x1 1 no
            {m}_tower_conv {x} {n} 1x1 1 no
            {m}_tower_conv_1 {m}_tower_conv {n} 7x1 1 pad
            {m}_tower_conv_2 {m}_tower_conv_1 192 1x7 1 pad
            {m}_tower_1_conv {x} {n} 1x1 1 no
            {m}_tower_1_conv_1 {m}_tower_1_conv {n} 1x7 1 pad
            {m}_tower_1_conv_2 {m}_tower_1_conv_1 {n} 7x1 1 pad
            {m}_tower_1_conv_3 {m}_tower_1_conv_2 {n} 1x7 1 pad
            {m}_tower_1_conv_4 {m}_tower_1_conv_3 192 7x1 1 pad
            {m}_tower_2_pool = ave {x} 1 1
            {m}_tower_2_conv {m}_tower_2_pool 192 1x1 1 no
            {m}_join = cat {m}_conv {m}_tower_conv_2 {m}_tower_1_conv_4 {m}_tower_2_conv
            """,
            m=m,
            x=x,
            n=n,
        )
        x = f"{m}_join"
    rows("""
        mixed_8_tower_conv mixed_7_join 192 1x1 1 no
        mixed_8_tower_conv_1 mixed_8_tower_conv 320 3x3 2 no
        mixed_8_tower_1_conv mixed_7_join 192 1x1 1 no
        mixed_8_tower_1_conv_1 mixed_8_tower_1_conv 192 7x1 1 pad
        mixed_8_tower_1_conv_2 mixed_8_tower_1_conv_1 192 1x7 1 pad
        mixed_8_tower_1_conv_3 mixed_8_tower_1_conv_2 192 3x3 2 no
        mixed_8_pool = max mixed_7_join 2 0
        mixed_8_join = cat mixed_8_tower_conv_1 mixed_8_tower_1_conv_3 mixed_8_pool
    """)
    x = "mixed_8_join"
    for m, pool in (("mixed_9", "ave"), ("mixed_10", "max")):
        rows(
            """
            {m}_conv {x} 320 1x1 1 no
            {m}_tower_conv {x} 384 1x1 1 no
            {m}_tower_mixed_conv {m}_tower_conv 384 3x1 1 pad
            {m}_tower_mixed_conv_1 {m}_tower_conv 384 1x3 1 pad
            {m}_tower_1_conv {x} 448 1x1 1 no
            {m}_tower_1_conv_1 {m}_tower_1_conv 384 3x3 1 pad
            {m}_tower_1_mixed_conv {m}_tower_1_conv_1 384 3x1 1 pad
            {m}_tower_1_mixed_conv_1 {m}_tower_1_conv_1 384 1x3 1 pad
            {m}_tower_2_pool = {pool} {x} 1 1
            {m}_tower_2_conv {m}_tower_2_pool 192 1x1 1 no
            {m}_join = cat {m}_conv {m}_tower_mixed_conv {m}_tower_mixed_conv_1 {rest}
            """,
            m=m,
            x=x,
            pool=pool,
            rest=f"{m}_tower_1_mixed_conv {m}_tower_1_mixed_conv_1 {m}_tower_2_conv",
        )
        x = f"{m}_join"
    return lines
