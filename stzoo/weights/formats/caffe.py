"""Reads `.caffemodel` files of Caffe, which are protobuf messages.

The field numbers are from `caffe.proto`
(https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto).
This module needs `protobuf`: `pip install "stzoo[caffe]"`.
"""

import math
from reprlib import repr as shortened

import numpy as np

# Message: field: (number, type). A packed list of floats is encoded like bytes. It is
# read as bytes, and NumPy parses the floats.
SCHEMA = {
    "Shape": {"dim": (1, "int64 list")},
    "Blob": {
        "num": (1, "int32"),  # old files have these four sizes
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "bytes list"),
        "shape": (7, "Shape"),
    },
    "Layer": {"name": (1, "string"), "type": (2, "string"), "blobs": (7, "Blob list")},
    "Net": {"layer": (100, "Layer list")},
}
# The blobs of a layer, with the names of PyTorch.
WORDS = {
    "Convolution": ("weight", "bias"),
    "InnerProduct": ("weight", "bias"),
    "BN": ("weight", "bias", "running_mean", "running_var"),  # from the authors of P3D
}


def read(data):
    """Reads the weights of a model: `conv1.weight`, `bn_conv1.running_mean`...

    Args:
        data: bytes of a file.

    Returns:
        Dict from name to array, with the order of axes of PyTorch.

    Raises:
        ImportError: protobuf is not installed.
        ValueError: the data is not such a file, or it is incomplete.
    """
    net, error = _parser()
    try:
        net.ParseFromString(data)
    except error as problem:
        raise ValueError(f"it is not a protobuf message ({problem})") from None
    tensors = {}
    for layer in net.layer:
        if not layer.blobs:
            continue
        words = WORDS.get(layer.type, ())
        if len(layer.blobs) > len(words):
            raise ValueError(
                f"its layer {shortened(layer.name)} of type {shortened(layer.type)} "
                f"has {len(layer.blobs)} blobs, but stzoo expects {len(words)}"
            )
        for word, blob in zip(words, layer.blobs, strict=False):
            name = f"{layer.name}.{word}"
            if name in tensors:
                raise ValueError(f"it has two layers named {shortened(layer.name)}")
            tensors[name] = _tensor(blob, name, layer.type)
    if not tensors:
        raise ValueError("it has no layers with weights")
    return tensors


def _tensor(blob, name, kind):
    shape = (blob.num, blob.channels, blob.height, blob.width)
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    data = b"".join(blob.data)
    fits = 0 < len(shape) <= 32 and min(shape) > 0  # a long product takes minutes
    if not fits or 4 * math.prod(shape) != len(data):
        raise ValueError(
            f"its {shortened(name)} has the shape {shortened(shape)}, which does not "
            f"match its {len(data)} bytes"
        )
    tensor = np.frombuffer(data, "<f4")
    # In old files, vectors and matrices also have four sizes.
    if not name.endswith(".weight") or kind == "BN":
        return tensor
    if kind == "InnerProduct":
        return tensor.reshape(-1, shape[-1])
    return tensor.reshape(shape)


def _parser():
    """Returns an empty net, and the error class of protobuf."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message
        from google.protobuf.message_factory import GetMessageClass
    except ImportError:
        raise ImportError(
            "Reading a .caffemodel needs protobuf. Install it with "
            '`pip install "stzoo[caffe]"`.'
        ) from None
    file = descriptor_pb2.FileDescriptorProto(
        name="stzoo/caffe.proto", package="stzoo", syntax="proto2"
    )
    for message_name, fields in SCHEMA.items():
        described = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            kind, _, several = kind.partition(" ")
            field = described.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if several else field.LABEL_OPTIONAL
            if kind in SCHEMA:
                field.type, field.type_name = field.TYPE_MESSAGE, f".stzoo.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    net = GetMessageClass(pool.FindMessageTypeByName("stzoo.Net"))()
    return net, message.DecodeError
