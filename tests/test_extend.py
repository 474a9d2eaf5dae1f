"Every block of docs/extend.md is run as it stands, small; what it registers is found everywhere without another edit."

import re
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import numpy as np, pytest, torch
import torch.nn.functional as F
from test_same_scores import few_images

from hpdval import align, config, data, losses, prompts, report, sources, train
from hpdval.clip import load_clip
from hpdval.config import make_config
from hpdval.experiment import EXAMPLE, Result, load_benchmark, run, run_code
from hpdval.model import build_model

PAGE = (Path(__file__).resolve().parents[1] / 'docs/extend.md').read_text(encoding='utf-8')
BLOCKS = dict(re.findall(r'^## (.+?)\n.*?```python\n(.+?)```', PAGE, re.M | re.S))
REGISTRIES = (losses.LOSSES, losses.TERMS, prompts.PROMPTS, config.METHODS, sources.SOURCES)


def small():
    "A part of the embedded VOC-LT, with every class in it."
    data = load_benchmark(make_config('zero-shot', 'icon-voc-lt'), progress=False)
    rows = {int(i) for c in range(20) for i in np.flatnonzero(data.train.targets[:, c])[:8]}
    part = data._replace(train=data.train.at(sorted(rows)), test=data.test.at(range(200)), scenes=None)
    return part._replace(digest=f'{data.digest} small')


SMALL = ("benchmark='icon-voc-lt',", "benchmark='icon-voc-lt', data=small(),")


@pytest.fixture
def block(tmp_path, monkeypatch):
    "Runs a block; what it registered is taken out again."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    before = [dict(r) for r in REGISTRIES]

    def run(title, **replaced):
        code = BLOCKS[title]
        for old, new in replaced.values():
            assert old in code
            code = code.replace(old, new)
        names = dict(__name__='__main__', small=small)
        exec(compile(code, f'docs/extend.md: {title}', 'exec'), names)
        return names['summary'], names['results']

    yield run
    for registry, old in zip(REGISTRIES, before):
        registry.clear()
        registry |= old


def check(results, phase):
    "It was trained, and what it learned is in its scores."
    r = results[0]
    last = [h for h in r.history if h['phase'] == phase][-1]
    assert np.isfinite(last['loss']) and np.isfinite(Result.load(r.folder).scores).all()
    return last


def test_the_page_has_four_examples():
    assert list(BLOCKS) == ['A loss', 'A prompt', 'A source', 'A term']


def test_a_loss(block):
    _, results = block('A loss', data=SMALL)
    check(results['dval'], 'stage 1')
    names = {results['dval'][0].hash}
    _, changed = block('A loss', data=SMALL, other=('(n / counts).sqrt()', '(n / counts)'))
    assert changed['dval'][0].hash not in names  # another function, another run


def test_a_prompt(block):
    summary, results = block('A prompt', data=SMALL)
    assert list(summary['methods']) == ['Zero-shot CLIP', 'TaskRes']
    check(results['taskres'], 'stage 2')
    assert len(set(report.colours(summary['methods']).values())) == 2
    report.results_table(summary)
    with pytest.raises(ValueError, match='has none for others'):
        prompts.PROMPTS['residual'].for_classes(None, ['dog'])


def test_a_source(block):
    _, results = block('A source')
    r = results['dval'][0]
    assert r.classes == ['red apple', 'green tree', 'blue car'] and r.data.startswith('squares ')
    check(results['dval'], 'stage 1')


def test_a_term(block):
    _, results = block('A term', data=SMALL)
    last = check(results['dval'], 'stage 1')
    assert last['together'] > 0 and last['loss'] == pytest.approx(last['cls'] + last['kd'] + last['together'])


