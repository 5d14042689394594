"""Independent PyTorch references, written from the papers.

C2D, C3D and CoST are the networks of the authors of CoST (hikvision-research/cost, on
mmaction2 0.24) with the names of mmaction2. The image ResNet has the names of
torchvision.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def reference_cost(depths, width=64, classes=400, block="cost_b", pooling="code"):
    """Builds C2D, C3D or CoST like the code of the authors.

    Args:
        depths: tuple of 4 ints, blocks in each stage.
        width: int, filters of the stem.
        classes: int.
        block: `"c2d"`, `"c3d_3x1x1"`, `"c3d_3x3x3"`, `"cost_a"` or `"cost_b"`, what
            stands in the blocks 1, 3, 5, ...
        pooling: `"code"`, that of the authors and of PyTorchVideo; `"unpadded"`, that
            of mmaction2's C2D; or `"spatial"`, that of mmaction2's TSN.

    Returns:
        `torch.nn.Module` in evaluation mode, weights and statistics at random, from
        normalised clips `(batch, 3, frames, height, width)` to logits.
    """
    reference = randomize(_Recognizer(depths, width, classes, block))
    reference.backbone.pooling = pooling
    return reference


def reference_resnet(depths, width=64, classes=1000):
    """Builds the ResNet of torchvision with bottlenecks.

    Returns:
        `torch.nn.Module` in evaluation mode, weights and statistics at random, from
        normalised images `(batch, 3, height, width)` to logits.
    """
    return randomize(_ImageNet(depths, width, classes))


def logits(model, clips):
    """Returns the outputs of a reference for the input of a model of stzoo.

    Args:
        model: `torch.nn.Module` of this file.
        clips: array `(batch, [frames,] height, width, 3)`, RGB of 0 to 255.

    Returns:
        Array `(batch, classes)`.
    """
    x = (np.asarray(clips, "float64") - MEAN) / STD
    x = torch.from_numpy(np.moveaxis(x, -1, 1).astype("float32"))
    with torch.no_grad():
        return model(x).numpy()


def randomize(model, seed=0):
    """Sets random weights of a useful scale, and non-trivial batch norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("num_batches_tracked"):
                tensor.fill_(1000)
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + noise.abs())
            elif name.endswith("alpha"):
                tensor.copy_(noise)
            elif name.endswith((".fc1.weight", ".fc2.weight")):
                # Soft coefficients. With 0 and 1, rounding errors would be amplified.
                tensor.copy_(noise * 0.3 / len(tensor) ** 0.5)
            elif name.endswith(("conv3.bn.weight", "bn3.weight")):
                tensor.copy_(0.5 + 0.1 * noise)  # otherwise deep networks overflow
            elif tensor.ndim == 1:
                center = float(name.endswith("weight"))  # gammas around 1
                tensor.copy_(center + 0.2 * noise)
            else:
                tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
    return model.eval()


