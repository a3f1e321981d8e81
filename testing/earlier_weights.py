"""Weights of the earlier implementation, whose results were published, brought into the form of ours.

There each direction in time was a module of its own; here the two are groups of one (forward first), so
that their tensors are joined along the first dimension. There a class index was a position in TIM-Net's list
of emotions, whatever its confusion matrices say: TIM_TAB6 agrees with the labels of EMOVO's 588 utterances on
87.8 % in this order, and on 1.2 % in the alphabetical one.
"""

import re

import torch
from torch import Tensor

from utils.emotions import EMOTIONS
from utils.errors import UserError

CLASSES = ("rab", "dis", "pau", "gio", "neu", "tri", "sor")

FRAMES, FRAME_SECONDS = 188, 512 / 22_050  # of every utterance that it was trained on
PREFIX = "ctim_net."
UNUSED = "previous_length"  # a counter that CKConv kept there and nothing needs

# Parts of names, theirs → ours; a TAB's index stands between the first two.
PARTS = (
    (r"^conv_forward\.", "input_conv."),
    (r"^TempAw_Blocks_forward\.(\d+)\.", r"blocks.\1."),
    (r"\.conv1\.", ".convolutions.0."),
    (r"\.conv2\.", ".convolutions.1."),
    (r"\.kernel_gen\.linear_input\.", ".generator.layers.0."),
    (r"\.kernel_gen\.linear_hidden\.", ".generator.layers.1."),
    (r"\.kernel_gen\.linear_output\.", ".generator.layers.2."),
    (r"\.kernel_gen\.batch_norm1\.", ".generator.norms.0."),
    (r"\.kernel_gen\.batch_norm2\.", ".generator.norms.1."),
    (r"\.batch_norm1\.", ".norms.0."),
    (r"\.batch_norm2\.", ".norms.1."),
)


def is_earlier(state: dict[str, Tensor]) -> bool:
    """Whether a state dict is one of the earlier implementation, by its names."""
    return f"{PREFIX}weightsdyn_fun" in state


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the earlier implementation as one of CkTIMNet, its classes in the order of EMOTIONS.

    A UserError where it lacks one direction or the classifier, or has tensors that do not fit together.
    """
    converted = {}
    try:
        for name, tensor in state.items():
            if "_forward." in name and not name.endswith(UNUSED):
                reverse = state[name.replace("_forward.", "_reverse.")]
                joined = torch.cat([tensor, reverse]) if tensor.dim() else tensor  # a count of batches
                name = name.removeprefix(PREFIX)
                for pattern, ours in PARTS:
                    name = re.sub(pattern, ours, name)
                converted[name] = joined
        converted["fusion.weight"] = state[f"{PREFIX}weightsdyn_fun"].flatten()
        order = [CLASSES.index(emotion) for emotion in EMOTIONS]
        converted["classifier.weight"] = state["classifier.weight"][order]
        converted["classifier.bias"] = state["classifier.bias"][order]
    except (KeyError, IndexError, RuntimeError) as error:
        raise UserError(f"weights of the earlier implementation, but not whole: {error}") from error
    if "input_conv.weight" in converted:
        features = converted["input_conv.weight"].shape[1]
    else:  # a continuous kernel's generator gives n_filter · num_features values
        filters = converted["classifier.weight"].shape[1]
        features = len(converted["input_conv.generator.layers.2.bias"]) // (2 * filters)
    converted["feature_mean"], converted["feature_std"] = torch.zeros(features), torch.ones(features)
    converted["_extra_state"] = torch.tensor([FRAMES, FRAME_SECONDS], dtype=torch.float64)
    return converted
