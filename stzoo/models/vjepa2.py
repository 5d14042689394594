"""V-JEPA 2: a video transformer that predicts features, with an attentive probe.

Assran et al.: V-JEPA 2, Self-Supervised Video Models Enable Understanding, Prediction
and Planning. 2025. https://arxiv.org/abs/2506.09985,
https://github.com/facebookresearch/vjepa2

*Stated*: tubelets of 2x16x16, pre-norm blocks with a LayerNorm of epsilon 1e-6, rotary
positions in time, rows and columns (see `stzoo.layers.attention.rotations` for the
layout that the weights need), one LayerNorm. The probe has three blocks without
positions, then one learned query that attends to all tokens (tokens are normalised,
the query is not, and there is no projection after the attention), a network of two
layers, and a linear layer.

*Our reading*:

* The positions of another size or number of frames are those of its own grid.
* Probes saw two clips of 16 frames, 4 apart, for Something-Something v2 (ViT-L), and
  four clips of 32 frames, 2 apart, for Diving48, in three crops each, as the names of
  the authors' files say.

The order of the classes and the normalization are those that the repository states, see
`stzoo.weights.described`. The predictor of the pre-training is left out. `"ssl"`
is the encoder with a new probe.
"""

from functools import partial

import keras

from stzoo.backbones.vit import add, block, dense, mlp, normed
from stzoo.layers.attention import (
    DotProductAttention,
    QueryToken,
    TubeletEmbedding,
)
from stzoo.layers.ends import clip_input, head
from stzoo.layers.network import Network
from stzoo.models.family import Architecture, Family, motions_entry
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.described import described
from stzoo.weights.labels import classes_of

EPSILON = 1e-6
TINY = ClipConfig(16, stride=1, height=64, width=64, short_side=72, fps=12)


def vjepa2(config, name, width, depth, heads, hidden=None, patch=16, probe=3):
    """Builds the graph.

    Args:
        config: `ModelConfig`.
        name: string.
        width: int, channels of a token.
        depth: int, number of blocks of the encoder.
        heads: int.
        hidden: int, units between the layers of a block. `None`: four times `width`.
        patch: int, pixels of a side of a tubelet.
        probe: int, number of blocks of the probe before its query.
    """
    hidden = hidden or 4 * width
    inputs, x = clip_input(config.clip)
    embed = TubeletEmbedding(width, (2, patch, patch), name="patch_embed")
    grid = embed.grid((None, *config.clip.shape))
    x = embed(x)
    for number in range(depth):
        x = block(x, f"layer_{number}", heads, hidden, EPSILON, grid)
    x = normed(x, "norm", EPSILON)
    x = keras.layers.Reshape((*grid, width), name="maps")(x)  # for saliency
    x = keras.layers.Reshape((-1, width), name="tokens")(x)
    for number in range(probe):
        x = block(x, f"pooler_{number}", heads, 4 * width, EPSILON)
    x = keras.layers.Reshape((width,), name="avgpool")(attend(x, heads))
    return Network(inputs, head(x, config.classes, 0.0), name=name)


def attend(x, heads):
    """One learned query attends to all tokens. Returns `(batch, 1, channels)`."""
    width, name = x.shape[-1], "pooler_cross"
    query = QueryToken(name="pooler")(x)
    x = normed(x, f"{name}_norm1", EPSILON)
    parts = [dense(width, f"{name}_query")(query)]
    parts += [dense(width, f"{name}_{part}")(x) for part in ("key", "value")]
    y = DotProductAttention(heads, name=f"{name}_attention")(parts)
    return mlp(add(query, y, f"{name}_add1"), name, 4 * width, EPSILON)


# The names of transformers.
KEY_MAP = (
    (r"^vjepa2\.", ""),
    (r"^encoder\.embeddings\.patch_embeddings\.proj\.", "patch_embed."),
    (r"^encoder\.layernorm\.", "norm."),
    (r"^encoder\.layer\.", "layer."),
    (r"^pooler\.self_attention_layers\.", "pooler."),
    (r"^pooler\.cross_attention_layer\.", "pooler.cross."),
    (r"\.(self_attn|cross_attn|attention|mlp)\.", "."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".proj."),
    (r"^classifier\.", "fc."),
)


