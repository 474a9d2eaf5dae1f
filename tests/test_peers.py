"""The other methods of the field as whole models: DualCoOp on the backbone it was made for, TaI-DPT without a look at
an image, LAMM's losses as a training step has them."""

import numpy as np, pytest, torch
import torch.nn.functional as F
from test_clip import alone, entering, naive_pool, small_resnet
from test_same_scores import few_images

from torch.utils._python_dispatch import TorchDispatchMode

from hpdval import core
from hpdval.clip import as_clip, load_clip
from hpdval.config import make_config, run_key
from hpdval.experiment import run
from hpdval.model import build_model, compares_names, for_classes
from hpdval.peers import SENTENCES, pair_score, ranking, training_texts
from hpdval.train import Pixels, predict_scores, stage2_losses, text_batch, text_losses, texts_of

TINY = dict(benchmark='icon-voc-lt', device='cpu', epochs2=2, empty_classes='keep', select='last')


@pytest.fixture(scope='module')
def data():
    "A few images of the embedded VOC-LT."
    return few_images(64, 16)


def test_regions_of_dualcoop_on_a_resnet():
    """Its regions are the values of the attention pool, the mean token first. Without positions, which the mean token
    has of its own, that one is the mean of the others, which is what we take."""
    model = small_resnet()
    tower = as_clip(model).visual
    torch.nn.init.zeros_(model.visual.attnpool.positional_embedding)
    x, pos, neg = torch.randn(2, 3, 96, 96), torch.randn(5, 64), torch.randn(5, 64)
    with torch.no_grad():
        p = tower(x, 'values')[1]
        regions = naive_pool(model.visual.attnpool, entering(model.visual.attnpool, model.visual, x), alone(10))
        regions = F.normalize(regions, dim=-1)
        a_pos, a_neg = (20 * regions @ F.normalize(t, dim=-1).T for t in (pos, neg))
        w = a_pos.softmax(1)
        z_pos, z_neg = 5 * (w * a_pos).sum(1), 5 * (w * a_neg).sum(1)
        right = torch.stack([z_neg, z_pos], -1).softmax(-1)[..., 1]
        torch.testing.assert_close(torch.sigmoid(100 * pair_score(p, pos, neg)), right, atol=1e-6, rtol=0)


def step(method, data, **changes):
    "An untrained model and what its stage 2 would minimise."
    cfg = make_config(method, **TINY | changes)
    clip = load_clip()
    model = build_model(cfg, clip, data.classes, 'cpu')
    return model, stage2_losses(model, clip, data.train, False)[1]


def test_lamm_begins_where_its_losses_hold_nothing(data):
    "At the start student and teacher are one: the third loss is the entropy of the softened probabilities."
    model, losses = step('lamm', data, augment='none', scale=20.0)
    got = losses(torch.arange(16), 0, 0)
    assert got['lamm-names'].item() == 0.0 and abs(got['lamm-meaning'].item()) < 1e-6
    with torch.no_grad():
        pixels = Pixels(model.clip, model.cfg, model.centre.device)
        z = model.logits(predict_scores(model, data.train.images[:16], pixels))
        p = torch.sigmoid(z / 2)
        entropy = -(p * p.log() + (1 - p) * (1 - p).log()).mean()
    assert float(got['lamm-logits']) == pytest.approx(0.05 * 4 * float(entropy), rel=1e-6)
    got['lamm-logits'].backward()
    assert model.prompts.names.grad.abs().max() < 1e-6  # and pulls at nothing


@pytest.mark.parametrize('mode', ['paper', 'official'])
def test_the_names_of_rare_classes_are_held_tighter(mode, data):
    model, losses = step('lamm', data, loss_mode=mode)
    with torch.no_grad():
        model.prompts.names += 0.1
    got = losses(torch.arange(16), 0, 0)['lamm-names']
    counts = data.train.counts().clamp_min(1).float() if mode == 'paper' else torch.ones(20)
    assert float(got) == pytest.approx(float((128 * 0.01 / counts).sum()), rel=1e-6)


def test_tai_dpt_adds_the_ranking_of_both_views(data):
    cfg = make_config('tai-dpt', **TINY)
    clip = load_clip()
    model = build_model(cfg, clip, data.classes, 'cpu')
    texts = texts_of(clip, data.train, cfg)
    _, losses, _ = text_losses(model, clip, texts)
    idx = torch.tensor([0, 5, len(texts.ids) - 1])  # captions, and a sentence for the last class
    with torch.no_grad():
        got = float(losses(idx, 0, 0)['cls'])
        h, tokens, real = text_batch(model, texts, idx)
        G, L = model.texts()
        total = 0.0
        for b in range(3):
            local = F.cosine_similarity(tokens[b][real[b]][:, None], L[None], dim=-1)  # [l,C]
            views = F.cosine_similarity(h[b][None], G, dim=-1), ((50 * local).softmax(0) * local).sum(0)
            y = texts.targets[idx[b]].bool()
            for s in views:
                gaps = 1 - 4 * s[y][:, None] + 4 * s[~y][None]
                total += float(gaps.clamp_min(0).sum()) / 3
    assert got == pytest.approx(total, rel=1e-6)
    assert texts.targets[-1].nonzero().flatten().tolist() == [19]


def test_tai_dpt_trains_without_a_look_at_an_image_or_its_labels(data, tmp_path, monkeypatch):
    "Other pixels and other labels under the same captions: the same prompts to the bit."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    cfg = make_config('tai-dpt', batch_size=256, val_fraction=0.0, **TINY)  # which images are held out, labels decide
    blind = data.train._replace(images=255 - data.train.images.flip(2), targets=data.train.targets.flip(0))
    a, b = (
        run(cfg, progress=False, data=data._replace(train=t, digest=n)) for t, n in ((data.train, 'a'), (blind, 'b'))
    )
    assert a.hash != b.hash
    np.testing.assert_array_equal(a.scores, b.scores)