@pytest.mark.parametrize(
    ('fn', 'said'),
    [
        (lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction='none'), 'must give one number'),
        (lambda x, y: float(F.binary_cross_entropy_with_logits(x, y)), 'without .item\\(\\) or float\\(\\)'),
        (lambda x, y: F.binary_cross_entropy_with_logits(x.detach(), y), 'no gradient goes through'),
    ],
)
def test_what_is_no_loss_is_said(fn, said):
    logits, targets = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3)
    assert losses.Loss(F.binary_cross_entropy_with_logits)(logits, targets).item() == pytest.approx(0.6931, abs=1e-4)
    with pytest.raises(ValueError, match=said):
        losses.Loss(fn)(logits, targets)


def test_a_loss_that_is_no_number_ends_before_training():
    scores, y = torch.rand(8, 3), torch.zeros(8, 3)
    with pytest.raises(FloatingPointError, match='is not finite'):
        train.fit_logits(scores, y, lambda x, y: (x * float('nan')).mean())


@pytest.mark.parametrize(
    ('registry', 'entry', 'field', 'said'),
    [
        (losses.LOSSES, F.binary_cross_entropy_with_logits, dict(loss='mine'), 'must be a dict of modes'),
        (prompts.PROMPTS, lambda *a: prompts.Prompts(*a), dict(prompts='mine'), 'must be a class built on Prompts'),
        (align.HEADS, partial(align.Head), dict(head='mine'), 'must be a class built on Head'),
        (losses.TERMS, lambda seen, cfg: seen.g.mean(), dict(terms='mine=1'), 'must be a Term'),
        (losses.TERMS, losses.Term(lambda s, c: s.g.mean(), ('g',)), dict(terms='mine=1'), 'reads of the term'),
        (losses.TERMS, losses.Term(len, lambda c: (), stages=('stage 1',)), dict(terms='mine=1'), 'did you mean'),
    ],
)
def test_a_declaration_of_another_form_is_said(registry, entry, field, said, monkeypatch):
    monkeypatch.setitem(registry, 'mine', entry)
    with pytest.raises(ValueError, match=said):
        make_config('hp-dval', 'icon-voc-lt', **field)


def seen(**fields):
    return losses.Seen(g=torch.ones(4, 8, requires_grad=True), **fields)


def test_a_term_reads_what_it_declares():
    cfg = make_config('dval', 'icon-voc-lt')
    names = dict(g=lambda s, c: s.g.mean(), p=lambda s, c: s.p.mean(), v=lambda s, c: s.g.mean(1))
    names |= dict(key=lambda s, c: s.g.mean() * c.alpha, other=lambda s, c: s.g.mean() * c.join_scale)
    terms = {k: losses.Term(f, lambda cfg: ('g',)) for k, f in names.items()}
    assert train.valued('g', terms['g'], seen(), cfg).item() == 1
    assert train.valued('key', terms['key'], seen(), cfg).item() == pytest.approx(cfg.alpha)  # in every name
    for name, said in dict(p='must stand in its reads', v='take its mean', other='reads join_scale').items():
        with pytest.raises(ValueError, match=said):
            train.valued(name, terms[name], seen(), cfg)
    strange = {'x': (losses.Term(names['g'], lambda cfg: ('patches',)), 1.0)}
    with pytest.raises(ValueError, match="unknown reads of the term 'x': 'patches'"):
        train.wanted_by(strange, cfg)


def test_a_declared_field_is_in_the_name_of_a_run(monkeypatch):
    term = losses.Term(lambda s, c: s.g.mean(), lambda cfg: ('g',), fields=lambda cfg: ('join_scale',))
    monkeypatch.setitem(losses.TERMS, 'mine', term)
    keys = [config.run_key(make_config('dval', 'icon-voc-lt', terms='mine=1', join_scale=s)) for s in (5.0, 20.0)]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (torch.ones(3), 'for each of the 6 images, got \\(3,\\)'),
        (-torch.ones(6), 'finite weights of 0 or more'),
        (torch.tensor([1.0, 1, 1, 1, 1, float('nan')]), 'finite weights of 0 or more'),
    ],
)
def test_weights_of_images_are_looked_at(given, said, monkeypatch):
    monkeypatch.setitem(losses.SAMPLINGS, 'mine', lambda targets, counts, n, p: given)
    with pytest.raises(ValueError, match=said):
        losses.image_weights('mine', torch.ones(6, 2))


