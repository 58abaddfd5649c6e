"""Fixed tensors: rounded once from float64, wherever their module goes."""

import copy
import pickle

import pytest
import reference
import torch
from torch import nn

from audioup.fixed import FixedModule

one_thread = reference.one_thread
THIRDS = torch.arange(1, 4, dtype=torch.float64) / 3


class Scale(FixedModule):
    def __init__(self, dtype=torch.float32, device=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=dtype, device=device))
        self._fix("thirds", THIRDS, self.weight)

    def forward(self):
        return self.weight * self._fixed("thirds", self.weight)


@pytest.mark.parametrize("dtype", reference.TOLERANCE, ids=str)
def test_every_move_rounds_once_from_the_design(dtype):
    module = Scale().bfloat16().half().to(dtype)
    assert torch.equal(module.thirds, THIRDS.to(dtype))
    assert torch.equal(module(), THIRDS.to(dtype))


def test_another_type_of_parameter_gets_the_design_and_not_the_rounded():
    module = Scale()
    module.load_state_dict({"weight": torch.ones(3, dtype=torch.float64)}, assign=True)
    assert module.thirds.dtype == torch.float32
    assert torch.equal(module(), THIRDS)


def test_it_stays_out_of_the_state_dict_and_in_copies():
    module = Scale()
    assert list(module.state_dict()) == ["weight"]
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin.double()(), THIRDS)


def test_it_is_there_after_the_meta_device():
    module = Scale(device="meta")
    module.load_state_dict({"weight": torch.ones(3)}, assign=True)
    assert torch.equal(module(), THIRDS.float())
    moved = Scale().to("meta").to_empty(device="cpu")
    assert torch.equal(moved.thirds, THIRDS.float())


def test_each_module_has_its_own():
    first, second = Scale(), Scale().double()
    assert first.thirds.dtype == torch.float32
    assert torch.equal(second.thirds, THIRDS)
