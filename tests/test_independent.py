"""What the package computes, computed once more without it: scores from the stored tensors, a training loop in plain
PyTorch, the learning rate of every step, and who sees which picture."""

import math

import numpy as np, pytest, torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score
from test_same_scores import few_images

from hpdval.clip import load_clip
from hpdval.config import make_config, stage1_config
from hpdval.core import runs_dir
from hpdval.data import holdout
from hpdval.experiment import load_benchmark, run
from hpdval.fewshot import adapt, adapt_config, embedded_fewshot, fewshot_config, load_split, run_fewshot, train_base
from hpdval.model import seeded
from hpdval.train import Pixels, make_schedule, predict_scores, split_for_selection

BENCHMARK = dict(benchmark='icon-voc-lt', device='cpu', empty_classes='keep')
SHORT = dict(BENCHMARK, epochs1=2, epochs2=2, batch_size=16, val_fraction=0.25)
PHOTO_OF = 'a photo of a {}.'


@pytest.fixture(scope='module', autouse=True)
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('HPDVAL_RUNS', str(tmp_path_factory.mktemp('runs')))
        yield


@pytest.fixture(scope='module')
def data():
    "A few images of the embedded VOC-LT."
    return few_images(64, 48)


def pixels(images, clip):
    "Bytes as CLIP takes them."
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (clip.mean, clip.std))
    return (images.float() / 255 - mean) / std


def text_of(clip, ids, contexts=None):
    "Embeddings of prompts [C,L]; `contexts` [M,W] stand in the place of the words behind the start."
    text = clip.text
    x = text.token_embedding(ids)
    if contexts is not None:
        x = torch.cat([x[:, :1], contexts.expand(len(ids), -1, -1), x[:, 1 + len(contexts) :]], 1)
    x = x + text.positional_embedding[: ids.shape[1]]
    x = text.transformer(x, attn_mask=text.attn_mask[: ids.shape[1], : ids.shape[1]])
    return text.ln_final(x)[torch.arange(len(ids)), ids.argmax(1)] @ text.text_projection


def dual(g, p, text_g, text_l, alpha, k):
    "Equations 4 and 5, class by class."
    columns = []
    for c in range(len(text_g)):
        s_g = F.cosine_similarity(g, text_g[c : c + 1])
        s_p = F.cosine_similarity(p, text_l[c][None, None], dim=-1)
        best = s_p.sort(1, descending=True).values[:, :k]
        columns.append(alpha * s_g + (1 - alpha) * best.mean(1))
    return torch.stack(columns, 1)


@pytest.fixture(scope='module')
def trained(data):
    "HP-DVAL after two epochs of either stage, and the stage-1 run that it stands on."
    cfg = make_config('hp-dval', lr1=1e-3, lr2=5e-2, select='last', **SHORT)
    return cfg, run(cfg, progress=False, data=data), run(stage1_config(cfg), progress=False, data=data)


@torch.no_grad()
def test_scores_are_those_of_the_stored_tensors(trained, data):
    cfg, result, _ = trained
    tensors = load_file(runs_dir() / result.hash / 'model.safetensors')
    clip = load_clip()
    clip.visual.load_state_dict({k.removeprefix('visual.'): v for k, v in tensors.items() if k.startswith('visual.')})
    ids = clip.tokenizer([PHOTO_OF.format(c) for c in data.classes])
    text_g, text_l = (text_of(clip, ids, ctx) for ctx in tensors['prompts.ctx'])
    scores = dual(*clip.visual(pixels(data.test.images, clip)), text_g, text_l, cfg.alpha, round(64 * 32 / 196))
    np.testing.assert_allclose(result.scores, scores.numpy(), atol=6e-7)
    logits = tensors['scale'] * (scores - tensors['centre'])
    np.testing.assert_allclose(result.logits, logits.numpy(), rtol=1e-4, atol=1e-4)


def test_ap_is_that_of_scikit_learn(trained, data):
    y = data.test.targets.numpy()
    for c, name in enumerate(data.classes):
        if y[:, c].any():
            want = 100 * average_precision_score(y[:, c], trained[1].scores[:, c])
            assert trained[1].ap[c] == pytest.approx(want, abs=1e-10), name


