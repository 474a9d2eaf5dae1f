"""A run's name holds whatever the run reads: two configs share a name only if they compute the same, and no field is
accepted without effect. Checked by what tiny runs really read, and by what they give."""

import itertools
from functools import partial

import numpy as np, pytest, torch
from click.testing import CliRunner
from test_same_scores import few_images

from hpdval.align import HEADS
from hpdval.clip import load_clip
from hpdval.command import main
from hpdval.config import (
    METHODS,
    MODES,
    TYPES,
    Config,
    Method,
    abilities,
    check_made,
    choices,
    config_hash,
    make_config,
    method_config,
    reads,
    reads_fixed,
    reads_patches,
    run_key,
    stage_names,
    start_config,
)
from hpdval.experiment import config_clip, load_benchmark, run, run_code
from hpdval.model import build_model
from hpdval.prompts import PROMPTS
from hpdval.sources import SOURCES
from hpdval.train import STAGES, Pixels, predict_scores, split_for_selection, stage1_losses, stage2_losses

TINY = dict(epochs1=1, epochs2=1, batch_size=16, device='cpu', empty_classes='keep', image_size=32)
OWN_SIZE = TINY | dict(image_size=0)
WHERE = set('method mode device image_root lists pretrained student_weights empty_classes head_from tail_below'.split())
OTHER = dict(  # another value of every number and text
    seed=1,
    copies=1,
    val_fraction=0.3,
    alpha=0.7,
    topk=5,
    join_scale=5.0,
    text_join_scale=5.0,
    class_ctx=True,
    graph_share=0.3,
    topk_share=0.4,
    scale=7.0,
    n_ctx=7,
    sc_weight=3.0,
    kd_weight=3.0,
    epochs1=2,
    epochs2=2,
    batch_size=8,
    lr1=3e-3,
    lr2=3e-2,
    weight_decay=0.5,
    schedule_epochs=7,
    ema=0.5,
    template='an icon of a {}.',
    cse_weight=3.0,
    student='vit_tiny_patch16_224',
    joint=True,
    train_text=True,
    mean='.3',
    std='.4,.4,.5',
    contrast_weight=0.5,
    templates='an icon of a {}.',
    train_words=True,
    lora_rank=3,
    adapter_width=3,
)


def other_values(name, value) -> list:
    "Values of a field that differ from this one."
    if options := choices(name):
        return [o for o in options if o != value and name not in ('method', 'benchmark', 'mode')]
    return [OTHER[name]] if name in OTHER and OTHER[name] != value else []


def proposed(cfg) -> list:  # of changes, each with what makes the Config
    "Every change of one field, as far as it has another value; not all are accepted."
    own = {k: getattr(cfg, k) for k in TYPES}
    start = Config(**start_config(cfg.method, cfg.benchmark, cfg.mode))
    given = {k: v for k, v in own.items() if v != getattr(start, k) and k not in ('method', 'benchmark', 'mode')}
    out = []
    for name in TYPES:
        for value in other_values(name, own[name]):
            changes = {name: value} | (dict(embedding='mlp', student_weights='random') if name == 'student' else {})
            out.append((changes, partial(make_config, cfg.method, cfg.benchmark, cfg.mode, **given | changes)))
    return out


def accepted(made):  # -> Config or None
    "The config, unless the change is fixed by the method, without effect, or not allowed with another."
    try:
        return made()
    except (ValueError, TypeError):
        return None


def changed(cfg) -> list:  # of (changes, Config)
    "Every config that differs from `cfg` in one field and is accepted."
    found = [(changes, accepted(made)) for changes, made in proposed(cfg)]
    return [(changes, other) for changes, other in found if other]


@pytest.mark.parametrize('benchmark', SOURCES)
@pytest.mark.parametrize('mode', MODES)
def test_methods_that_differ_have_different_names(benchmark, mode):
    names = {m: config_hash(make_config(m, benchmark, mode)) for m in METHODS}
    assert len(set(names.values())) == len(METHODS), names


