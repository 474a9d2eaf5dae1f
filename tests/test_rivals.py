"What other methods bring: LM-CLIP's parts, thin matrices, several views and several sentences, in whole runs."

from dataclasses import replace

import numpy as np, pytest, torch
from test_same_scores import few_images
from torch import nn

from hpdval import train
from hpdval.clip import load_clip
from hpdval.config import METHODS, make_config, method_config, run_key, stage_names, trained_config
from hpdval.experiment import Result, load_model, run
from hpdval.fewshot import FEWSHOT_ROWS, fewshot_config, run_fewshot
from hpdval.model import build_model, model_state
from hpdval.thin import add_adapters, add_lora
from hpdval.paper import table_configs
from hpdval.predict import Classifier
from hpdval.train import STAGES

SMALL = dict(benchmark='icon-voc-lt', epochs1=1, batch_size=32, device='cpu', empty_classes='keep')


@pytest.fixture(scope='module')
def data():
    "A few images of the embedded VOC-LT."
    return few_images(64, 32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    return tmp_path


def run_of(method, data, **changes) -> Result:
    return run(method_config(method, 0, **SMALL | changes), progress=False, data=data)


@pytest.mark.parametrize('method', ['lm-clip', 'dval-lora'])
@pytest.mark.parametrize('ensemble', ['none', 'ten'])
def test_a_classifier_gives_the_scores_of_the_run(method, ensemble, data):
    r = run_of(method, data, ensemble=ensemble)
    found = Classifier.load(r.folder, device='cpu').predict(list(data.test.images[:3].permute(0, 2, 3, 1).numpy()))
    wanted = r.probabilities[:3]
    for i, name, p in found.itertuples(index=False):
        assert p == pytest.approx(wanted[i, r.classes.index(name)], abs=1e-5)


def test_what_is_looked_at_in_another_way_was_trained_once(data, folder):
    plain = run_of('dval', data)
    others = [run_of('dval', data, **look) for look in (dict(ensemble='ten'), dict(scoring='softmax'))]
    assert [list(r.before) for r in others] == [[plain.hash]] * 2
    assert len({plain.hash, *(r.hash for r in others)}) == 3 == len([*folder.iterdir()])
    assert all([h['loss'] for h in r.history[1:]] == [h['loss'] for h in plain.history[1:]] for r in others)
    cfg = method_config('lm-clip', 0, **SMALL)
    assert cfg.scoring == 'softmax' and trained_config(cfg).scoring == 'same'


def test_training_does_not_see_how_images_are_judged(data, folder):
    "A stage that is given a model with a scoring and views of its own trains the weights that it would without."
    clip, states = load_clip(), []
    for look in ({}, dict(scoring='softmax', ensemble='mirror')):
        cfg = method_config('dval', 0, select='last', **SMALL | look)
        model = build_model(cfg, clip, data.classes, 'cpu')
        STAGES['stage1'](model, clip, data.train, None, folder / f'{len(states)}.pt', False)
        states.append(model_state(model))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values()))


def test_thin_matrices_are_all_that_is_kept_of_the_tower(data):
    r = run_of('dval-lora', data, select='last')
    clip = load_clip()
    model = load_model(r, clip)
    own = clip.visual.state_dict()
    for name, value in model.visual.state_dict().items():
        plain = name.replace('parametrizations.', '').removesuffix('.original')
        assert name.endswith(('.A', '.B')) or torch.equal(value, own[plain]), name
    whole = run_of('dval', data, select='last')
    sizes = [(run_.file('model.safetensors')).stat().st_size for run_ in (r, whole)]
    assert sizes[0] < sizes[1] / 4
    assert np.abs(r.scores - whole.scores).max() > 1e-4


