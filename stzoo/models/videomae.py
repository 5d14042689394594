"""VideoMAE: a plain video transformer, pre-trained to fill in masked tubelets.

Tong, Song, Wang, Wang: VideoMAE, Masked Autoencoders are Data-Efficient Learners for
Self-Supervised Video Pre-Training. NeurIPS 2022. https://arxiv.org/abs/2203.12602,
https://github.com/MCG-NJU/VideoMAE

*Stated*: tubelets of 2x16x16, fixed sine-cosine positions over the number of the token,
pre-norm blocks with a LayerNorm of epsilon 1e-12, keys without bias, the mean over all
tokens, a LayerNorm of epsilon 1e-5, and a linear layer.

*Our reading*:

* For another size or number of frames, the positions of the weights' own grid are
  interpolated linearly.

The order of the classes and the normalization are those that the repository states, see
`stzoo.weights.described`. The decoder of the pre-training is left out. `"ssl"`
is the pre-trained network without a head. Its weights are for fine-tuning: without it,
they tell little.
"""

from functools import partial

import keras

from stzoo.backbones.vit import block, normed
from stzoo.layers.attention import SineCosinePositions, TubeletEmbedding
from stzoo.layers.ends import clip_input, head
from stzoo.layers.network import Network
from stzoo.models.family import Architecture, Family, motions_entry
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.described import described
from stzoo.weights.labels import classes_of

NATIVE = (16, 224, 224)  # frames, height and width that the weights were trained with
CLIP = ClipConfig(frames=16, stride=4, short_side=224)
UNIFORM = ClipConfig(frames=16, short_side=224, sampling="segments")
TINY = ClipConfig(16, stride=1, height=64, width=64, short_side=72, fps=12)


def videomae(config, name, width, depth, heads, patch=16, native=NATIVE):
    """Builds the graph.

    Args:
        config: `ModelConfig`.
        name: string.
        width: int, channels of a token.
        depth: int, number of blocks.
        heads: int.
        patch: int, pixels of a side of a tubelet.
        native: tuple of ints, frames, height and width that the positions are for.
    """
    inputs, x = clip_input(config.clip)
    embed = TubeletEmbedding(width, (2, patch, patch), name="patch_embed")
    x = embed(x)
    grids = [embed.grid((None, *shape)) for shape in (config.clip.shape, native)]
    x = SineCosinePositions(*grids, name="positions")(x)
    for number in range(depth):
        x = block(x, f"layer_{number}", heads, 4 * width, 1e-12, key_bias=False)
    x = keras.layers.Reshape((*grids[0], width), name="maps")(x)
    x = keras.layers.GlobalAveragePooling3D(
        dtype="float32", data_format="channels_last", name="avgpool"
    )(x)
    x = normed(x, "fc_norm", 1e-5, dtype="float32")
    return Network(inputs, head(x, config.classes, 0.0), name=name)


# The names of transformers, and the older ones of biases.
KEY_MAP = (
    (r"^(videomae|encoder)\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed."),
    (r"^encoder\.layer\.", "layer."),
    (r"\.attention\.attention\.([qv])_bias$", r".attention.attention.\1.bias"),
    (r"\.attention\.attention\.q(uery)?\.", ".query."),
    (r"\.attention\.attention\.key\.", ".key."),
    (r"\.attention\.attention\.v(alue)?\.", ".value."),
    (r"\.attention\.output\.dense\.", ".proj."),
    (r"\.intermediate\.dense\.", ".fc1."),
    (r"\.output\.dense\.", ".fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^classifier\.", "fc."),
)
PRETRAINING = (  # what only the pre-training needs
    "decoder.",
    "encoder_to_decoder.",
    "mask_token",
    "position_embeddings",
    "videomae.embeddings.position_embeddings",
    "videomae.layernorm.",
)


def prepare(files, options):
    """Returns the tensors of a checkpoint without those of the pre-training."""
    (tensors,) = files
    return {k: v for k, v in tensors.items() if not k.startswith(PRETRAINING)}


def videomae_small(classes=None, input_shape=None, pretrained=None, name=None):
    """VideoMAE on ViT-S: 22 M parameters."""
    return FAMILY.build(videomae_small, {}, classes, input_shape, pretrained, name)


def videomae_base(classes=None, input_shape=None, pretrained=None, name=None):
    """VideoMAE on ViT-B: 87 M parameters."""
    return FAMILY.build(videomae_base, {}, classes, input_shape, pretrained, name)


def videomae_large(classes=None, input_shape=None, pretrained=None, name=None):
    """VideoMAE on ViT-L: 304 M parameters."""
    return FAMILY.build(videomae_large, {}, classes, input_shape, pretrained, name)


def videomae_tiny(
    classes=None,
    input_shape=None,
    pretrained=None,
    width=96,
    depth=4,
    heads=3,
    name=None,
):
    """A small VideoMAE for tests, demonstrations and studies."""
    options = dict(width=width, depth=depth, heads=heads)
    return FAMILY.build(videomae_tiny, options, classes, input_shape, pretrained, name)


def _entry(size, tag, repository, top1=None, protocol="5x3 views", clip=CLIP):
    """Returns the entry of a repository of the authors."""
    is_new = {"allow_missing": ("^fc_norm/", "^fc/")} if tag == "ssl" else {}
    return ModelConfig(
        f"videomae_{size}",
        tag=tag,
        clip=clip,
        licence="CC-BY-NC-4.0",
        source="Tong et al.",
        reported={"top1": top1, "protocol": protocol} if top1 else {},
        repository=f"MCG-NJU/{repository}",
        **(is_new or classes_of(tag)),
    )


FAMILY = Family(
    architectures={
        videomae_small: Architecture(
            partial(videomae, width=384, depth=12, heads=6), CLIP
        ),
        videomae_base: Architecture(
            partial(videomae, width=768, depth=12, heads=12), CLIP
        ),
        videomae_large: Architecture(
            partial(videomae, width=1024, depth=24, heads=16), CLIP
        ),
        videomae_tiny: Architecture(
            partial(videomae, native=TINY.shape[:3]), TINY, classes=12
        ),
    },
    arguments={
        "width": "int, channels of a token.",
        "depth": "int, number of blocks.",
        "heads": "int, heads of attention.",
    },
    key_map=KEY_MAP,
    prepare=prepare,
    describe=described,
    entries=(
        _entry("small", "kinetics400", "videomae-small-finetuned-kinetics", 79.0),
        _entry("base", "kinetics400", "videomae-base-finetuned-kinetics", 81.5),
        _entry("large", "kinetics400", "videomae-large-finetuned-kinetics", 85.2),
        _entry(
            *("base", "something_v2", "videomae-base-finetuned-ssv2", 70.8),
            protocol="2x3 views",
            clip=UNIFORM,
        ),
        _entry("base", "ssl", "videomae-base"),
        motions_entry("videomae_tiny", TINY),
    ),
)