def test_weights_may_be_a_list(monkeypatch):
    monkeypatch.setitem(losses.SAMPLINGS, 'mine', lambda targets, counts, n, p: [1, 2, 3])
    assert losses.image_weights('mine', torch.ones(3, 2)).tolist() == [1, 2, 3]


@pytest.mark.parametrize('change', [lambda b, g: b.float() / 255, lambda b, g: b[..., :4]])
def test_an_augmentation_gives_images_as_it_gets_them(change, monkeypatch):
    monkeypatch.setitem(data.AUGMENTS, 'mine', change)
    with pytest.raises(
        ValueError, match="augment='mine' must give images as it gets them, Tensor torch.uint8 \\(2, 3, 8, 8\\)"
    ):
        data.augment(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 'mine', torch.Generator())


CLASSES = ['cat', 'dog', 'car']


def model_of(**fields):
    "A model of three classes that scores with what it learned."
    cfg = make_config('hp-dval', 'icon-voc-lt', device='cpu', **fields)
    model = build_model(cfg, load_clip(), CLASSES, 'cpu')
    model.use_learned = True
    return model


@pytest.mark.parametrize('views', [lambda x: [], lambda x: [x[..., :8]], lambda x: x])
def test_an_ensemble_gives_views(views, monkeypatch):
    monkeypatch.setitem(data.ENSEMBLES, 'mine', views)
    with pytest.raises(ValueError, match="ensemble='mine' must give views"):
        model_of(ensemble='mine')(torch.zeros(2, 3, 64, 64))


class Shifted(prompts.Prompts):
    "A shift for each class; nobody says what it does for others."

    def __init__(self, clip, classes, cfg, generator=None):
        super().__init__(clip, classes, cfg, generator)
        self.shift = torch.nn.Parameter(torch.zeros(len(classes), clip.width))

    def texts(self, text, fixed):
        return fixed + self.shift, fixed + self.shift


class One(Shifted):
    def texts(self, text, fixed):
        return fixed[:1], fixed


class Single(Shifted):
    def texts(self, text, fixed):
        return fixed


@pytest.mark.parametrize('kind', [One, Single])
def test_texts_are_those_of_all_classes_and_both_views(kind, monkeypatch):
    monkeypatch.setitem(prompts.PROMPTS, 'mine', kind)
    with pytest.raises(ValueError, match='texts must give two \\[C,D\\]'):
        model_of(prompts='mine', sc_weight=0.0).texts()


@pytest.mark.parametrize('names', [['bus', 'sheep', 'train'], ['dog', 'car', 'cat'], ['dog', 'bus']])
def test_what_is_learned_for_its_classes_names_no_others(names, monkeypatch):
    monkeypatch.setitem(prompts.PROMPTS, 'mine', Shifted)
    with pytest.raises(ValueError, match='Shifted learns for each of its classes'):
        model_of(prompts='mine', sc_weight=0.0).prompts.for_classes(names)
    shared = model_of().prompts
    before = torch.random.get_rng_state()
    other = shared.for_classes(names)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in shared.state_dict().items())

    class Learned(align.Head):
        learns = True

    with pytest.raises(ValueError, match='Learned learns for its own classes'):
        Learned(load_clip(), CLASSES).for_classes(names)


LOG = []


def logged(x, y):
    value = F.binary_cross_entropy_with_logits(x, y)
    LOG.append(value.item())
    return value