@pytest.mark.parametrize(
    'changes', [dict(student='vit_tiny_patch16_224', student_weights='random', embedding='mlp'), dict(embedding='mlp')]
)
def test_thin_matrices_in_other_students_come_back(changes, data):
    r = run_of('dval-lora', data, **changes)
    again = load_model(r, load_clip())
    x = torch.zeros(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.isfinite(again(x)).all()
    saved = model_state(again)
    assert any('embed.' in k for k in saved) and any(k.endswith('.A') for k in saved)


def test_a_tower_without_linear_layers_says_so():
    with pytest.raises(ValueError, match="tune1='lora' needs linear layers"):
        add_lora(nn.Conv2d(3, 8, 3), 4)


def test_stage_2_goes_on_from_thin_matrices(data):
    r = run_of('hp-dval', data, tune1='lora', epochs2=1)
    first = Result.load(f'{r.folder}/../{[*r.before][0]}')
    assert first.config['tune1'] == 'lora'
    a, b = (load_model(x, load_clip()).visual.state_dict() for x in (first, r))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_an_epoch_of_rare_images_shows_them_more_often(data, monkeypatch):
    seen, plain = [], train.batches

    def batches(n, size, generator=None, weights=None):
        drawn = plain(n, size, generator, weights)
        if weights is not None:
            seen.append((weights, torch.cat(drawn)))
        return drawn

    monkeypatch.setattr(train, 'batches', batches)
    run_of('lm-clip', data, epochs1=3)
    (weights, _), *_ = seen
    order = weights.argsort()
    shown = torch.cat([drawn for _, drawn in seen]).bincount(minlength=len(weights)).double()
    assert len(seen) == 3 and shown[order[-10:]].mean() > 2 * shown[order[:10]].mean()


def test_lm_clip_learns_few_shots_and_names_other_classes():
    few = dict(shots=1, episodes=1, draws=8, resample=200, adapt_epochs1=1, epochs1=1, batch_size=64, device='cpu')
    r = run_fewshot(*fewshot_config('lm-clip', 0, 'icon-voc-fsl-smoke', for_all=True, **few), progress=False)
    assert np.isfinite(r.ap).all() and r.config['loss'] == 'bal'


@pytest.mark.parametrize('templates', ['a photo', 'a {} of a {}'])
def test_a_further_template_without_a_place_is_one_line(templates, data):
    with pytest.raises(ValueError, match='a template needs one {}') as e:
        run_of('zero-shot', data, templates=templates)
    assert '\n' not in str(e.value)


def test_the_declared_parts_of_lm_clip_cannot_be_said_otherwise():
    with pytest.raises(ValueError, match="fixes loss='bal'"):
        make_config('lm-clip', loss='asl')
    free = make_config('lm-clip', 'coco-lt', contrast_weight=2.5, scoring='same')
    assert (free.contrast_weight, free.lr1, free.batch_size) == (2.5, 1e-6, 8)
    own = make_config('fine-tuning', 'icon-coco-lt', sampling='balanced', loss='asl', scoring='softmax')
    assert replace(own, scoring='same') == trained_config(own)


@pytest.mark.parametrize('benchmark, weight', [('coco-lt', 0.2), ('voc-lt', 2.5), ('icon-voc-lt', 0.04)])
def test_lm_clips_two_losses_are_weighted_as_on_each_benchmark(benchmark, weight):
    "Its paper weights the classification loss by 5 on COCO-LT and .4 on VOC-LT; here the other loss has the weight."
    assert make_config('lm-clip', benchmark).contrast_weight == weight


def test_adapters_are_all_that_is_kept_of_the_tower(data):
    "A run with adapters beside the MLPs, trained together with a graph of prompts, comes back as it was."
    r = run_of('label-graph-adapter', data, select='last')
    clip = load_clip()
    model = load_model(r, clip)
    own = clip.visual.state_dict()
    thin = 0
    for name, value in model.visual.state_dict().items():
        if '.beside.' in name:
            thin += value.numel()
        else:
            assert torch.equal(value, own[name.replace('.mlp.inner.', '.mlp.')]), name
    assert 0 < thin < sum(v.numel() for v in own.values()) / 20
    found = Classifier.load(r.folder, device='cpu').predict(list(data.test.images[:2].permute(0, 2, 3, 1).numpy()))
    wanted = r.probabilities[:2]
    for i, name, p in found.itertuples(index=False):
        assert p == pytest.approx(wanted[i, r.classes.index(name)], abs=1e-5)


def test_a_tower_without_an_mlp_says_so():
    with pytest.raises(ValueError, match="tune1='adapter' needs blocks with an MLP"):
        add_adapters(nn.Conv2d(3, 8, 3), 4)


def test_prompts_that_need_an_image_are_not_trained_jointly():
    with pytest.raises(ValueError, match="prompts='conditional' makes its own score"):
        make_config('joint', prompts='conditional', sc_weight=0.0, alpha=1.0, alpha_on='global')


def test_a_row_takes_the_rates_of_another_method():
    "A part of LM-CLIP's recipe is measured at LM-CLIP's rates, plain fine-tuning at its own."
    of = {row: c for row, (c,) in table_configs('lm-clip', [0], benchmark='icon-voc-lt', quiet=True).items()}
    rates = {row: (c.lr1, c.epochs1) for row, c in of.items()}
    assert rates['both towers, ASL'] == rates['LM-CLIP'] != rates['image tower, ASL']
    assert of['both towers, ASL'].loss == 'asl' and of['LM-CLIP'].loss == 'bal'
    assert of['both towers, ASL'].method == 'fine-tuning'


@pytest.mark.parametrize('benchmark', ['icon-coco-lt', 'icon-voc-lt', 'coco-lt', 'voc-lt'])
def test_a_part_of_lm_clip_differs_from_it_in_that_part_alone(benchmark):
    of = {row: run_key(c) for row, (c,) in table_configs('lm-clip', [0], benchmark=benchmark, quiet=True).items()}
    whole = of['LM-CLIP']
    parts = {
        'cosine in the place of softmax': {'scoring'},
        'each image once': {'sampling'},
        "without CLIP's loss": {'contrast_weight'},
        'ASL in the place of its loss': {'loss', 'loss_mode', 'scale'},  # a loss comes with its own
    }
    for row, wanted in parts.items():
        other = {k for k in whole.keys() | of[row].keys() if whole.get(k) != of[row].get(k)}
        assert other - {'code', 'method'} == wanted, row


def test_on_photographs_a_rival_learns_at_the_rates_of_its_own_paper():
    "HP-DVAL's 5e-6 would leave a context where it began."
    wanted = dict(coop=(2e-3, 50), cocoop=(2e-3, 10), lmpt=(5e-4, 50), dualcoop=(2e-3, 50), lamm=(2e-3, 50))
    wanted |= {'hp-dval': (5e-6, 10), 'tai-dpt': (1e-4, 20)}
    for m, (rate, epochs) in wanted.items():
        cfg = make_config(m, 'coco-lt')
        assert (cfg.lr2, cfg.epochs2) == (rate, epochs)
    assert make_config('fine-tuning-both', 'coco-lt').loss == 'db-focal'
    for m in ('coop', 'cocoop', 'lmpt', 'linear-probe'):
        assert METHODS[m].authors and make_config(m, 'coco-lt', 'official').lr2 == 1e-5  # the authors' code
    assert make_config('lamm', 'coco-lt', 'official').lr2 == 2e-3  # no method of theirs
    assert fewshot_config('tai-dpt', 0, benchmark='coco-fsl')[0].batch_size == 32  # of images


@pytest.mark.parametrize('method', FEWSHOT_ROWS)
def test_on_photographs_a_method_adapts_at_its_own_rate(method):
    cfg, few = fewshot_config(method, 0, benchmark='coco-fsl', shots=1, for_all=True)
    for stage, adapted in (('1', few.adapt_lr1), ('2', few.adapt_lr2)):
        if f'stage{stage}' in stage_names(cfg):
            assert adapted == getattr(cfg, f'lr{stage}')