def test_sentences_alone_need_no_caption(data, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    without = data._replace(train=data.train._replace(captions=None), digest='c')
    params = TINY | dict(epochs2=1, batch_size=256)
    r = run(make_config('tai-dpt', train_on='sentences', **params), progress=False, data=without)
    assert np.isfinite(r.scores).all() and r.history[-1]['loss'] > 0
    assert len(SENTENCES) == 89
    with pytest.raises(ValueError, match='learns from captions, and .* has none here'):
        run(make_config('tai-dpt', **params), progress=False, data=without)


@pytest.mark.parametrize('method', ['dualcoop', 'tai-dpt', 'lamm'])
def test_it_names_other_classes(method, data):
    "A trained model whose classes are turned round gives the same scores, turned round."
    clip = load_clip()
    model = build_model(make_config(method, **TINY), clip, data.classes, 'cpu')
    model.use_learned = True
    with torch.no_grad():
        for p in model.prompts.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
        x = torch.randn(2, 3, 64, 64)
        other = for_classes(model, data.classes[::-1])
        torch.testing.assert_close(other(x), model(x).flip(1), atol=1e-6, rtol=0)


def test_label_graph_prompts_begin_as_the_fixed_ones_and_learn_all_their_parts(data):
    model, losses = step('label-graph', data, augment='none')
    losses(torch.arange(32), 0, 0)['cls'].backward()
    learned = {n: float(p.grad.abs().max()) for n, p in model.prompts.named_parameters()}
    assert learned['ctx'] > 0 and learned['layers.2'] > 0 and learned['log_scale'] != 0
    assert learned['layers.0'] == learned['layers.1'] == 0  # behind a layer of zeros, at the first step alone
    with torch.no_grad():
        start = build_model(make_config('zero-shot', 'icon-voc-lt'), load_clip(), data.classes, 'cpu')
        x = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(model(x), start(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize('method', ['dualcoop', 'label-graph'])
def test_contexts_of_single_classes_name_no_others(method, data):
    cfg = make_config(method, **TINY | (dict(class_ctx=True) if method == 'dualcoop' else {}))
    model = build_model(cfg, load_clip(), data.classes, 'cpu')
    model.use_learned = True
    with pytest.raises(ValueError, match='set class_ctx=no'):
        for_classes(model, ['dog'])


@pytest.mark.parametrize('method', ['lamm', 'dualcoop'])
@pytest.mark.parametrize('change', [dict(templates='an icon of a {}.'), dict(score='l2')])
def test_what_the_fixed_prompts_say_is_part_of_a_run_that_is_held_to_them(method, change, data):
    "LAMM's third loss alone: another fixed score is another loss, and so another run."
    alone = dict(terms='lamm-logits=1', augment='none', scale=20.0)
    found = [step(method, data, **alone, **more)[1](torch.arange(16), 0, 0) for more in ({}, change)]
    assert abs(found[0]['lamm-logits'] - found[1]['lamm-logits']) > 1e-5
    one, other = (make_config(method, **TINY | alone | more) for more in ({}, change))
    assert run_key(one) != run_key(other)


def test_a_graph_of_other_classes_gives_other_scores(data):
    "A class's score depends on its neighbours, so calibration is not said to hold beside others."
    model, _ = step('label-graph', data, class_ctx=False)
    with torch.no_grad():
        model.prompts.layers[-1].normal_(generator=torch.Generator().manual_seed(0))
        model.use_learned = True
        whole = model.texts()[0][: len(data.classes) // 2]
        half = for_classes(model, data.classes[: len(whole)]).texts()[0]
    assert (whole - half).abs().max() > 0.01
    assert compares_names(model)
    model.use_learned = False
    assert not compares_names(model)


def test_a_class_that_no_text_names_is_said(capsys):
    texts = training_texts(load_clip(), ['a dog', 'two dogs'], ['cat', 'dog'], 'captions')
    assert texts.counts().tolist() == [0, 2]
    assert 'no text names 1 class (cat)' in capsys.readouterr().err
    training_texts(load_clip(), ['a dog'], ['cat', 'dog'], 'texts')
    assert 'no text names' not in capsys.readouterr().err


class Largest(TorchDispatchMode):
    "The bytes of the largest tensor that is made in the block."

    most = 0

    def __torch_dispatch__(self, fn, types, args=(), kwargs=None):
        out = fn(*args, **(kwargs or {}))
        self.most = max([self.most, *(t.nbytes for t in (out,) if isinstance(t, torch.Tensor))])
        return out


def test_ranking_of_many_classes_is_computed_in_parts(monkeypatch):
    def naive(x, y):
        pairs = (1 - x[:, :, None] + x[:, None]).clamp_min(0)
        return (pairs * y[:, :, None] * (1 - y[:, None])).sum((1, 2)).mean()

    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(24, 203, generator=g, dtype=torch.double), (torch.rand(24, 203, generator=g) < 0.03).double()
    right = x.clone().requires_grad_()
    naive(right, y).backward()
    monkeypatch.setattr(core, 'HELD', 5 * 20 * 203**2)  # five images at a time
    found = x.clone().requires_grad_()
    with Largest() as seen:
        loss = ranking(found, y)
        loss.backward()
    assert loss.item() == pytest.approx(naive(x, y).item(), rel=1e-6)
    assert torch.allclose(found.grad, right.grad, rtol=1e-6, atol=1e-12) and found.grad.abs().sum() > 0
    assert 0 < seen.most <= 8 * 5 * 203**2  # bytes, of 24 images it was 8 * 24 * 203**2
