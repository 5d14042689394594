"""An independent PyTorch reference of STPN, with ResNet and VGG-16 of torchvision."""

import numpy as np
import torch
from references import MEAN, STD, _ImageNet, randomize
from torch import nn


def reference_stpn(backbone, width, classes, length, snippets, dim, attention=64):
    """Builds STPN with random weights and statistics.

    Args:
        backbone: `"vgg16"`, or the depths of a ResNet.
        width: int, filters of the stem.
        classes: int.
        length: int, frames of a snippet.
        snippets: int.
        dim: int, of the top fusion.
        attention: int, filters of attention, or 0 for none.

    Returns:
        `torch.nn.Module` in evaluation mode, for `logits`.
    """
    model = randomize(_STPN(backbone, width, classes, length, snippets, dim, attention))
    for module in model.modules():
        if isinstance(module, _Fusion):
            module.draw()
    return model


def logits(model, clips):
    """Returns the outputs of a reference for RGB and flow.

    Args:
        model: the result of `reference_stpn`.
        clips: array `(batch, frames, height, width, 5)`, of 0 to 255.
    """
    x = np.moveaxis(np.asarray(clips, "float64"), -1, 2)  # batch, frames, channels
    frame = x[:, x.shape[1] // model.length // 2 * model.length, :3]
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (MEAN, STD))
    flow = (x[:, :, 3:] - 128) / model.flow_std
    flow = flow.reshape(len(x), -1, 2 * model.length, *x.shape[3:])
    with torch.no_grad():
        return model(_tensor((frame - mean) / std), _tensor(flow)).numpy()


def _tensor(array):
    return torch.from_numpy(array.astype("float32"))


class _Fusion(nn.Module):
    """Algorithm 1, by scattering and a complex FFT, normalised to mean square 1."""

    def __init__(self, widths, dim):
        super().__init__()
        self.widths, self.dim = widths, dim
        for i, width in enumerate(widths):
            self.register_buffer(f"hash{i}", torch.zeros(width, dtype=torch.int32))
            self.register_buffer(f"sign{i}", torch.zeros(width))

    def draw(self):
        generator = torch.Generator().manual_seed(sum(self.widths))
        for i, width in enumerate(self.widths):
            hashes = torch.randint(self.dim, (width,), generator=generator)
            signs = torch.randint(2, (width,), generator=generator) * 2 - 1
            getattr(self, f"hash{i}").copy_(hashes)
            getattr(self, f"sign{i}").copy_(signs)

    def forward(self, inputs):
        """Tensors `(batch, channels, ...)`."""
        product = 1
        for i, x in enumerate(inputs):
            x = x.movedim(1, -1).double()
            hashes, signs = getattr(self, f"hash{i}"), getattr(self, f"sign{i}")
            matrix = torch.zeros(len(hashes), self.dim, dtype=torch.double)
            matrix[torch.arange(len(hashes)), hashes.long()] = signs.double()
            product = product * torch.fft.fft(x @ matrix)
        y = torch.fft.ifft(product).real
        y = y / y.square().mean(-1, keepdim=True).sqrt()
        return y.movedim(-1, 1).float()


class _ResNet(_ImageNet):
    def __init__(self, depths, width, channels):
        super().__init__(depths, width, 1)
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        del self.fc

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class _VGG(nn.Module):
    def __init__(self, width, channels):
        super().__init__()
        layers = []
        for scale in (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"):
            if scale == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers.append(nn.Conv2d(channels, scale * width, 3, padding=1))
                layers.append(nn.ReLU())
                channels = scale * width
        self.features = nn.Sequential(*layers)

    def forward(self, x):
        return self.features(x)


class _STPN(nn.Module):
    def __init__(self, backbone, width, classes, length, snippets, dim, attention):
        super().__init__()
        self.length, self.flow_std = length, sum(STD) / 3

        def stream(channels):
            if backbone == "vgg16":
                return _VGG(width, channels)
            return _ResNet(backbone, width, channels)

        self.spatial, self.temporal = stream(3), stream(2 * length)
        maps = (8 if backbone == "vgg16" else 32) * width
        self.temporal_fusion = _Fusion([maps] * snippets, maps)
        self.attention = None
        if attention:
            self.attention_fusion = _Fusion([maps] * 2, 2 * maps)
            self.attention = nn.Module()
            self.attention.conv1 = nn.Linear(2 * maps, attention)
            self.attention.conv2 = nn.Linear(attention, 1, bias=False)
        self.top_fusion = _Fusion([maps] * (3 if attention else 2), dim)
        self.fc = nn.Linear(dim, classes)

    def forward(self, frame, flow):
        spatial = self.spatial(frame)
        snippets = [self.temporal(flow[:, i]) for i in range(flow.shape[1])]
        temporal = self.temporal_fusion(snippets)
        seen = [spatial.mean((2, 3)), temporal.mean((2, 3))]
        if self.attention:
            pair = self.attention_fusion([spatial, temporal]).movedim(1, -1)
            scores = self.attention.conv2(self.attention.conv1(pair).relu())
            weights = scores.flatten(1).softmax(1).view(len(pair), 1, *pair.shape[1:3])
            seen.insert(1, (spatial * weights).sum((2, 3)))
        return self.fc(self.top_fusion(seen))
