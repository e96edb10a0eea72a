"""Recorded passes: what can be known of them without CUDA, where nothing is recorded. (With CUDA: tests/gpu.)"""

import copy

import pytest
import torch
from torch import nn

import birefnet
from birefnet.graphs import Graphs, Recording


def recording(model: nn.Module) -> Recording:
    weights = [(holder, name, tensor.data_ptr()) for module in model.modules()
               for holder in (module._parameters, module._buffers) for name, tensor in holder.items()
               if tensor is not None]
    return Recording((), weights, None, torch.zeros(1), torch.zeros(1))


def test_it_is_off_unless_asked_for(tiny_state):
    assert birefnet.load(tiny_state).graphs is None


def test_off_cuda_every_pass_is_an_ordinary_one(tiny):
    photo = torch.rand(1, 50, 60, 3)
    expected = birefnet.matte(tiny, photo)
    tiny.graphs = Graphs()
    for _ in range(3):
        assert birefnet.matte(tiny, photo).equal(expected)
    assert tiny.graphs.recording is None and not tiny.graphs.failed


@pytest.mark.parametrize("move", [
    lambda model: model.double(),
    lambda model: setattr(model[0], "weight", nn.Parameter(model[0].weight.clone())),
    lambda model: setattr(model[1].running_mean, "data", model[1].running_mean.clone()),
    lambda model: delattr(model[0], "bias"),
], ids=["dtype", "replaced", "buffer", "gone"])
def test_a_recording_of_weights_that_have_moved_is_not_valid(move):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    recorded = recording(model)
    assert recorded.valid()
    kept = [tensor.data for tensor in (*model.parameters(), *model.buffers())]  # so that no address is used anew
    move(model)
    assert not recorded.valid() and kept


def test_a_copy_of_a_network_has_nothing_recorded(tiny):
    tiny.graphs = Graphs()
    tiny.graphs.recording = recording(tiny)
    twin = copy.deepcopy(tiny)
    assert isinstance(twin.graphs, Graphs) and twin.graphs.recording is None
