"""Training with less memory: outputs of layers are computed again, not kept.

Chen et al.: Training Deep Nets with Sublinear Memory Cost. 2016.
https://arxiv.org/abs/1604.06174

A gradient needs the outputs of all layers. Here the graph is cut into parts, only the
tensors between them are kept, and the gradient of a part computes the part once more.
"""

import itertools
import math

import keras
from keras import ops, tree

from stzoo.layers.plan import compute

WIDTHS = 3  # how many numbers of tensors between parts are tried, the smallest first


class Rematerialized(keras.Layer):
    """Runs the layers of a plan in training, and computes them again for the gradient.

    Within the call of a model of mixed precision, Keras casts each variable that is
    read. `autocast=False` prevents this, since each layer casts its own.

    Args:
        plan: `stzoo.layers.plan.Plan`.

    Attributes:
        parts: list of `Part`.
    """

    def __init__(self, plan):
        super().__init__(autocast=False)
        self.plan, self.parts = plan, cut(plan)
        self.built = True

    def call(self, inputs, short):
        known = {id(self.plan.start): inputs}
        for part in self.parts:
            part.run(known, short)
        return known[id(self.plan.end)]


class Part:
    """Some layers in a row, which are computed twice in training.

    Args:
        steps: tuple of `stzoo.layers.plan.Step`.
        inputs: tuple of the ids of the tensors that the part needs.
        outputs: tuple of the ids of the tensors that later parts need.
    """

    def __init__(self, steps, inputs, outputs):
        self.steps, self.inputs, self.outputs = steps, inputs, outputs

    def run(self, known, short):
        """Replaces the inputs in `known`, a dict from ids to tensors, by the outputs.

        `short`: see `stzoo.layers.plan.compute`.

        What a layer changes, such as the mean of a batch norm or the state of a random
        generator, is an input and an output of the part, so that computing it again
        gives the same result and changes nothing.
        """
        layers = [step.layer for step in self.steps]
        trained = _unique(layer.trainable_variables for layer in layers)
        others = _unique(layer.non_trainable_variables for layer in layers)
        # PyTorch changes a variable in place, so the second run needs a copy.
        state = [ops.copy(variable.value) for variable in others]

        def outputs(tensors, weights):
            mapping = [*zip(trained, weights, strict=True)]
            mapping += zip(others, state, strict=True)
            found = dict(zip(self.inputs, tensors, strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                compute(self.steps, found, True, short)
            changed = [scope.get_current_value(variable) for variable in others]
            return [found[name] for name in self.outputs], changed

        tensors = [known.pop(name) for name in self.inputs]
        weights = [variable.value for variable in trained]
        results, changed = keras.remat(outputs)(tensors, weights)
        known.update(zip(self.outputs, results, strict=True))
        for variable, value in zip(others, changed, strict=True):
            variable.assign(value)


def _unique(groups):
    return list({id(x): x for x in itertools.chain(*groups)}.values())


def cut(plan):
    """Cuts the graph of a plan into the parts that need the least memory.

    That is the memory of all tensors between parts, and of all outputs of the largest
    part.

    Args:
        plan: `stzoo.layers.plan.Plan`.

    Returns:
        List of `Part`.
    """
    steps, alive = plan.steps, [(id(plan.start),)]
    for step in steps:
        left = [name for name in alive[-1] if name not in step.last]
        alive.append((*left, *step.outputs))
    sizes = {id(plan.start): 0}  # whoever calls the model keeps its input
    for step in steps:
        for tensor in tree.flatten(step.layer.output):
            sizes[id(tensor)] = math.prod(n or 1 for n in tensor.shape)
    inside = [sum(sizes[name] for name in step.outputs) for step in steps]

    def memory(ends):
        kept = sum(sizes[name] for end in ends[1:-1] for name in alive[end])
        return kept + max(sum(inside[i:j]) for i, j in itertools.pairwise(ends))

    choices = []
    for width in sorted({len(names) for names in alive[1:-1]})[:WIDTHS]:
        cuts = [i for i in range(1, len(steps)) if len(alive[i]) <= width]
        for count in range(1, len(cuts) + 2):
            choices.append(_ends(inside, cuts, sum(inside) / count))
    ends = min(choices, key=memory, default=[0, len(steps)])
    return [Part(steps[i:j], alive[i], alive[j]) for i, j in itertools.pairwise(ends)]


def _ends(sizes, cuts, limit):
    """Returns the ends of parts that have at most a size, where there is a cut."""
    ends = [0]
    for cut, following in itertools.pairwise([*cuts, len(sizes)]):
        if sum(sizes[ends[-1] : following]) > limit:
            ends.append(cut)
    return [*ends, len(sizes)]
