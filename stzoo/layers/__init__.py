"""Operators as Keras layers."""

from stzoo.layers.attention import DotProductAttention as DotProductAttention
from stzoo.layers.attention import QueryToken as QueryToken
from stzoo.layers.attention import SineCosinePositions as SineCosinePositions
from stzoo.layers.attention import TubeletEmbedding as TubeletEmbedding
from stzoo.layers.conv import ClipConv as ClipConv
from stzoo.layers.conv import DepthwiseConv as DepthwiseConv
from stzoo.layers.conv import FrameConv as FrameConv
from stzoo.layers.cost import CoST as CoST
from stzoo.layers.cstm import CSTM as CSTM
from stzoo.layers.gating import SelfGating as SelfGating
from stzoo.layers.norm import BatchNorm as BatchNorm
from stzoo.layers.norm import LayerNorm as LayerNorm
from stzoo.layers.preprocessing import Normalize as Normalize
from stzoo.layers.relation import TemporalRelation as TemporalRelation
from stzoo.layers.shift import ChannelAttention as ChannelAttention
from stzoo.layers.shift import GateShift as GateShift
from stzoo.layers.shift import TemporalShift as TemporalShift
from stzoo.layers.stm import MotionDifference as MotionDifference
from stzoo.layers.stm import TemporalDepthwiseConv as TemporalDepthwiseConv
from stzoo.layers.stpn import AttentionPooling as AttentionPooling
from stzoo.layers.stpn import Pyramid as Pyramid
from stzoo.layers.stpn import (
    SpatiotemporalCompactBilinear as SpatiotemporalCompactBilinear,
)