def prepare(files, options):
    """Returns the tensors of a checkpoint without those of the predictor."""
    (tensors,) = files
    predictor = ("predictor.", "vjepa2.predictor.")
    return {k: v for k, v in tensors.items() if not k.startswith(predictor)}


def vjepa2_vitl(classes=None, input_shape=None, pretrained=None, name=None):
    """V-JEPA 2 on ViT-L: 304 M parameters, and 50 M in the probe."""
    return FAMILY.build(vjepa2_vitl, {}, classes, input_shape, pretrained, name)


def vjepa2_vith(classes=None, input_shape=None, pretrained=None, name=None):
    """V-JEPA 2 on ViT-H: 632 M parameters, and 79 M in the probe."""
    return FAMILY.build(vjepa2_vith, {}, classes, input_shape, pretrained, name)


def vjepa2_vitg(classes=None, input_shape=None, pretrained=None, name=None):
    """V-JEPA 2 on ViT-g: 1,012 M parameters, and 95 M in the probe."""
    return FAMILY.build(vjepa2_vitg, {}, classes, input_shape, pretrained, name)


def vjepa2_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    width=96,
    depth=4,
    heads=3,
    probe=1,
    name=None,
):
    """A small V-JEPA 2 for tests, demonstrations and studies."""
    options = dict(width=width, depth=depth, heads=heads, probe=probe)
    return FAMILY.build(vjepa2_tiny, options, classes, input_shape, pretrained, name)


def _entry(size, tag, repository, clip, top1=None, protocol=""):
    """Returns the entry of a repository of the authors."""
    is_new = {"allow_missing": ("^pooler", "^fc/")} if tag == "ssl" else {}
    return ModelConfig(
        f"vjepa2_{size}",
        tag=tag,
        clip=clip,
        licence="Apache-2.0" if size == "vitg" else "MIT",
        source="Assran et al.",
        reported={"top1": top1, "protocol": protocol} if top1 else {},
        repository=f"facebook/{repository}",
        **(is_new or classes_of(tag)),
    )


def _clip(frames, stride, size=256):
    short_side = int(size * 256 / 224)
    return ClipConfig(frames, stride, size, size, short_side)


CLIP = _clip(16, 4)

FAMILY = Family(
    architectures={
        vjepa2_vitl: Architecture(
            partial(vjepa2, width=1024, depth=24, heads=16), CLIP
        ),
        vjepa2_vith: Architecture(
            partial(vjepa2, width=1280, depth=32, heads=16), CLIP
        ),
        vjepa2_vitg: Architecture(
            partial(vjepa2, width=1408, depth=40, heads=22, hidden=6144), CLIP
        ),
        vjepa2_tiny: Architecture(vjepa2, TINY, classes=12),
    },
    arguments={
        "width": "int, channels of a token.",
        "depth": "int, number of blocks.",
        "heads": "int, heads of attention.",
        "probe": "int, number of blocks of the probe before its query.",
    },
    key_map=KEY_MAP,
    prepare=prepare,
    describe=described,
    entries=(
        _entry(
            *("vitl", "something_v2", "vjepa2-vitl-fpc16-256-ssv2"),
            *(CLIP, 73.7, "2x3 views"),
        ),
        _entry(
            *("vitl", "diving48", "vjepa2-vitl-fpc32-256-diving48"),
            *(_clip(32, 2), 89.0, "4x3 views"),
        ),
        _entry("vitl", "ssl", "vjepa2-vitl-fpc64-256", CLIP),
        _entry("vith", "ssl", "vjepa2-vith-fpc64-256", CLIP),
        _entry(
            *("vitg", "something_v2", "vjepa2-vitg-fpc64-384-ssv2"),
            *(_clip(64, 2, 384), 77.3, "2x3 views"),
        ),
        _entry(
            *("vitg", "diving48", "vjepa2-vitg-fpc32-384-diving48"),
            *(_clip(32, 2, 384), 90.2, "4x3 views"),
        ),
        _entry("vitg", "ssl", "vjepa2-vitg-fpc64-256", CLIP),
        motions_entry("vjepa2_tiny", TINY),
    ),
)
