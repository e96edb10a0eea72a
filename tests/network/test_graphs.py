"""Recorded passes: what can be known of them without CUDA, where nothing is recorded. (With CUDA:
test_cuda.py.)"""

import copy

import pytest
import torch
from tiny_build import TINY, random_state
from torch import nn

import birefnet
from birefnet import Config
from birefnet.device.cuda_graphs import Graphs, Recording, find_tables, list_weights


def recording(model: nn.Module) -> Recording:
    return Recording((), list_weights(model), [], None, torch.zeros(1), torch.zeros(1))


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
    assert recorded.is_valid()
    # so that no address is used anew
    kept = [tensor.data for tensor in (*model.parameters(), *model.buffers())]
    move(model)
    assert not recorded.is_valid() and kept


def test_a_copy_of_a_network_has_nothing_recorded(tiny):
    tiny.graphs = Graphs()
    tiny.graphs.recording = recording(tiny)
    twin = copy.deepcopy(tiny)
    assert isinstance(twin.graphs, Graphs) and twin.graphs.recording is None


SWIN = Config(family="swin_v1", widths=(24, 48, 96, 192), depths=(1, 2, 1, 1), heads=(1, 2, 4, 8),
              kernels=(1, 3),
              inner=8, branch=8, patch_inner=8, gate=4)


@pytest.mark.parametrize("config", [SWIN, TINY], ids=["swin", "pvt"])
def test_the_tables_that_a_pass_reads_are_kept_and_the_weights_are_not(config):
    """Kept weights would hold a network in the memory that its host wants back."""
    model, x = birefnet.load(random_state(config)), torch.zeros(1, 3, 96, 64)
    with torch.inference_mode():
        model(x)
        tables = find_tables(model, x)
        again = find_tables(model, x)
    places = {tensor.data_ptr() for tensor in tables}
    assert places and places == {tensor.data_ptr() for tensor in again}  # none is made anew by each pass
    weights = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    assert not places & (weights | {x.data_ptr()})