def test_stage_2_stands_on_the_reported_epoch_of_stage_1_to_the_bit(data):
    cfg = make_config('hp-dval', lr1=3e-3, **SHORT)
    tower_of = {}
    for c in (cfg, stage1_config(cfg)):
        r = run(c, progress=False, data=data)
        file = runs_dir() / r.hash / 'model.safetensors'
        tower_of[c.method] = {k: v for k, v in load_file(file).items() if k.startswith('visual.')}
    one, two = tower_of['dval'], tower_of['hp-dval']
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def plain_training(cfg, data) -> dict:
    """Stage 1 with binary cross-entropy and distillation, in plain PyTorch: the averaged tensors. By the squared
    distance: at the first step student and teacher are equal, and L1's gradient would be the sign of rounding."""
    clip, teacher = load_clip(), load_clip().visual.eval()
    tower = clip.visual.requires_grad_(True)
    ids = clip.tokenizer([PHOTO_OF.format(c) for c in data.classes])
    with torch.no_grad():
        text = text_of(clip, ids)
    rows, _ = holdout(data.train.targets, cfg.val_fraction, cfg.seed)
    x_all, y_all = pixels(data.train.images[rows], clip), data.train.targets[rows].float()
    params = [*tower.parameters()]
    decayed = [dict(params=[p], weight_decay=cfg.weight_decay * (p.ndim > 1)) for p in params]
    opt = torch.optim.AdamW(decayed, lr=cfg.lr1)
    average = [p.detach().clone() for p in params]
    steps = cfg.epochs1 * math.ceil(len(rows) / cfg.batch_size)
    step = 0
    for epoch in range(cfg.epochs1):
        for idx in torch.randperm(len(rows), generator=seeded(cfg.seed, epoch)).split(cfg.batch_size):
            for group in opt.param_groups:
                group['lr'] = learning_rate('cosine', cfg.lr1, step, steps)
            g, p = tower(x_all[idx])
            with torch.no_grad():
                wanted = teacher(x_all[idx])[0]
            logits = cfg.scale * dual(g, p, text, text, cfg.alpha, round(64 * 32 / 196))
            loss = F.binary_cross_entropy_with_logits(logits, y_all[idx])
            loss = loss + cfg.kd_weight * (wanted - g).square().sum(1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            for a, p in zip(average, params):
                a += (1 - cfg.ema) * (p.detach() - a)
            step += 1
    return dict(zip((name for name, _ in tower.named_parameters()), average))


def test_a_stored_model_is_that_of_a_plain_training_loop(data):
    simple = dict(loss='bce', scale=20.0, augment='none', select='last', lr1=1e-3, kd='l2', kd_weight=1e-2)
    cfg = make_config('dval', **{k: v for k, v in SHORT.items() if k != 'epochs2'}, **simple)
    tensors = load_file(runs_dir() / run(cfg, progress=False, data=data).hash / 'model.safetensors')
    start = dict(load_clip().visual.named_parameters())
    moved = apart = 0.0
    for name, want in plain_training(cfg, data).items():
        moved += (want - start[name]).pow(2).sum().item()
        apart += (tensors[f'visual.{name}'] - want).pow(2).sum().item()
    assert moved > 1e-3 and (apart / moved) ** 0.5 < 2e-3  # AdamW turns rounding of small gradients into steps


def learning_rate(how, lr, step, steps):
    "The rate of a step, counted from 0."
    if how == 'cosine':  # up over the first twentieth of the steps, down to 0 over all of them
        rising = max(1, round(steps / 20))
        return lr * min(1, (step + 1) / rising) * (1 + math.cos(math.pi * step / steps)) / 2
    top = 0.1 * steps - 1  # onecycle: from a 25th of the rate, and down to a 250,000th
    if step <= top:
        low, share = lr / 25, step / top
    else:
        low, share = lr / 25e4, 1 - (step - top) / (steps - 1 - top)
    return low + (lr - low) * (1 - math.cos(math.pi * share)) / 2


@pytest.mark.parametrize('how', ['cosine', 'onecycle'])
@pytest.mark.parametrize('steps', [40, 97])
def test_the_learning_rate_of_every_step(how, steps):
    p = torch.nn.Parameter(torch.zeros(1))
    opt = torch.optim.SGD([p], lr=0.3, momentum=0.9)
    schedule = make_schedule(opt, how, steps)
    rates = []
    for _ in range(steps):
        rates.append(opt.param_groups[0]['lr'])
        opt.step()
        schedule.step()
    np.testing.assert_allclose(rates, [learning_rate(how, 0.3, s, steps) for s in range(steps)], rtol=1e-9)


def pictures(split) -> set:
    return {im.numpy().tobytes() for im in split.images}


@pytest.mark.parametrize('benchmark', ['icon-voc-lt', 'icon-coco-lt'])
def test_no_training_picture_is_in_validation_or_test(benchmark):
    cfg = make_config('dval', benchmark=benchmark)
    data = load_benchmark(cfg, progress=False)
    train, select = split_for_selection(data, cfg)
    a, b, c = pictures(train), pictures(select), pictures(data.test)
    assert not a & b and not a & c and not b & c
    assert a | b == pictures(data.train) and len(train.images) + len(select.images) == len(data.train.images)


FEW = dict(benchmark='icon-voc-fsl-smoke', shots=1, episodes=3, draws=8, resample=50, adapt_epochs1=1, adapt_epochs2=1)


def test_supports_hold_the_shots_and_no_test_picture():
    cfg, fs = fewshot_config('hp-dval', 0, **FEW)
    data = embedded_fewshot(cfg, fs, 64, progress=False)
    base, test = pictures(data.base), pictures(load_split(fs.benchmark, 'test'))
    for support in data.supports:
        assert (support.targets.sum(0) >= fs.shots).all()
        assert support.classes == data.test.classes and not set(support.classes) & set(data.base.classes)
        assert not pictures(support) & (base | test)
    assert not base & test


def test_an_episode_knows_nothing_of_the_one_before():
    cfg, fs = fewshot_config('hp-dval', 0, epochs1=1, epochs2=1, batch_size=64, device='cpu', **FEW)
    r = run_fewshot(cfg, fs, progress=False)
    clip, cpu = load_clip(), torch.device('cpu')
    data = embedded_fewshot(cfg, fs, clip.visual.size, progress=False)
    base, own = train_base(cfg, data, progress=False), adapt_config(cfg, fs)
    alone, _ = adapt(own, clip, base, data.supports[2], fs.draws, runs_dir() / 'alone', cpu)
    scores = predict_scores(alone, data.test.images, Pixels(clip, own, cpu)).numpy()
    assert np.array_equal(scores, np.load(runs_dir() / r.hash / 'episode_03.npy'))
    assert not np.array_equal(scores, np.load(runs_dir() / r.hash / 'episode_02.npy'))
