"""An independent PyTorch reference of P3D, and its checkpoints in other formats.

It is written from Figure 3 of the paper and the prototxt files of the authors. Names,
and the results of `semantics="port"`, are those of the PyTorch port
https://github.com/qijiezhao/pseudo-3d-pytorch.
"""

import numpy as np
import torch
from references import randomize
from torch import nn
from torch.nn import functional as F


def reference_p3d(
    depths, width=64, classes=400, blocks="ABC", channels=3, semantics="paper"
):
    """Builds P3D with random weights and statistics.

    Returns:
        `torch.nn.Module` in evaluation mode, from normalised clips
        `(batch, channels, frames, height, width)` to logits.
    """
    return randomize(_P3D(depths, width, classes, blocks, channels, semantics))


def logits(model, clips, clip):
    """Returns the outputs of the reference for clips, prepared with `clip`."""
    x = (np.asarray(clips, "float64") - clip.mean) / clip.std
    x = x[..., ::-1] if clip.order == "BGR" else x
    x = torch.from_numpy(np.moveaxis(x, -1, 1).astype("float32"))
    with torch.no_grad():
        return model(x).numpy()


def gluon(state):
    """Returns the tensors of the port with the names of GluonCV."""
    words = {"running_mean": "running_mean", "running_var": "running_var"}
    modules = {
        "conv1_custom": "conv1",
        "conv3": "conv_temporal",
        "bn3": "bn_temporal",
        "conv4": "conv3",
        "bn4": "bn3",
        "conv_normal": "conv2",
        "bn_normal": "bn2",
    }
    named = {}
    for name, tensor in state.items():
        *path, module, last = name.split(".")
        if last == "num_batches_tracked":
            continue
        if tensor.ndim == 1 and module != "fc":
            words |= {"weight": "gamma", "bias": "beta"}
            last = words[last]
        module = modules.get(module, module)
        named[".".join([*path, module, last])] = tensor.numpy()
    return named


def caffe(state, depths, head="fc_kinetics"):
    """Returns the tensors of the port as Caffe layers.

    Returns:
        List of tuples: name, type, list of arrays.
    """
    modules = {"conv1": "2a", "conv2": "2b", "conv3": "2b_t", "conv4": "2c"}
    modules |= {"conv_normal": "2b", "downsample.0": "1"}
    norms = {"bn1": "2a", "bn2": "2b", "bn3": "2b_t", "bn4": "2c"}
    norms |= {"bn_normal": "2b", "downsample.1": "1"}
    words = ("weight", "bias", "running_mean", "running_var")
    layers = []
    for name in dict.fromkeys(key.rpartition(".")[0] for key in state):
        blobs = [state[f"{name}.{w}"].numpy() for w in words if f"{name}.{w}" in state]
        if name == "fc":
            layers.append((head, "InnerProduct", blobs))
        elif name in ("conv1_custom", "bn1"):
            kind = "Convolution" if name == "conv1_custom" else "BN"
            layers.append(({"bn1": "bn_conv1"}.get(name, "conv1"), kind, blobs))
        else:
            stage, block, module = name.removeprefix("layer").split(".", 2)
            few = depths[int(stage) - 1] <= 3
            unit = "abc"[int(block)] if few else f"b{block}" if int(block) else "a"
            place, convolution = f"{int(stage) + 1}{unit}_branch", module in modules
            if convolution:
                layers.append((f"res{place}{modules[module]}", "Convolution", blobs))
            else:
                layers.append((f"bn{place}{norms[module]}", "BN", blobs))
    return layers


class _P3D(nn.Module):
    def __init__(self, depths, width, classes, blocks, channels, semantics):
        super().__init__()
        self.port = semantics == "port"
        self.conv1_custom = nn.Conv3d(
            channels, width, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        channels, index = width, 0
        for stage, depth in enumerate(depths):
            units = []
            for position in range(depth):
                stride = 2 if stage and not position else 1
                kind = blocks[index % len(blocks)] if stage < 3 else None
                units.append(_Unit(channels, width * 2**stage, stride, kind, semantics))
                channels, index = 4 * width * 2**stage, index + 1
            setattr(self, f"layer{stage + 1}", nn.Sequential(*units))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1_custom(x)))
        if self.port:
            x = F.max_pool3d(x, (2, 3, 3), 2, (0, 1, 1))
        else:
            x = F.max_pool3d(x, (2, 3, 3), 2, ceil_mode=True)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = F.max_pool3d(stage(x), (2, 1, 1), (2, 1, 1), ceil_mode=not self.port)
        batch, _, frames, *_ = x.shape
        x = x.transpose(1, 2).flatten(0, 1)  # the frames that are left, if many
        x = self.layer4(x).mean((2, 3)).unflatten(0, (batch, frames))
        return self.fc(x.mean(1))


class _Unit(nn.Module):
    def __init__(self, channels, filters, stride, kind, semantics):
        super().__init__()
        self.kind, self.semantics = kind, semantics
        conv, norm, s = nn.Conv2d, nn.BatchNorm2d, (stride, stride)
        if kind:
            conv, norm, s = nn.Conv3d, nn.BatchNorm3d, (1, stride, stride)
        self.conv1 = conv(channels, filters, 1, s, bias=False)
        self.bn1 = norm(filters)
        if kind:
            kernel, margin = (1, 3, 3), (0, 1, 1)
            self.conv2 = conv(filters, filters, kernel, 1, margin, bias=False)
            self.bn2 = norm(filters)
            kernel, margin = (3, 1, 1), (1, 0, 0)
            self.conv3 = conv(filters, filters, kernel, 1, margin, bias=False)
            self.bn3 = norm(filters)
        else:
            self.conv_normal = conv(filters, filters, 3, 1, 1, bias=False)
            self.bn_normal = norm(filters)
        self.conv4 = conv(filters, 4 * filters, 1, bias=False)
        self.bn4 = norm(4 * filters)
        self.downsample = nn.Identity()
        if stride != 1 or channels != 4 * filters:
            self.downsample = nn.Sequential(
                conv(channels, 4 * filters, 1, s, bias=False), norm(4 * filters)
            )

    def forward(self, x):
        y = self.bn4(self.conv4(self.inner(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(y + self.downsample(x))

    def inner(self, x):
        if not self.kind:
            return F.relu(self.bn_normal(self.conv_normal(x)))
        spatial = F.relu(self.bn2(self.conv2(x)))
        temporal = self.bn3(self.conv3(x if self.kind == "B" else spatial))
        if self.kind == "A":
            return F.relu(temporal)
        if self.semantics == "port":
            return spatial + F.relu(temporal)
        if self.semantics == "caffe" and self.kind == "C":
            return F.relu((spatial + temporal) / 2)
        return F.relu(spatial + temporal)
