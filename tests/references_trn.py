"""An independent PyTorch reference of TRN, under the names of the authors' files."""

import itertools

from references import randomize
from references_inception import _Video, logits
from torch import nn

from stzoo.models import trn
from stzoo.weights.checkpoint import assign, check
from stzoo.weights.convert import convert

__all__ = ("load", "logits", "mmaction", "reference_trn")


def reference_trn(backbone, width, classes, frames, choose, units=64):
    """TRN, weights and statistics at random.

    Args:
        backbone, width, classes: as in `references_inception.reference_tsn`.
        frames: int.
        choose: function `(scale, subsets)` of the number of frames in a subset and the
            list of all subsets, tuples of frames, that returns pairs of a factor and a
            subset.
        units: int, values of each frame, and hidden values of each scale.

    Returns:
        `torch.nn.Module` in evaluation mode, from normalised clips
        `(batch, 3, frames, height, width)` to logits.
    """
    return randomize(_TRN(backbone, width, classes, frames, choose, units))


def load(model, reference):
    """Puts all weights of a reference into a model."""
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    tensors = convert(trn.prepare([state], {}), shapes, trn.KEY_MAP)
    check(tensors, shapes)
    assign(model, tensors)


def mmaction(state):
    """mmaction2's names for tensors with the authors' names."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("base_model.", "backbone.")
        name = name.replace("downsample.0.", "downsample.conv.")
        name = name.replace("downsample.1.", "downsample.bn.")
        for index in "123":
            name = name.replace(f"conv{index}.", f"conv{index}.conv.")
            name = name.replace(f".bn{index}.", f".conv{index}.bn.")
        name = name.replace("new_fc.", "cls_head.fc_cls.")
        renamed[name.replace("consensus.", "cls_head.consensus.")] = tensor
    return renamed


class _Relations(nn.Module):
    def __init__(self, units, frames, classes, choose):
        super().__init__()
        self.frames, self.choose = frames, choose
        self.fc_fusion_scales = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Linear(scale * units, units),
                nn.ReLU(),
                nn.Linear(units, classes),
            )
            for scale in range(frames, 1, -1)
        )

    def forward(self, x):
        total = 0
        for index, fusion in enumerate(self.fc_fusion_scales):
            scale = len(self.fc_fusion_scales) + 1 - index
            subsets = list(itertools.combinations(range(len(x[0])), scale))
            for factor, subset in self.choose(scale, subsets):
                total = total + factor * fusion(x[:, list(subset)].flatten(1))
        return total


class _TRN(_Video):
    def __init__(self, backbone, width, classes, frames, choose, units):
        super().__init__(backbone, width, units, (), None, (None, None))
        self.consensus = _Relations(units, frames, classes, choose)

    def forward(self, x):
        batch, channels, frames, height, width = x.shape
        x = x.transpose(1, 2).reshape(-1, channels, height, width)
        return self.consensus(self.new_fc(self.base_model(x)).view(batch, frames, -1))
