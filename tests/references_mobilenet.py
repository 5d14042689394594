"""An independent PyTorch reference of MobileNetV2, under the names of MIT's TSM."""

from torch import nn

# Expansion, filters and stride of each of the seventeen blocks.
BLOCKS = (
    *[(1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 32, 1)],
    *[(6, 64, 2), (6, 64, 1), (6, 64, 1), (6, 64, 1), (6, 96, 1), (6, 96, 1)],
    *[(6, 96, 1), (6, 160, 2), (6, 160, 1), (6, 160, 1), (6, 320, 1)],
)


class MobileNetV2(nn.Module):
    """Images to features.

    Args:
        width: int, filters of the stem.
        shifted: function of a convolution that returns it with a shift before it, or
            `None`.
    """

    def __init__(self, width, shifted=None):
        super().__init__()
        self.features = nn.Sequential(_conv_bn(3, width, 3, 2))
        channels = width
        for expansion, filters, stride in BLOCKS:
            filters = filters * width // 32
            self.features.append(_Block(channels, filters, stride, expansion, shifted))
            channels = filters
        self.features.append(_conv_bn(channels, 40 * width, 1, 1))

    def forward(self, x):
        return self.features(x).mean((2, 3))


def _conv_bn(channels, filters, size, stride):
    conv = nn.Conv2d(channels, filters, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU6())


class _Block(nn.Module):
    def __init__(self, channels, filters, stride, expansion, shifted):
        super().__init__()
        hidden = channels * expansion
        self.adds = stride == 1 and channels == filters
        expand = _conv_bn(channels, hidden, 1, 1) if expansion > 1 else ()
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.conv = nn.Sequential(
            *expand,
            *(depthwise, nn.BatchNorm2d(hidden), nn.ReLU6()),
            *(nn.Conv2d(hidden, filters, 1, bias=False), nn.BatchNorm2d(filters)),
        )
        if shifted and self.adds:
            self.conv[0] = shifted(self.conv[0])

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


def torchvision(state):
    """The tensors of a reference by torchvision's names."""
    return {_by_unit(name): tensor for name, tensor in state.items()}


def mmaction(state):
    """The tensors of a reference by mmaction2's names."""
    starts = (1, 2, 4, 7, 11, 14, 17)
    renamed = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] != "features":
            renamed[name] = tensor
            continue
        number = int(parts[1])
        if parts[2] != "conv":
            kind = ("conv", "bn")[int(parts[2])]
            end = "conv1" if number == 0 else "conv2"
            renamed[f"backbone.{end}.{kind}.{parts[3]}"] = tensor
            continue
        stage = sum(start <= number for start in starts)
        unit, kind = divmod(_convolutions(int(parts[3])), 2)
        net = "net." if "net" in parts else ""
        block = f"backbone.layer{stage}.{number - starts[stage - 1]}.conv"
        renamed[f"{block}.{unit}.{net}{('conv', 'bn')[kind]}.{parts[-1]}"] = tensor
    return renamed


def _convolutions(layer):
    """The place of a layer of a block among its convolutions and batch norms."""
    return layer - (layer > 2) - (layer > 5)


def _by_unit(name):
    parts = name.replace(".net.", ".").split(".")
    if parts[0] != "features" or parts[2] != "conv":
        return name
    place = _convolutions(int(parts[3]))
    last = 2 if parts[1] == "1" else 4  # places before the projection
    unit = f"{place // 2}.{place % 2}" if place < last else f"{place - last // 2}"
    return ".".join([*parts[:3], unit, parts[-1]])
