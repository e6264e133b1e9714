"""Muon against singular values and against AdamW alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vecspeak.muon import Muon, orthogonalised


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 24), columns=st.integers(1, 24), size=st.sampled_from([1e-6, 1.0, 1e6]), seed=st.integers(0, 99)
)
def test_an_orthogonalised_matrix_keeps_its_directions_and_loses_its_lengths(rows, columns, size, seed):
    matrix = drawn(rows, columns, seed=seed)
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    found = orthogonalised(size * matrix[None])[0].double()
    lengths = (u.mT @ found @ v.mT).diagonal()
    told = s > 2e-3 * s.norm()
    assert ((lengths[told] > 0.85) & (lengths[told] < 1.15)).all(), lengths
    assert torch.allclose(u @ lengths.diag() @ v, found, atol=1e-3)


def test_matrices_of_one_shape_are_treated_as_if_alone():
    matrices = drawn(3, 8, 20)
    alone = torch.cat([orthogonalised(matrix[None]) for matrix in matrices])
    torch.testing.assert_close(orthogonalised(matrices), alone)


def test_a_zero_gradient_moves_nothing():
    assert not orthogonalised(torch.zeros(1, 4, 4)).any()


def test_the_first_steps_are_those_of_the_paper():
    weight, gradients = nn.Parameter(drawn(6, 10)), [drawn(6, 10, seed=1), drawn(6, 10, seed=2)]
    optimizer = Muon([{"params": [weight], "muon": True}], lr=0.02, weight_decay=0.1)
    expected, momentum = weight.detach().clone(), torch.zeros(6, 10)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.95 * momentum + gradient
        update = orthogonalised((gradient + 0.95 * momentum)[None])[0]
        expected = (1 - 0.02 * 0.1) * expected - 0.02 * 0.2 * 10**0.5 * update
        torch.testing.assert_close(weight.detach(), expected)


def test_other_parameters_take_adamws_step():
    ours, theirs = nn.Parameter(drawn(5)), nn.Parameter(drawn(5))
    matrix = nn.Parameter(drawn(4, 4))
    mixed = Muon([{"params": [ours]}, {"params": [matrix], "muon": True}], lr=0.01, betas=(0.9, 0.98))
    alone = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.98))
    for seed in range(3):
        ours.grad, theirs.grad, matrix.grad = drawn(5, seed=seed), drawn(5, seed=seed), drawn(4, 4, seed=seed)
        mixed.step()
        alone.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(matrix, drawn(4, 4))


@pytest.mark.parametrize("muon", [True, False])
def test_a_parameter_without_a_gradient_stays(muon):
    weight = nn.Parameter(drawn(4, 4))
    Muon([{"params": [weight], "muon": muon}], lr=0.1).step()
    assert torch.equal(weight, drawn(4, 4))
