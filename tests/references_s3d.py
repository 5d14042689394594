"""An independent PyTorch reference of S3D and S3D-G, under torchvision's names."""

import numpy as np
import torch
from references import randomize
from torch import nn
from torch.nn import functional as F

# Channels of Inception v1: input, 1x1, reduce, 3x3, reduce, 3x3, projection.
TABLE = """
    mixed_3b 192  64  96 128 16  32  32
    mixed_3c 256 128 128 192 32  96  64
    pool 3 1
    mixed_4b 480 192  96 208 16  48  64
    mixed_4c 512 160 112 224 24  64  64
    mixed_4d 512 128 128 256 24  64  64
    mixed_4e 512 112 144 288 32  64  64
    mixed_4f 528 256 160 320 32 128 128
    pool 2 0
    mixed_5b 832 256 160 320 32 128 128
    mixed_5c 832 384 192 384 48 128 128
"""


def reference_s3d(width, classes, gating=False):
    """S3D, weights and statistics at random.

    Args:
        width: int, filters of the stem.
        classes: int.
        gating: bool, whether to add gates. Their names are those of stzoo.

    Returns:
        `torch.nn.Module` in evaluation mode, from normalised clips
        `(batch, 3, frames, height, width)` to logits.
    """
    return randomize(_S3D(width, classes, gating))


def logits(model, clips, clip):
    """What a reference answers to clips `(batch, frames, height, width, 3)`, normalised
    as a `ClipConfig` says.
    """
    x = (np.asarray(clips, "float64") - clip.mean) / clip.std
    x = torch.from_numpy(np.moveaxis(x, -1, 1).astype("float32"))
    with torch.no_grad():
        return model(x).numpy()


def kylemin(state):
    """The names of kylemin/S3D for tensors with torchvision's names."""
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "classifier":
            new = ["fc", "0"]
        else:
            place, *path = parts[1:-1]
            layer, path = ("conv", "bn")[int(path[-1])], path[:-1]
            double = place in "03" or path[:2] in (["branch1", "1"], ["branch2", "1"])
            if double:
                layer, path = f"{layer}_{'st'[int(path[-1])]}", path[:-1]
            if path == ["branch0"]:
                path = ["branch0", "0"]
            new = ["base", place, *path, layer]
        renamed[".".join([*new, parts[-1]])] = tensor
    return renamed


class _Unit(nn.Sequential):
    def __init__(self, channels, filters, size, stride=(1, 1, 1)):
        padding = tuple(n // 2 for n in size)
        super().__init__(
            nn.Conv3d(channels, filters, size, stride, padding, bias=False),
            nn.BatchNorm3d(filters, eps=1e-3),
            nn.ReLU(),
        )


def _separable(channels, filters, size, stride=1):
    return nn.Sequential(
        _Unit(channels, filters, (1, size, size), (1, stride, stride)),
        _Unit(filters, filters, (size, 1, 1), (stride, 1, 1)),
    )


class _Block(nn.Module):
    def __init__(self, channels, one, reduce3, three, reduce5, five, projection):
        super().__init__()
        point = (1, 1, 1)
        self.branch0 = _Unit(channels, one, point)
        self.branch1 = nn.Sequential(
            _Unit(channels, reduce3, point), _separable(reduce3, three, 3)
        )
        self.branch2 = nn.Sequential(
            _Unit(channels, reduce5, point), _separable(reduce5, five, 3)
        )
        self.branch3 = nn.Sequential(
            nn.MaxPool3d(3, 1, 1), _Unit(channels, projection, point)
        )
        self.gates = [nn.Identity()] * 4

    def forward(self, x):
        branches = (self.branch0, self.branch1, self.branch2, self.branch3)
        pairs = zip(self.gates, branches, strict=True)
        return torch.cat([gate(branch(x)) for gate, branch in pairs], 1)


class _Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x):
        return x * self.fc(x.mean((2, 3, 4))).sigmoid()[:, :, None, None, None]


class _S3D(nn.Module):
    def __init__(self, width, classes, gating):
        super().__init__()
        layers = [
            _separable(3, width, 7, 2),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            _Unit(width, width, (1, 1, 1)),
            _separable(width, 3 * width, 3),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ]
        self.gates, inner = nn.ModuleDict(), {}
        for row in TABLE.strip().split("\n"):
            name, *numbers = row.split()
            numbers = list(map(int, numbers))
            if name == "pool":
                layers.append(nn.MaxPool3d(numbers[0], 2, numbers[1]))
                continue
            # Each branch is scaled by itself, so sums of branches are, too.
            numbers = [n * width // 64 for n in numbers]
            layers.append(_Block(*numbers))
            if gating:
                _, *numbers = numbers
                ends = (numbers[0], numbers[2], numbers[4], numbers[5])
                inner[name] = [_Gate(n) for n in ends]
                layers[-1].gates = inner[name]
                for number, gate in enumerate(inner[name]):
                    self.gates[f"{name}_branch{number}"] = gate
        if gating:
            self.gates["stem_2c"] = _Gate(3 * width)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(0.2), nn.Conv3d(16 * width, classes, 1)
        )

    def forward(self, x):
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index == 3 and "stem_2c" in self.gates:
                x = self.gates["stem_2c"](x)
        window = [min(n, size) for n, size in zip(x.shape[2:], (2, 7, 7), strict=True)]
        return self.classifier(F.avg_pool3d(x, window, 1)).mean((2, 3, 4))
