"Property tests of hpdval.losses: what must hold for any logits, targets and counts."

import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st

from hpdval.losses import LOSSES, distill, make_loss

ALL = [(name, mode) for name, modes in LOSSES.items() for mode in modes]


@st.composite
def problems(draw, size=30.0):
    "Logits, targets, class counts and n of a random problem."
    B, C, n = draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.integers(2, 2000))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.uniform(-size, size, (B, C)), dtype=torch.float32)
    y = torch.tensor(rng.random((B, C)) < draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])), dtype=torch.float32)
    return x, y, rng.integers(0, n + 1, C), n


each_loss = pytest.mark.parametrize('name,mode', ALL)
quick = settings(deadline=None, max_examples=40, derandomize=True)


@each_loss
@quick
@given(problems(), st.sampled_from(['coco-lt', 'icon-voc-lt', 'mine']), st.randoms(use_true_random=False))
def test_order_does_not_matter(name, mode, problem, benchmark, random):
    x, y, counts, n = problem
    rows, cols = list(range(len(x))), list(range(len(counts)))
    random.shuffle(rows)
    random.shuffle(cols)
    a = make_loss(name, counts, n, benchmark, mode)(x, y)
    b = make_loss(name, counts[cols], n, benchmark, mode)(x[rows][:, cols], y[rows][:, cols])
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@each_loss
@quick
@given(problems(1e4), st.sampled_from([torch.float32, torch.bfloat16]))
def test_value_and_gradient_are_finite_and_inputs_unchanged(name, mode, problem, dtype):
    x, y, counts, n = problem
    x = x.to(dtype).requires_grad_()
    x0, y0 = x.detach().clone(), y.clone()
    loss = make_loss(name, counts, n, mode=mode)(x, y)
    loss.backward()
    assert loss.isfinite() and loss >= 0 and x.grad.isfinite().all()
    assert torch.equal(x.detach(), x0) and torch.equal(y, y0)


@pytest.mark.parametrize('name, mode', [of for of in ALL if of[0] != 'bal'])  # which sees logits beside the largest
@quick
@given(problems(10.0))
def test_gradient_pulls_the_right_way(name, mode, problem):
    "A present class is never pushed down, an absent one never up."
    x, y, counts, n = problem
    x.requires_grad_()
    make_loss(name, counts, n, mode=mode)(x, y).backward()
    assert (x.grad * (2 * y - 1) <= 1e-7).all()


@quick
@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 1000), st.sampled_from(['l1', 'l2', 'cosine', 'none']))
def test_distances_are_zero_at_home_and_never_negative(B, D, seed, kind):
    a, b = torch.randn(2, B, D, generator=torch.Generator().manual_seed(seed))
    for reduction in ('sum', 'mean'):
        assert distill(a, b, kind, reduction) >= 0
        assert abs(distill(a, a, kind, reduction)) < 1e-5