@pytest.mark.parametrize('share', [3, pytest.param(1, marks=pytest.mark.thorough)])  # 3: of a third of the methods
@pytest.mark.parametrize('benchmark, mode', [(b, m) for b in SOURCES for m in MODES])
def test_a_change_that_is_accepted_changes_the_name(benchmark, mode, share):
    "In thirds, every two of benchmark, mode and method meet."
    count, shift = 0, [*SOURCES].index(benchmark) + [*MODES].index(mode)
    for m in [*METHODS][shift % share :: share]:
        cfg = make_config(m, benchmark, mode)
        for changes, other in changed(cfg):
            if set(changes) <= WHERE | {'seed'}:
                continue
            count += 1
            assert config_hash(other) != config_hash(cfg), (m, changes)
    assert count > 100


def test_equal_names_mean_equal_keys_over_pairs_of_changes():
    rng = np.random.default_rng(0)
    by_name = {}
    for m, mode in itertools.product(METHODS, MODES):
        singles = [c for _, c in changed(make_config(m, 'coco-lt', mode))]
        pairs = [made for c in singles for _, made in proposed(c)] if m == 'hp-dval' else []
        chosen = filter(None, (accepted(pairs[i]) for i in rng.permutation(len(pairs))))
        for cfg in [*singles, *itertools.islice(chosen, 300)]:
            by_name.setdefault(config_hash(cfg), []).append(cfg)
    assert sum(map(len, by_name.values())) > 500
    for cfgs in by_name.values():
        assert all(run_key(c) == run_key(cfgs[0]) for c in cfgs)


class Traced(Config):
    "A config that remembers which of its fields were read."

    def __getattribute__(self, name):
        if name in TYPES:
            object.__getattribute__(self, '__dict__').setdefault('seen', set()).add(name)
        return object.__getattribute__(self, name)


@pytest.fixture(scope='module')
def data():
    "A few images of the embedded VOC-LT."
    return few_images(24, 12, image_size=TINY['image_size'])


@pytest.fixture(scope='module')
def of_own_size():
    "In the size that MiniCLIP was made for."
    return few_images(24, 12)