def test_code_that_changes_while_it_runs_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    quick = dict(epochs1=1, batch_size=32, device='cpu', empty_classes='keep', select='last')
    for name, fn, said in (('plain', F.binary_cross_entropy_with_logits, 0), ('logged', logged, 1)):
        monkeypatch.setitem(losses.LOSSES, name, dict(paper=losses._plain(fn)))
        result = run(make_config('dval', 'icon-voc-lt', loss=name, **quick), data=few_images(32, 16), progress=False)
        assert capsys.readouterr().err.count('the code of this run changed while it ran') == said
        assert (run_code(result.made_by) == result.code) is not bool(said)


def test_a_result_that_is_not_there_is_said_in_a_line(tmp_path):
    for folder in (tmp_path, tmp_path / 'none', tmp_path / 'result.json'):
        with pytest.raises(FileNotFoundError, match='no finished run in .*: give the folder of a run'):
            Result.load(folder)
    assert Result.load(EXAMPLE / 'result.json').hash == Result.load(EXAMPLE).hash


def test_lost_files_of_a_run_are_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    asked = dict(data=few_images(32, 16), progress=False)
    cfg = make_config('zero-shot', 'icon-voc-lt', device='cpu', empty_classes='keep')
    result = run(cfg, **asked)
    capsys.readouterr()
    for name in ('model.safetensors', 'scores.npy'):
        (Path(result.folder) / name).unlink()
    assert run(cfg, **asked).mAP == result.mAP
    assert 'has lost model.safetensors and scores.npy; its numbers are there' in capsys.readouterr().err


def test_what_is_right_is_not_refused(monkeypatch):
    cfg = make_config('dval', 'icon-voc-lt')
    spaces = {}
    exec('def f(seen, cfg): return seen.g.mean()', spaces)
    fns = [spaces['f'], lambda s, c: s.g.mean() + torch.zeros((), device=torch.device('cpu' if c.device else ''))]
    for fn in fns:
        assert train.valued('x', losses.Term(fn, lambda c: ('g',)), seen(), cfg).item() == 1
    whole = losses.Term(lambda s, c: s.g.mean() * vars(c)['alpha'], lambda c: ('g',))
    assert train.valued('x', whole, seen(), cfg).item() == pytest.approx(cfg.alpha)

    @wraps(data.augment_shift)
    def mine(batch, generator):
        return data.augment_shift(batch, generator)

    batch = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    monkeypatch.setitem(data.AUGMENTS, 'mine', mine)
    monkeypatch.setitem(data.AUGMENTS, 'compiled', torch.jit.script(_flipped))
    assert not data.draws_for_rows('mine') and not data.draws_for_rows('compiled')
    pixels = train.Pixels(load_clip(), replace(cfg, augment='mine'), torch.device('cpu'))
    assert pixels.bytes_of(batch, torch.arange(5), torch.Generator()).shape == batch.shape
    assert all(map(data.draws_for_rows, ('clip', 'official', 'icons', 'shift', 'flip')))


def _flipped(batch, generator: int = 0):
    return batch.flip(-1)


class Described(prompts.LearnedPrompts):
    "One context for all classes, whose names have more words; and a number that is no parameter."

    WORDS = dict(cat='a pet', dog='a pet', car='a thing', owl='a bird', cow='an animal')

    def __init__(self, clip, classes, cfg, generator=None):
        super().__init__(clip, [f'{c}, {self.WORDS[c]}' for c in classes], cfg, generator)
        self.register_buffer('lengths', torch.tensor([float(len(c)) for c in classes]))

    def texts(self, text, fixed):
        return list(super().texts(text, fixed))


def test_a_context_for_all_classes_names_others(monkeypatch):
    monkeypatch.setitem(prompts.PROMPTS, 'mine', Described)
    model = model_of(prompts='mine', sc_weight=0.0)
    assert len(model.texts()) == 2
    other = model.prompts.for_classes(['owl', 'cow', 'cat', 'dog'])
    assert other.lengths.tolist() == [3, 3, 3, 3] and torch.equal(other.ctx, model.prompts.ctx)
