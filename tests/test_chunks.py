"A step in the memory of a chunk: prompts, a trained text tower and joined similarities, a few rows at a time."

import pytest, torch
from test_cuda import NOT_TAUGHT, stage

from hpdval import core

plain_checkpoint = core.checkpoint


@pytest.mark.parametrize('precision, tolerance', [('fp32', 1e-5), ('bf16', 2e-2)])
@pytest.mark.parametrize(
    'number, method', [(2, 'hp-dval'), (2, 'cocoop'), (2, 'dualcoop'), (2, 'lamm'), (1, 'joint'), (1, 'lm-clip')]
)
def test_a_step_in_chunks_has_the_gradient_of_the_plain_step(number, method, precision, tolerance, monkeypatch):
    found, chunks = {}, []

    def counted(*args, **how):
        chunks.append(held)
        return plain_checkpoint(*args, **how)

    monkeypatch.setattr(core, 'checkpoint', counted)
    for held in (2e9, 2e6):
        monkeypatch.setattr(core, 'HELD', held)
        s = stage(number, method, 'cpu', precision=precision, image_size=32, **NOT_TAUGHT.get(method, {}))
        losses = s.losses(torch.arange(4), 0, 0)
        grads = torch.autograd.grad(sum(losses.values()), s.params, allow_unused=True)
        found[held] = torch.cat([g.flatten() for g in grads if g is not None])
    assert len(chunks) > 1 and set(chunks) == {2e6}
    plain, chunked = found.values()
    assert (chunked - plain).norm() <= tolerance * plain.norm() and plain.norm() > 0
