"""Operators as Keras layers."""

from stzoo.layers.conv import ClipConv as ClipConv
from stzoo.layers.conv import FrameConv as FrameConv
from stzoo.layers.cost import CoST as CoST
from stzoo.layers.preprocessing import Normalize as Normalize