class _CoST(nn.Module):
    """One kernel, three views: height-width, time-width, time-height."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.stride = (1, stride, stride)
        self.weight = nn.Parameter(torch.empty(filters, channels, 1, 3, 3))

    def views(self, x):
        kernel = self.weight[:, :, 0]  # rows become time in both temporal views
        hw, tw, th = kernel.unsqueeze(2), kernel.unsqueeze(3), kernel.unsqueeze(4)
        return torch.stack(
            (
                F.conv3d(x, hw, stride=self.stride, padding=(0, 1, 1)),
                F.conv3d(x, tw, stride=self.stride, padding=(1, 0, 1)),
                F.conv3d(x, th, stride=self.stride, padding=(1, 1, 0)),
            )
        )


class _CoSTa(_CoST):
    def __init__(self, channels, filters, stride):
        super().__init__(channels, filters, stride)
        self.alpha = nn.Parameter(torch.empty(3, filters))

    def forward(self, x):
        weights = self.alpha.softmax(0)[:, None, :, None, None, None]
        return (weights * self.views(x)).sum(0)


class _CoSTb(_CoST):
    def __init__(self, channels, filters, stride):
        super().__init__(channels, filters, stride)
        self.fc1 = nn.Linear(filters, filters, bias=False)
        self.fc2 = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        views = self.views(x)
        seen = self.fc1(views.amax((3, 4, 5)))  # (view, batch, channel)
        weights = self.fc2(seen.permute(1, 2, 0)).softmax(-1)  # (batch, channel, view)
        return (weights.permute(2, 0, 1)[..., None, None, None] * views).sum(0)


class _ConvModule(nn.Module):
    """The convolution and batch norm of mmcv."""

    def __init__(self, conv, filters):
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm3d(filters)

    def forward(self, x):
        return self.bn(self.conv(x))


def _conv3d(channels, filters, size, stride=1):
    padding = tuple(n // 2 for n in size)
    stride = (1, stride, stride)
    return nn.Conv3d(channels, filters, size, stride, padding, bias=False)


class _Block3d(nn.Module):
    def __init__(self, channels, filters, stride, block):
        super().__init__()
        first = (3, 1, 1) if block == "c3d_3x1x1" else (1, 1, 1)
        second = (3, 3, 3) if block == "c3d_3x3x3" else (1, 3, 3)
        operator = {"cost_a": _CoSTa, "cost_b": _CoSTb}.get(block)
        middle = (
            operator(filters, filters, stride)
            if operator
            else _conv3d(filters, filters, second, stride)
        )
        last = _conv3d(filters, 4 * filters, (1, 1, 1))
        self.conv1 = _ConvModule(_conv3d(channels, filters, first), filters)
        self.conv2 = _ConvModule(middle, filters)
        self.conv3 = _ConvModule(last, 4 * filters)
        self.downsample = None
        if stride != 1 or channels != 4 * filters:
            shortcut = _conv3d(channels, 4 * filters, (1, 1, 1), stride)
            self.downsample = _ConvModule(shortcut, 4 * filters)

    def forward(self, x):
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Backbone3d(nn.Module):
    def __init__(self, depths, width, block):
        super().__init__()
        self.conv1 = _ConvModule(_conv3d(3, width, (1, 7, 7), 2), width)
        channels, index = width, 0
        for stage, depth in enumerate(depths):
            filters, blocks = width * 2**stage, []
            for position in range(depth):
                stride = 2 if stage and position == 0 else 1
                what = block if index % 2 else "c2d"
                blocks.append(_Block3d(channels, filters, stride, what))
                channels, index = 4 * filters, index + 1
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    @property
    def stages(self):
        return [module for name, module in self.named_children() if "layer" in name]

    def forward(self, x):
        padding = 0 if self.pooling == "unpadded" else (0, 1, 1)
        x = F.max_pool3d(F.relu(self.conv1(x)), (1, 3, 3), (1, 2, 2), padding)
        x = self.stages[0](x)
        if self.pooling != "spatial":
            x = F.max_pool3d(x, (2, 1, 1), (2, 1, 1))
        for stage in self.stages[1:]:
            x = stage(x)
        return x


class _Recognizer(nn.Module):
    def __init__(self, depths, width, classes, block):
        super().__init__()
        self.backbone = _Backbone3d(depths, width, block)
        self.cls_head = nn.Module()
        self.cls_head.fc_cls = nn.Linear(4 * width * 2 ** (len(depths) - 1), classes)

    def forward(self, x):
        return self.cls_head.fc_cls(self.backbone(x).mean((2, 3, 4)))


class _Block2d(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        self.downsample = nn.Identity()
        if stride != 1 or channels != 4 * filters:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * filters, 1, stride, bias=False),
                nn.BatchNorm2d(4 * filters),
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + self.downsample(x))


class _ImageNet(nn.Module):
    def __init__(self, depths, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate(depths):
            filters, blocks = width * 2**stage, []
            for position in range(depth):
                stride = 2 if stage and position == 0 else 1
                blocks.append(_Block2d(channels, filters, stride))
                channels = 4 * filters
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    @property
    def stages(self):
        return [module for name, module in self.named_children() if "layer" in name]

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))
