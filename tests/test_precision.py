"bfloat16: every loss stays finite and near what float32 gives; `auto` is named and recorded as what it came to."

from pathlib import Path

import numpy as np, pytest, torch
from test_cuda import NOT_TAUGHT, stage
from test_same_scores import few_images

from hpdval import core
from hpdval.config import make_config
from hpdval.experiment import run, settled
from hpdval.losses import LOSSES, make_loss

SMALL = NOT_TAUGHT['hp-dval'] | dict(image_size=32)
ALL = [(name, mode) for name, modes in LOSSES.items() for mode in modes]


@pytest.mark.parametrize('name, mode', ALL)
def test_a_loss_is_computed_in_float32_under_autocast(name, mode):
    rng = torch.Generator().manual_seed(0)
    x, y = 20 * torch.randn(8, 20, generator=rng), (torch.rand(8, 20, generator=rng) < 0.2).float()
    loss = make_loss(name, torch.arange(20), 100, mode=mode)
    for dtype in (torch.float32, torch.bfloat16):
        rounded = x.to(dtype)
        with torch.autocast('cpu', torch.bfloat16):
            under = loss(rounded, y)
        assert torch.equal(under, loss(rounded.float(), y)) and under.isfinite()


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('number', [1, 2])
def test_steps_by_bfloat16_are_near_those_by_float32(name, number):
    "Two steps of a stage: the first has the untrained weights, the second what AdamW made of bfloat16's gradients."
    found = {}
    for precision in ('fp32', 'bf16'):
        mode = 'official' if name == 'db-focal' else 'paper'
        s = stage(number, device='cpu', precision=precision, loss=name, loss_mode=mode, **SMALL)
        found[precision] = [s.training.step(lambda: s.losses(torch.arange(4), 0, i))['cls'].item() for i in range(2)]
    assert np.isfinite(found['bf16']).all()
    assert found['bf16'] == pytest.approx(found['fp32'], rel=3e-2)


@pytest.mark.parametrize('kd', ['l1', 'l2'])
def test_a_student_that_has_learned_nothing_is_not_pulled_from_itself(kd):
    "Were its distance from the teacher a rounding error, the gradient of L1 would be the sign of that, at full size."
    s = stage(1, device='cpu', precision='bf16', kd=kd, kd_on='both', image_size=32)
    losses = s.losses(torch.arange(4), 0, 0)
    assert losses['kd'].item() == 0
    losses['kd'].backward()
    assert not any(p.grad.any() for p in s.training.params)


@pytest.fixture
def processor():
    "A function that gives this processor other flags. (`has_bf16` is in the names of runs, and stays what it is.)"

    def make(flags):
        core._cpu_flags.cache_clear()
        with pytest.MonkeyPatch.context() as m:
            m.setattr(Path, 'read_text', lambda file: f'flags : {flags}')
            core._cpu_flags()

    yield make
    core._cpu_flags.cache_clear()


def test_auto_has_the_name_of_what_it_came_to(processor, monkeypatch, tmp_path):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    data = few_images()
    small = dict(benchmark='icon-voc-lt', device='cpu', empty_classes='keep')
    names = {p: run(make_config('zero-shot', precision=p, **small), False, data).hash for p in ('fp32', 'bf16')}
    assert names['fp32'] != names['bf16']
    for flags, right in (('avx2 avx512_bf16', 'bf16'), ('avx2', 'fp32')):
        processor(flags)
        asked = make_config('zero-shot', precision='auto', **small)
        result = run(asked, False, data)
        assert (result.hash, result.config['precision']) == (names[right], right)
        assert settled(asked).precision == right


def test_a_graphics_card_of_ampere_or_later_has_it(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, 'device', lambda d: torch.no_grad())
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: asked.append(including_emulation))
    assert not core.has_bf16('cuda:0')
    assert asked == [False]  # Turing imitates it, and slowly
