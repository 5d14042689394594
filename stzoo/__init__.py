"""Keras 3 models for video action recognition, with pretrained weights."""

from stzoo import _environment

_environment.prepare()

from stzoo import layers as layers
from stzoo.explain.contributions import contributions as contributions
from stzoo.export.fusion import fuse as fuse
from stzoo.inference.predict import predict as predict
from stzoo.models.cost import c2d_resnet50 as c2d_resnet50
from stzoo.models.cost import c2d_resnet101 as c2d_resnet101
from stzoo.models.cost import c2d_resnet152 as c2d_resnet152
from stzoo.models.cost import c2d_tiny as c2d_tiny
from stzoo.models.cost import c3d_resnet50 as c3d_resnet50
from stzoo.models.cost import c3d_resnet101 as c3d_resnet101
from stzoo.models.cost import c3d_tiny as c3d_tiny
from stzoo.models.cost import cost_resnet50 as cost_resnet50
from stzoo.models.cost import cost_resnet101 as cost_resnet101
from stzoo.models.cost import cost_resnet152 as cost_resnet152
from stzoo.models.cost import cost_tiny as cost_tiny
from stzoo.models.cstm import cstm_bninception as cstm_bninception
from stzoo.models.cstm import cstm_inceptionv3 as cstm_inceptionv3
from stzoo.models.cstm import cstm_tiny as cstm_tiny
from stzoo.models.gsm import gsm_bninception as gsm_bninception
from stzoo.models.gsm import gsm_inceptionv3 as gsm_inceptionv3
from stzoo.models.gsm import gsm_tiny as gsm_tiny
from stzoo.models.p3d import p3d_resnet50 as p3d_resnet50
from stzoo.models.p3d import p3d_resnet101 as p3d_resnet101
from stzoo.models.p3d import p3d_resnet152 as p3d_resnet152
from stzoo.models.p3d import p3d_tiny as p3d_tiny
from stzoo.models.stpn import stpn_bninception as stpn_bninception
from stzoo.models.stpn import stpn_resnet50 as stpn_resnet50
from stzoo.models.stpn import stpn_tiny as stpn_tiny
from stzoo.models.stpn import stpn_vgg16 as stpn_vgg16
from stzoo.models.tsm import tsm_bninception as tsm_bninception
from stzoo.models.tsm import tsm_resnet50 as tsm_resnet50
from stzoo.models.tsm import tsm_resnet101 as tsm_resnet101
from stzoo.models.tsm import tsm_tiny as tsm_tiny
from stzoo.models.tsn import tsn_bninception as tsn_bninception
from stzoo.models.tsn import tsn_inceptionv3 as tsn_inceptionv3
from stzoo.models.tsn import tsn_resnet50 as tsn_resnet50
from stzoo.models.tsn import tsn_tiny as tsn_tiny
from stzoo.weights.checkpoint import save as save
from stzoo.zoo import create as create
from stzoo.zoo import list_models as list_models
from stzoo.zoo import load as load