def test_the_fingerprint_is_of_the_code_and_not_of_what_it_did(data, tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    cfg = method_config('hp-dval', 0, benchmark='icon-voc-lt', **TINY)
    before = run_code(cfg)
    run(cfg, progress=False, data=data)
    assert run_code(cfg) == before


def traced(cfg, data, folder) -> set:
    "The fields that are read while a config's run trains and scores."
    clip = config_clip(cfg)
    cfg = Traced(**{k: getattr(cfg, k) for k in TYPES})
    names = stage_names(cfg)
    train, select = split_for_selection(data, cfg) if names else (data.train, None)
    vars(cfg)['seen'] = set()
    model = build_model(cfg, clip, data.classes, 'cpu')
    for s in names:
        STAGES[s](model, clip, train, select, folder / f'{s}.pt', False)
    predict_scores(model, data.test.images, Pixels(clip, cfg, torch.device('cpu')))
    return vars(cfg)['seen']


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('method', METHODS)
def test_what_a_run_reads_is_in_its_name(method, mode, data, tmp_path):
    small = TINY | (dict(schedule_epochs=0) if mode == 'official' else {})
    small |= dict(batch_size=600) if method == 'tai-dpt' else {}  # of its 1,800 sentences
    cfg = method_config(method, 0, mode=mode, benchmark='icon-voc-lt', **small)
    unused = {'prompts', 'head', 'train_text', *PROMPTS[cfg.prompts].reads(cfg)}  # parts are built, whatever reads them
    if HEADS[cfg.head].learns or PROMPTS[cfg.prompts].own_score:
        unused |= {'alpha', 'alpha_on', 'template', 'class_names'}  # built, and not scored with
        unused |= {'local', 'join', 'topk', 'topk_share', 'join_scale'}
    unused |= {'loss'}  # of stage 2, where it stands under loss2
    unused |= {'kd', 'kd_weight', 'teacher', 'sc_weight', 'cse_weight', 'contrast_weight'}  # is a term there at all?
    unused |= {'tune1'} | (set() if reads_fixed(cfg) else {'templates'})
    unused |= set() if 'loss_mode' in reads(cfg) else {'loss_mode'}  # handed over to a loss that has one mode
    unused |= set() if reads_patches(cfg) else {'topk', 'topk_share', 'local', 'join'}  # handed over, not asked for
    unused |= {'topk_share'} if cfg.topk else set()
    unused |= set() if cfg.join == 'softmax' else {'join_scale'}
    unused |= set() if cfg.join == 'topk' else {'topk', 'topk_share'}  # checked when it is built
    unused |= set() if stage_names(cfg) else {'seed'}  # a generator from which nothing is drawn
    assert not traced(cfg, data, tmp_path) - reads(cfg) - WHERE - unused


SAMPLE = ['zero-shot-dual', 'coop', 'linear-probe', pytest.param('hp-dval', marks=pytest.mark.thorough)]
MAY_BE_SAME = {'select', 'loss_mode', 'precision', 'seed'}  # on so few images, or where nothing is drawn


@pytest.mark.parametrize('method', SAMPLE)
def test_no_field_is_accepted_without_effect(method, data, tmp_path, monkeypatch):
    "Tiny runs: what changes the name changes the scores or the logits."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    cfg = method_config(method, 0, benchmark='icon-voc-lt', select='last', **TINY)

    few = data._replace(test=data.test.at(range(8)), digest='48-8')

    def outcome(c):
        r = run(c, progress=False, data=few)
        return np.concatenate([r.scores.ravel(), [r.scale, r.centre]])

    plain, idle, tried = outcome(cfg), [], set()
    for changes, other in changed(cfg):
        field, value = [*changes.items()][0]
        if field in WHERE | tried | MAY_BE_SAME or value == 'mls':  # mls is bce
            continue
        tried.add(field)  # one other value of each
        if np.array_equal(outcome(other), plain):
            idle.append(changes)
    assert not idle


IDLE = [
    ('hp-dval', dict(mode='official', kd_weight=3.0), 'kd_weight has no effect'),
    ('hp-dval', dict(mode='official', kd='l2'), 'kd has no effect'),
    ('dval', dict(teacher='student', kd_on='patch'), 'kd_on has no effect'),
    ('hp-dval', dict(prompts='local'), "set sc_on='local' or sc_weight=0"),
    ('hp-dval', dict(prompts='global', sc_on='both'), "set sc_on='global' or sc_weight=0"),
    ('hp-dval', dict(prompts='shared', sc_on='local'), "set sc_on='global' or sc_weight=0"),
    ('joint', dict(prompts='fixed'), 'set sc_weight=0'),
    ('hp-dval', dict(student_weights='random'), "student='clip' starts as CLIP's own tower"),
    ('hp-dval', dict(image_root='photos'), "benchmark 'icon-coco-lt' does not read image_root"),
    ('hp-dval', dict(benchmark='folder', image_root='photos', lists='lists'), "'folder' does not read lists"),
    ('coop', dict(loss_mode='official'), 'loss_mode has no effect'),
    ('dval', dict(select='last', earliest1=3), 'earliest1 has no effect'),
    ('coop', dict(earliest1=3), 'earliest1 has no effect'),
    ('coop', dict(local='values'), 'local has no effect'),
    ('coop', dict(join='max'), 'join has no effect'),
    ('dval', dict(join_scale=5.0), 'join_scale has no effect'),
    ('dval', dict(join='max', topk=3), 'topk has no effect'),
    ('hp-dval', dict(class_ctx=True), 'class_ctx has no effect'),
    ('hp-dval', dict(text_join_scale=5.0), 'text_join_scale has no effect'),
    ('dval', dict(train_on='texts'), 'train_on has no effect'),
    ('tai-dpt', dict(augment='none'), 'augment has no effect'),
    ('tai-dpt', dict(train_on='images', text_join_scale=5.0), 'text_join_scale has no effect'),
    ('tai-dpt', dict(sc_weight=1.0), 'fixes sc_weight=0.0'),
    ('hp-dval', dict(train_on='texts'), 'no images for the terms sc'),
    ('linear-probe', dict(train_on='texts'), 'make no score of their own'),
    ('lamm', dict(n_ctx=7), 'n_ctx has no effect'),
    ('dval', dict(train_words=True), 'train_words has no effect'),
    ('dval', dict(lora_rank=3), 'lora_rank has no effect'),
    ('coop', dict(tune1='lora'), 'tune1 has no effect'),
    ('coop', dict(templates='a drawing of a {}.'), 'templates has no effect'),
    ('coop', dict(sampling='balanced', epochs2=0), 'sampling has no effect'),
    ('zero-shot', dict(contrast_weight=0.5), 'contrast_weight has no effect'),
    ('zero-shot', dict(score='l2', scoring='softmax'), 'score has no effect'),
    ('dval', dict(scoring='cosine'), 'scoring has no effect'),
    ('linear-probe', dict(scoring='softmax'), 'scoring has no effect'),
]


@pytest.mark.parametrize('method, changes, message', IDLE)
def test_what_would_change_nothing_is_refused(method, changes, message):
    with pytest.raises(ValueError, match=message):
        make_config(method, **changes)


@pytest.mark.parametrize('kind', [np.float16, np.float32, np.float64])
def test_a_number_of_numpy_names_the_run_of_its_decimal(kind):
    for text in ('1e-3', '0.1', '0.3', '2e-5'):
        assert make_config('dval', lr1=kind(text)) == make_config('dval', lr1=float(text)), text
        assert config_hash(make_config('dval', lr1=kind(text))) == config_hash(make_config('dval', lr1=float(text)))


@pytest.mark.parametrize('name', ['val_fraction', 'ema'])
def test_the_whole_of_a_share_that_leaves_nothing_is_refused(name):
    for value in (1, 1.0, np.float32(1)):
        with pytest.raises(ValueError, match=f'{name} must be below 1, got 1.0: '):
            make_config('dval', **{name: value})
    assert getattr(make_config('dval', **{name: 0.99}), name) == 0.99
    done = CliRunner().invoke(main, ['run', 'dval', f'--{name}', '1', '--show'])
    assert done.exit_code == 1 and done.output.startswith(f'Error: {name} must be below 1, got 1.0')


MISDECLARED = [
    (dict(fixes=dict(prompts='fixd', epochs2=0)), "fixes: unknown prompts 'fixd': did you mean 'fixed'"),
    (dict(fixes=dict(alpah=0.5)), "fixes: unknown field 'alpah': did you mean 'alpha'"),
    (dict(fixes=dict(alpha='1')), "fixes: parameter 'alpha' must be float, got '1'"),
    (dict(fixes=dict(epochs2=1.5)), "fixes: parameter 'epochs2' must be int"),
    (dict(fixes=None), 'fixes must be a dict of fields of `Config`, got None'),
    (dict(official=dict(score='l3')), "official: unknown score 'l3'"),
    (dict(embedded=dict(lr3=1.0)), "embedded: unknown field 'lr3'"),
    (dict(usual=dict(loss='bcee')), "usual: unknown loss 'bcee'"),
    (dict(usual_on={'voc-tl': {}}), "unknown benchmark in METHODS\\['mine'\\].usual_on: 'voc-tl': did you mean"),
    (dict(usual_on={'voc-lt': dict(lr3=1.0)}), "usual_on\\['voc-lt'\\]: unknown field 'lr3'"),
]


@pytest.mark.parametrize('wrong, message', MISDECLARED)
def test_a_misdeclared_method_is_named_with_its_field(wrong, message, monkeypatch):
    monkeypatch.setitem(METHODS, 'mine', Method(**dict(label='Mine', fixes=dict(epochs2=0), source='here') | wrong))
    for call in (make_config, abilities, method_config, lambda m, *_: check_made(Config(method=m))):
        with pytest.raises(ValueError, match=message) as e:
            call('mine', *(['icon-voc-lt'] if call is make_config else [0] if call is method_config else []))
        assert '\n' not in str(e.value) and "METHODS['mine']" in str(e.value)
    done = CliRunner().invoke(main, ['list', 'methods'])
    assert done.exit_code == 1 and done.output.startswith('Error: ') and len(done.output.splitlines()) == 1


def test_a_whole_number_in_a_method_is_the_float_that_it_is(monkeypatch):
    monkeypatch.setitem(METHODS, 'mine', Method('Mine', dict(alpha=1, epochs2=0), 'here', usual=dict(lr1=1)))
    cfg = make_config('mine', 'coco-lt')
    assert (type(cfg.alpha), cfg.alpha, type(cfg.lr1), cfg.lr1) == (float, 1.0, float, 1.0)
    assert check_made(cfg) is cfg and make_config('mine', 'coco-lt', alpha=1.0) == cfg


def test_the_local_view_is_named_where_it_is_read():
    "By the score's local view, and by the distillation of patches, which is there without it."
    assert 'local' in reads(make_config('dval', 'icon-voc-lt'))
    assert 'local' not in reads(make_config('fine-tuning', 'icon-voc-lt'))
    patches = make_config('dval', 'icon-voc-lt', alpha=1.0, kd_on='patch', local='values')
    assert {'local', 'join'} & reads(patches) == {'local'}


@pytest.mark.parametrize('local', choices('local'))
@pytest.mark.parametrize('method', ['dval', 'joint'])
def test_the_student_begins_as_its_teacher_to_the_bit(method, local, of_own_size):
    """What rounding would leave between the two, the L1 distance (eq. 2) pulls at with its full gradient, by another
    sign on another processor. So it does between prompts and their words where both learn (eq. 10)."""
    cfg = method_config(method, 0, benchmark='icon-voc-lt', kd_on='both', local=local, **OWN_SIZE)
    clip, data = load_clip(), of_own_size
    _, losses, _ = stage1_losses(build_model(cfg, clip, data.classes, 'cpu'), clip, data.train, False)
    found = losses(torch.arange(16), 0, 0)
    assert found['kd'] == 0
    assert found.get('sc', 0) == 0


def test_prompts_begin_as_their_words_to_the_bit(of_own_size):
    "So does stage 2 alone (eq. 10)."
    cfg = method_config('hp-dval', 0, benchmark='icon-voc-lt', sc_on='both', **OWN_SIZE)
    clip, data = load_clip(), of_own_size
    _, losses, _ = stage2_losses(build_model(cfg, clip, data.classes, 'cpu'), clip, data.train, False)
    assert losses(torch.arange(16), 0, 0)['sc'] == 0


def test_pixels_and_activation_are_said_in_any_form():
    def named(**changes):
        return config_hash(make_config('zero-shot', 'icon-voc-lt', **changes))

    assert named(mean=0.5) == named(mean='.5') == named(mean=(0.5, 0.5, 0.5)) != named()
    assert named(quick_gelu=True) == named(quick_gelu='yes') != named()
    assert len({named(), named(std='.3'), named(quick_gelu='no'), named(image_size=96)}) == 4
    for wrong in (dict(mean='2'), dict(std=0.0), dict(quick_gelu='maybe'), dict(image_size=-8), dict(resize='crop')):
        with pytest.raises(ValueError):
            make_config('zero-shot', 'memory', **wrong)


def test_square_pictures_are_made_square_in_one_way():
    for changes in (dict(transform='squash'), dict(transform='pad'), dict(resize='squash')):
        with pytest.raises(ValueError, match='has no effect'):
            make_config('zero-shot', 'icon-voc-lt', **changes)
        assert config_hash(make_config('zero-shot', 'memory', **changes)) != config_hash(
            make_config('zero-shot', 'memory')
        )
    with pytest.raises(ValueError, match='resize has no effect'):
        make_config('zero-shot', 'memory', transform='pad', resize='squash')
    with pytest.raises(ValueError, match='mean has no effect'):
        make_config('zero-shot', 'memory', transform='official', mean=0.4)


def test_another_image_size_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    cfg = make_config('zero-shot', 'icon-voc-lt', image_size=96, device='cpu')
    assert load_benchmark(cfg, progress=False).test.images.shape[-1] == 96


def test_official_has_the_numbers_of_the_authors_code():
    "Epochs trained, rates, the first epoch that may be reported, and the score (docs/paper_and_code.md)."
    of = {m: make_config(m, 'coco-lt', 'official') for m in METHODS}
    for m in ('dval', 'joint', 'fine-tuning'):
        assert (of[m].epochs1, of[m].lr1) == (79, 1e-5)
    for m in ('hp-dval', 'coop', 'cocoop', 'lmpt', 'linear-probe'):
        assert (of[m].epochs2, of[m].lr2, of[m].earliest2) == (49, 1e-5, 1)
    assert [of[m].earliest1 for m in ('dval', 'joint', 'fine-tuning')] == [11, 11, 1]
    assert {m for m in METHODS if of[m].score == 'l2'} == {
        'zero-shot-dual',
        'dval',
        'dval-lora',
        'hp-dval',
        'joint',
        'linear-probe',
    }
    assert all(c.schedule_epochs == 80 and c.select == 'test' for c in of.values())
