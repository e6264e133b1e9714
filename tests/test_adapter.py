"""The adapter's two starts, against their definitions and scikit-learn's ridge."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from sklearn.linear_model import Ridge

from vecspeak.adapter import PENALTIES, Adapter

E, D, N, HIDDEN = 8, 12, 240, 40


def new_adapter(*, tokens_per_vector: int = 1, dimension: int = E, depth: int = 2) -> Adapter:
    rng = np.random.default_rng(3)
    mean, scale = torch.tensor(rng.normal(size=dimension)), torch.tensor(rng.uniform(0.1, 5, size=dimension))
    return Adapter(mean, scale, dim_out=D, hidden=HIDDEN, tokens_per_vector=tokens_per_vector, depth=depth)


def points_like(adapter: Adapter, n: int, *, seed: int) -> torch.Tensor:
    noise = torch.randn(n, adapter.dim_in, generator=torch.Generator().manual_seed(seed))
    return adapter.mean_E + adapter.scale_E * noise


def rms_of(values: torch.Tensor) -> float:
    return values.pow(2).mean().sqrt().item()


def linear_texts(points_NE: torch.Tensor, *, noise: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    exact = points_NE @ torch.randn(points_NE.shape[1], D, generator=generator)
    return exact + noise * torch.randn(exact.shape, generator=generator)


def test_shapes():
    adapter = new_adapter(tokens_per_vector=3)
    assert (adapter.dim_in, adapter.dim_out, adapter.hidden) == (E, D, HIDDEN)
    assert adapter(torch.zeros(5, E)).shape == (5, 3, D)
    assert adapter(torch.zeros(E)).shape == (3, D)
    assert adapter(torch.zeros(0, E)).shape == (0, 3, D)


@pytest.mark.parametrize(
    ("depth", "sizes"),
    [
        (1, [(E, 3 * D)]),
        (2, [(E, HIDDEN), (HIDDEN, 3 * D)]),
        (3, [(E, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 3 * D)]),
        (4, [(E, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 3 * D)]),
    ],
)
def test_depth_counts_linear_layers_with_gelu_between(depth, sizes):
    adapter = new_adapter(depth=depth, tokens_per_vector=3)
    assert adapter.depth == depth
    assert [(layer.in_features, layer.out_features) for layer in adapter.layers] == sizes
    points = points_like(adapter, 5, seed=1)
    values = ((points - adapter.mean_E) / adapter.scale_E).numpy()
    for layer in adapter.layers:
        if layer is not adapter.layers[0]:
            values = values * (1 + erf(values / np.sqrt(2))) / 2
        values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(adapter(points).detach().numpy(), values.reshape(5, 3, D), rtol=1e-4, atol=1e-5)


def test_depth_2_keeps_its_names_and_draws():
    """Weights that were shipped must load, and a run that was started must be repeatable."""
    torch.manual_seed(7)
    first = [torch.nn.Linear(E, HIDDEN), torch.nn.Linear(HIDDEN, D)]
    torch.manual_seed(7)
    adapter = new_adapter()
    assert [name for name, _ in adapter.named_parameters()] == ["rise.weight", "rise.bias", "fall.weight", "fall.bias"]
    for layer, expected in zip((adapter.rise, adapter.fall), first, strict=True):
        assert torch.equal(layer.weight, expected.weight)
        assert torch.equal(layer.bias, expected.bias)
    adapter.start_random(rms=0.3, seed=11)
    generator = torch.Generator().manual_seed(11)
    assert torch.equal(adapter.rise.weight, torch.empty(HIDDEN, E).normal_(std=E**-0.5, generator=generator))
    drawn = torch.empty(D, HIDDEN).normal_(std=HIDDEN**-0.5, generator=generator)
    torch.testing.assert_close(adapter.fall.weight / adapter.fall.weight[0, 0], drawn / drawn[0, 0])


@pytest.mark.parametrize(("depth", "error"), [(1, 0.05), (2, 0.05), (3, 0.1)])  # 512 probes: sd 0.02, then 0.03
@pytest.mark.parametrize("tokens_per_vector", [1, 4])
@pytest.mark.parametrize("rms", [0.02, 1.5])
def test_a_random_start_has_the_rms_asked_for(rms, tokens_per_vector, depth, error):
    adapter = new_adapter(tokens_per_vector=tokens_per_vector, depth=depth)
    adapter.start_random(rms=rms, seed=0)
    assert rms_of(adapter(points_like(adapter, 4000, seed=1))) == pytest.approx(rms, rel=error)


def test_a_random_start_is_a_function_of_its_seed():
    first, same, other = new_adapter(), new_adapter(), new_adapter()
    for adapter, seed in ((first, 1), (same, 1), (other, 2)):
        adapter.start_random(rms=1.0, seed=seed)
    assert torch.equal(first.fall.weight, same.fall.weight)
    assert not torch.equal(first.fall.weight, other.fall.weight)


def test_vectors_are_standardised_and_constant_dimensions_harmless():
    mean, scale = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([2.0, 0.5, 0.0])
    adapter = Adapter(mean, scale, dim_out=D, hidden=HIDDEN, tokens_per_vector=1)
    points = torch.tensor([[5.0, -1.5, 3.0]])
    by_hand = torch.nn.functional.gelu(adapter.rise(torch.tensor([[2.0, 1.0, 0.0]])))
    torch.testing.assert_close(adapter.features(points), by_hand)
    assert {"mean_E", "scale_E"} <= set(adapter.state_dict())


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-6])
def test_a_made_point_is_not_drowned_by_a_dimension_that_is_constant_in_the_data(scale):
    adapter = Adapter(
        torch.zeros(4), torch.tensor([0.05, 0.04, scale, 0.06]), dim_out=D, hidden=HIDDEN, tokens_per_vector=1
    )
    made = torch.tensor([0.1, -0.1, 0.7, 0.1])
    plain = made * torch.tensor([1.0, 1.0, 0.0, 1.0])
    torch.testing.assert_close(adapter(made), adapter(plain))


def test_one_large_dimension_does_not_silence_the_others():
    scale = torch.tensor([1e5, 1.0, 2.0, 0.5])
    adapter = Adapter(torch.zeros(4), scale, dim_out=D, hidden=HIDDEN, tokens_per_vector=1)
    torch.testing.assert_close(adapter.standardised(scale * 2), torch.full((4,), 2.0))


def test_a_space_of_one_vector_says_nothing():
    adapter = Adapter(torch.ones(3), torch.zeros(3), dim_out=D, hidden=HIDDEN, tokens_per_vector=1)
    assert not adapter.standardised(torch.tensor([1.1, 0.0, 7.0])).any()


def test_small_vectors_are_standardised_all_the_same():
    large = Adapter(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]), dim_out=D, hidden=HIDDEN, tokens_per_vector=1)
    small = Adapter(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]) * 1e-8, dim_out=D, hidden=HIDDEN, tokens_per_vector=1)
    small.load_state_dict({**large.state_dict(), "scale_E": small.scale_E})
    points = torch.tensor([[0.3, -4.0, 1.0]])
    torch.testing.assert_close(small(points * 1e-8), large(points))


def test_a_start_from_texts_recovers_a_linear_map():
    adapter = new_adapter()
    points = points_like(adapter, N, seed=2)
    targets = linear_texts(points)
    r2 = adapter.start_from_texts(points, targets, rms=0.5, seed=0)
    assert r2 > 0.9
    assert rms_of(adapter(points)) == pytest.approx(0.5, rel=1e-3)
    fresh = points_like(adapter, N, seed=3)
    made, wanted = adapter(fresh)[:, 0], linear_texts(fresh) - targets.mean(0)
    assert torch.cosine_similarity(made, wanted).mean() > 0.9


@pytest.mark.parametrize("tokens_per_vector", [1, 2])
@pytest.mark.parametrize(("depth", "noise"), [(1, 30.0), (2, 6.0), (3, 6.0), (4, 6.0)])
def test_a_start_from_texts_is_scikit_learns_ridge_with_the_best_penalty(depth, noise, tokens_per_vector):
    adapter = new_adapter(tokens_per_vector=tokens_per_vector, depth=depth)
    points = points_like(adapter, N, seed=4)
    targets = linear_texts(points, noise=noise)
    r2 = adapter.start_from_texts(points, targets, rms=0.3, seed=5)

    features, wanted = adapter.features(points).detach().double().numpy(), targets.double().numpy()
    centred = features - features.mean(0), wanted - wanted.mean(0)
    held_out = np.arange(N) % 10 == 9
    fits = [Ridge(penalty * (~held_out).sum(), fit_intercept=False) for penalty in PENALTIES]
    errors = [((fit.fit(centred[0][~held_out], centred[1][~held_out]).predict(centred[0][held_out])
                - centred[1][held_out]) ** 2).sum() for fit in fits]  # fmt: skip
    assert 0 < np.argmin(errors) < len(PENALTIES) - 1, "the case should tell the penalties apart"
    assert r2 == pytest.approx(1 - min(errors) / (centred[1][held_out] ** 2).sum(), abs=1e-6)

    whole = Ridge(PENALTIES[np.argmin(errors)] * N, fit_intercept=False).fit(*centred).predict(centred[0])
    expected = torch.tensor(whole * 0.3 / np.sqrt((whole**2).mean()))
    for soft_ND in adapter(points).unbind(1):
        torch.testing.assert_close(soft_ND.double(), expected, rtol=1e-3, atol=1e-4)


def test_texts_that_say_nothing_leave_the_random_start():
    adapter, random = new_adapter(), new_adapter()
    random.start_random(rms=0.2, seed=6)
    points = points_like(adapter, N, seed=7)
    assert np.isnan(adapter.start_from_texts(points, torch.ones(N, D), rms=0.2, seed=6))
    assert torch.equal(adapter.fall.weight, random.fall.weight)


def test_a_few_entities_are_enough_to_start():
    adapter = new_adapter()
    points = points_like(adapter, 5, seed=8)
    assert np.isnan(adapter.start_from_texts(points, linear_texts(points), rms=0.2, seed=0))
    assert rms_of(adapter(points)) == pytest.approx(0.2, rel=1e-3)
