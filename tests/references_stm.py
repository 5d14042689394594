"""An independent PyTorch reference of STM, written from the paper.

Names are those of torchvision's ResNet, and of stzoo where that has none.
"""

import torch
from references import randomize
from torch import nn
from torch.nn import functional as F


def reference_stm(depths, width, classes):
    """STM, weights and statistics at random.

    Returns:
        `torch.nn.Module` in evaluation mode, from normalised clips
        `(batch, 3, frames, height, width)` to logits.
    """
    return randomize(_STM(depths, width, classes))


class _Block(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.stride, reduced = stride, max(1, filters // 16)
        self.conv1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.temporal = nn.Conv1d(
            filters, filters, 3, padding=1, groups=filters, bias=False
        )
        self.conv2 = nn.Conv2d(filters, filters, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.motion_reduce = nn.Conv2d(filters, reduced, 1, bias=False)
        self.motion_bn = nn.BatchNorm2d(reduced)
        self.motion_difference = nn.Conv2d(
            reduced, reduced, 3, padding=1, groups=reduced, bias=False
        )
        self.motion_expand = nn.Conv2d(reduced, filters, 1, bias=False)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)
        self.downsample = nn.Identity()
        if stride != 1 or channels != 4 * filters:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * filters, 1, stride, bias=False),
                nn.BatchNorm2d(4 * filters),
            )

    def forward(self, x):
        """Takes frames `(batch * frames, channels, height, width)`."""
        y = F.relu(self.bn1(self.conv1(x)))
        z = self.spatiotemporal(y) + self.motion(y)
        return F.relu(self.bn3(self.conv3(z)) + self.downsample(x))

    def spatiotemporal(self, x):
        _, channels, height, width = x.shape
        y = x.view(-1, self.frames, channels, height, width).permute(0, 3, 4, 2, 1)
        y = self.temporal(y.reshape(-1, channels, self.frames))
        y = y.view(-1, height, width, channels, self.frames).permute(0, 4, 3, 1, 2)
        return F.relu(self.bn2(self.conv2(y.reshape(x.shape))))

    def motion(self, x):
        y = self.motion_bn(self.motion_reduce(x))
        clips = y.view(-1, self.frames, *y.shape[1:])
        moved = torch.zeros_like(clips)
        for t in range(self.frames - 1):
            moved[:, t] = self.motion_difference(clips[:, t + 1]) - clips[:, t]
        y = self.motion_expand(moved.flatten(0, 1))
        return F.max_pool2d(y, 2) if self.stride == 2 else y


class _STM(nn.Module):
    def __init__(self, depths, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate(depths):
            filters, blocks = width * 2**stage, []
            for position in range(depth):
                stride = 2 if stage and position == 0 else 1
                blocks.append(_Block(channels, filters, stride))
                channels = 4 * filters
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        batch, channels, frames, height, width = x.shape
        for module in self.modules():
            module.frames = frames
        x = x.transpose(1, 2).reshape(-1, channels, height, width)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3))).view(batch, frames, -1).mean(1)
