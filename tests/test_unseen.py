"""Classes that were never trained on: what base classes hold, what a run answers for others, the published splits."""

import re

import numpy as np, pandas as pd, pytest, torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image

from hpdval import core
from hpdval.command import main
from hpdval.config import make_config
from hpdval.data import Split
from hpdval.experiment import config_clip, load_benchmark, load_model, run
from hpdval.icons import ICON_BENCHMARKS, SYNONYMS
from hpdval.labels import CLASS_SPLITS, COCO_CLASSES, VOC_CLASSES, ClassSplit, readable
from hpdval.metrics import average_precision
from hpdval.paper import TABLES, job_words, jobs, table_benchmarks
from hpdval.sources import HELD_OUT, SOURCES, Data, load_open, open_world, pictures_in
from hpdval.unseen import f1_at, gains, in_parts, open_measures, open_scores, rank_correlation

EMBEDDED = [name for name, (benchmark, _) in HELD_OUT.items() if benchmark in ICON_BENCHMARKS]


def words_of(name):
    "Every way in which a caption of the embedded worlds names a class."
    return SYNONYMS.get(name, [readable(name)])


@pytest.mark.parametrize('name', EMBEDDED)
def test_training_knows_nothing_of_novel_classes(name):
    world = load_open(make_config('zero-shot', name), 64, progress=False)
    whole = load_benchmark(make_config('zero-shot', HELD_OUT[name][0]), progress=False)
    of = {n: whole.train.targets[:, whole.classes.index(n)].bool() for n in whole.classes}
    rows = torch.stack([of[n] for n in world.base]).any(0)
    train = world.data.train
    assert train.classes == world.base and not {*world.base} & {*world.novel}
    assert torch.equal(train.images, whole.train.images[rows])
    assert torch.equal(train.targets, torch.stack([of[n][rows] for n in world.base], 1).to(torch.uint8))
    assert world.unlabelled == int(torch.stack([of[n][rows] for n in world.novel]).any(0).sum()) > 0
    assert world.data.scenes is None and torch.equal(world.test.images, whole.test.images)
    for k, n in enumerate((*world.base, *world.novel)):
        assert torch.equal(world.test.targets[:, k], whole.test.targets[:, whole.classes.index(n)])


@pytest.mark.parametrize('name', EMBEDDED)
def test_a_caption_names_base_classes_that_are_there_and_no_other(name):
    train = load_open(make_config('zero-shot', name), 64, progress=False).data.train
    every = {w: n for n in ICON_BENCHMARKS[HELD_OUT[name][0]].classes for w in words_of(n)}
    for caption, targets in zip(train.captions, train.targets):
        there = {n for n, y in zip(train.classes, targets) if y}
        text, found = caption, set()
        for w in sorted(every, key=len, reverse=True):  # 'hot dog' before 'dog'
            if re.search(rf'\b{w}\b', text):
                text = re.sub(rf'\b{w}\b', '', text)
                found.add(every[w])
        assert found and found <= there, (caption, there)


def test_the_same_pixels_with_another_split_have_another_name():
    digests = [load_open(make_config('zero-shot', n), 64, progress=False).data.digest for n in EMBEDDED]
    assert len({d.split()[1] for d in digests}) == len(EMBEDDED)
    again = load_benchmark(make_config('zero-shot', 'icon-voc-half'), progress=False).digest
    assert again == digests[EMBEDDED.index('icon-voc-half')]


def test_how_many_images_hold_unlabelled_novel_objects_is_said(capsys):
    core._print_once.cache_clear()
    data = load_benchmark(make_config('zero-shot', 'icon-voc-half'), progress=False)
    said = [line for line in capsys.readouterr().err.splitlines() if 'without a label' in line]
    n = load_open(make_config('zero-shot', 'icon-voc-half'), 64, progress=False).unlabelled
    assert said == [
        f'icon-voc-half: 10 base classes; {n} of {len(data.train.images)} training images also show some of 10 novel '
        'classes, without a label'
    ]


def tables(folder, classes, val=False):
    "Grey pictures, a class each, as tables of one's own."
    for split in ('train', 'test', *(['val'] if val else [])):
        rows = []
        for i, name in enumerate(classes):
            shade = (i * 7 + len(split)) % 250
            Image.new('RGB', (8, 8), (shade, i * 3 % 250, len(split) * 20)).save(folder / f'{split}{i}.png')
            other = classes[(i + 1) % len(classes)]
            rows.append(dict(path=f'{split}{i}.png', labels=f'{name};{other}'))
        pd.DataFrame(rows).to_csv(folder / f'{split}.csv', index=False)
    return dict(lists=str(folder), image_root=str(folder))


def test_halves_of_data_of_ones_own(tmp_path):
    where = tables(tmp_path, ['d', 'b', 'a', 'c', 'e'], val=True)
    cfg = make_config('zero-shot', 'own-half', **where)
    data, world = load_benchmark(cfg, 64, progress=False), load_open(cfg, 64, progress=False)
    assert data.classes == ('a', 'b', 'c') == world.base and world.novel == ('d', 'e')
    assert (
        data.train.paths
        == ['train0.png', 'train1.png', 'train2.png', 'train3.png']
        == [p.replace('val', 'train') for p in data.val.paths]
    )
    assert len(data.test.paths) == 5 and data.train.targets.sum(1).tolist() == [1, 2, 2, 1]
    assert world.unlabelled == 2


def test_the_published_split_of_coco_is_for_cocos_classes(tmp_path):
    cfg = make_config('zero-shot', 'own-48-17', **tables(tmp_path, ['dog', 'cat']))
    with pytest.raises(
        ValueError, match="the split 48-17 is one of COCO's classes, and 'person' is not among these 2"
    ) as e:
        load_benchmark(cfg, 64, progress=False)
    assert '\n' not in str(e.value)
    (tmp_path / 'coco').mkdir()
    cfg = make_config('zero-shot', 'own-48-17', **tables(tmp_path / 'coco', COCO_CLASSES))
    data = load_benchmark(cfg, 64, progress=False)
    base = CLASS_SPLITS['48-17'](COCO_CLASSES).base
    assert list(data.classes) == sorted(base) and len(base) == 48


def test_captions_of_ones_own_are_not_kept_for_they_may_name_novel_classes():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    split = Split(images, torch.eye(2, dtype=torch.uint8), ('cat', 'dog'), ['a', 'b'], ['a cat', 'a dog'])
    assert open_world(Data(split, split, 'x'), ClassSplit(('cat',), ('dog',)), 'y').data.train.captions is None


@pytest.fixture(scope='module')
def coop(tmp_path_factory):
    "CoOp on the base classes of VOC, a few steps."
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(tmp_path_factory.mktemp('runs')))
        more = dict(epochs2=1, lr2=0.01, ema=0.0, batch_size=256, device='cpu')
        yield run(make_config('coop', 'icon-voc-half', **more), progress=False)


def test_a_run_answers_for_novel_classes_with_its_learned_context(coop):
    cfg = coop.made_by
    clip, world = config_clip(cfg), load_open(cfg, 64, progress=False)
    scores = open_scores(coop, world, clip)
    model = load_model(coop, clip)
    with torch.no_grad():
        text = F.normalize(model.prompts.for_classes(world.novel).texts(model.text, None)[0], dim=-1)
        g = F.normalize(model.visual(clip_pixels(clip, world.test.images[:20]))[0], dim=-1)
    np.testing.assert_allclose(scores['novel'][:20], g @ text.T, atol=1e-5)
    np.testing.assert_allclose(scores['base'], coop.scores, atol=1e-5)
    np.testing.assert_array_equal(np.hstack([scores['base'], scores['novel']]), scores['all'])
    fixed = F.normalize(clip.text(clip.tokenizer([f'a photo of a {n}.' for n in world.novel])), dim=-1)
    assert (text - fixed).abs().max() > 0.01  # it has learned


def clip_pixels(clip, images):
    mean, std = (torch.tensor(v)[:, None, None] for v in (clip.mean, clip.std))
    return (images.float() / 255 - mean) / std


def test_measures_are_kept_and_those_of_the_scores(coop):
    told = open_measures(coop)
    world = load_open(coop.made_by, 64, progress=False)
    ap = 100 * average_precision(open_scores(coop, world, config_clip(coop.made_by))['all'], world.test.targets)
    by_name = told[told.kind != 'measure'].set_index('name').value
    np.testing.assert_allclose(by_name[[*world.base, *world.novel]], ap, atol=1e-6)
    measures = told[told.kind == 'measure'].set_index('name').value
    base, novel = ap[:10].mean(), ap[10:].mean()
    assert measures['mAP base'] == pytest.approx(base) == pytest.approx(coop.mAP['total'])
    assert measures['mAP H'] == pytest.approx(2 / (1 / base + 1 / novel))
    assert measures['mAP all'] == pytest.approx(ap.mean())
    assert open_measures(coop).equals(told)


def slow_f1(scores, targets, k):
    "Image by image, as the definition has it."
    right = given = there = 0
    for s, y in zip(scores, targets):
        if not y.any():
            continue
        best = sorted(range(len(s)), key=lambda c: -s[c])[:k]
        right, given, there = right + sum(bool(y[c]) for c in best), given + k, there + int(y.sum())
    p, r = right / given, right / there
    return 100 * 2 * p * r / (p + r)


@pytest.mark.parametrize('k', [1, 3, 5])
def test_f1_of_the_best_labels_is_that_of_the_loop(k):
    rng = np.random.default_rng(k)
    s, y = rng.normal(size=(60, 9)), rng.random((60, 9)) < 0.15
    assert f1_at(s, y, k) == pytest.approx(slow_f1(s, y, k))
    assert f1_at(torch.from_numpy(s), torch.from_numpy(y), k) == f1_at(s, y, k)


def test_classes_compete_in_f1_and_not_in_map():
    "Novel scores that are all lower by a constant: mAP is as before, F1 of both parts at once is not."
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=(300, 8)), rng.random((300, 8)) < 0.3
    s = s + 1.5 * y
    y[:, 0] |= ~y.any(1)

    def measured(scores):
        return in_parts(dict(base=scores[:, :4], novel=scores[:, 4:], all=scores), y, 4)[0]

    before, after = measured(s), measured(s - 5 * (np.arange(8) >= 4))
    for name in ('mAP base', 'mAP novel', 'mAP all', 'F1@3 base', 'F1@3 novel'):
        assert after[name] == pytest.approx(before[name])
    assert after['F1@3 all'] < before['F1@3 all'] - 5


def test_gains_need_the_same_seeds():
    table = pd.DataFrame(dict(name=['cat', 'dog'], kind=['novel', 'novel'], value=[1.0, 2.0]))
    with pytest.raises(ValueError, match='pairs of seeds, got 2 and 1 tables'):
        gains([table, table], [table], 'novel')
    with pytest.raises(ValueError, match='got 0 and 0 tables'):
        gains([], [], 'novel')
    with pytest.raises(ValueError, match="unknown kind of classes 'nvel': did you mean 'novel'"):
        gains([table], [table], 'nvel')
    g = gains([table], [table], 'novel')
    assert g['gain'] == 0 and np.isnan(g['seeds']).all()


def test_a_constant_row_has_no_rank_correlation():
    assert np.isnan(rank_correlation([1, 2, 3], [5, 5, 5])).all()


def test_the_workflow_measures_what_can_name_other_classes():
    assert table_benchmarks('open') == ('icon-coco-half', 'icon-voc-half')
    assert {'Zero-shot CLIP', 'CoOp', 'HP-DVAL'} <= TABLES['open'].keys() and 'Linear probe' not in TABLES['open']
    found = jobs([0], ['open'], ['icon-voc-half'])
    assert len(found) >= len(TABLES['open']) - 1
    assert all(j.words[j.words.index('--benchmark') + 1] == 'icon-voc-half' for j in found.values())
    assert all(name in SOURCES for name in table_benchmarks('open'))
    assert job_words(make_config('coop', 'icon-voc-half'))[:3] == ['coop', '--benchmark', 'icon-voc-half']


def test_a_folder_is_searched_from_the_shell(coop, tmp_path):
    test = load_open(coop.made_by, 64, progress=False).test
    (tmp_path / 'photos/more').mkdir(parents=True)
    for i in range(4):
        Image.fromarray(test.images[i].permute(1, 2, 0).numpy()).save(tmp_path / f'photos/{"more/" * (i % 2)}{i}.png')
    (tmp_path / 'photos/bad.png').write_bytes(b'\x89PNG\r\n\x1a\nno more')
    (tmp_path / 'photos/notes.txt').write_text('nothing')
    words = ['predict', coop.folder, str(tmp_path / 'photos'), '--classes', 'sofa=couch,dog', '--device', 'cpu']
    done = CliRunner().invoke(main, [*words, '--join', 'mean', '--sheet', str(tmp_path / 'sheet.png')])
    assert done.exit_code == 0, done.output
    assert (
        'left out: ' in done.output
        and 'bad.png' in done.output
        and '1 file left out, not read as pictures' in done.output
    )
    assert len(re.findall(r'\b(sofa|dog)\b', done.stdout)) == 8
    assert min(Image.open(tmp_path / 'sheet.png').size) > 100
    for more, said in (
        (['--sheet', str(tmp_path / 'sheet.jpg')], 'give the name of a PNG'),
        (['--template', 'an icon of a {}.'], "templates have no effect on a run of 'coop'"),
        (['--join', 'sum'], "unknown way to join names 'sum'"),
    ):
        done = CliRunner().invoke(main, [*words, *more])
        assert done.exit_code == 1 and said in done.output and 'Traceback' not in done.output


def test_pictures_below_a_folder(tmp_path):
    for name in ('b.jpg', 'a.PNG', 'deep/er/c.webp', '.hidden.png', 'plain'):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(file, 'PNG')
    (tmp_path / 'x.heic').write_bytes(b'\0\0\0\x18ftypheic')
    found = [p.relative_to(tmp_path).as_posix() for p in pictures_in(str(tmp_path))]
    assert found == sorted(['a.PNG', 'b.jpg', 'deep/er/c.webp', 'plain'])


def test_every_class_has_a_part_or_is_in_none():
    for split, names in (('half', VOC_CLASSES), ('half', COCO_CLASSES), ('48-17', COCO_CLASSES)):
        base, novel = CLASS_SPLITS[split](names)
        assert not {*base} & {*novel} and {*base, *novel} <= {*names}
        assert split != 'half' or len(base) + len(novel) == len(names)


def test_a_run_that_is_judged_by_softmax_compares_names(tmp_path, monkeypatch):
    "LM-CLIP trains with cosines and is judged by a softmax: its base classes are those that the run measured."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    result = run(make_config('zero-shot', 'icon-voc-half', scoring='softmax'), progress=False)
    found = open_measures(result).set_index('name').value
    assert found['mAP base'] == pytest.approx(result.mAP['total'], abs=1e-3)


def test_novel_labels_that_were_changed_are_measured_anew(tmp_path, monkeypatch):
    "A run on base classes does not know the novel labels of its test images, and what is kept beside it does."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    (tmp_path / 'lists').mkdir()
    more = tables(tmp_path / 'lists', VOC_CLASSES)
    result = run(make_config('zero-shot', 'own-half', device='cpu', **more), progress=False)
    before = open_measures(result)
    file = tmp_path / 'lists/test.csv'
    rows = [line.split(',') for line in file.read_text().splitlines()]
    novel = CLASS_SPLITS['half'](VOC_CLASSES).novel
    turned = dict(zip(novel, [*novel[1:], novel[0]]))
    file.write_text(
        '\n'.join(','.join(';'.join(turned.get(n, n) for n in cell.split(';')) for cell in r) for r in rows)
    )
    again = run(make_config('zero-shot', 'own-half', device='cpu', **more), progress=False)
    assert again.hash == result.hash
    after = open_measures(again)
    assert before[before.kind == 'base'].equals(after[after.kind == 'base'])
    assert not before[before.kind == 'novel'].equals(after[after.kind == 'novel'])


def test_base_classes_of_a_graph_are_scored_without_the_novel_ones(tmp_path, monkeypatch):
    "Label-graph prompts read a graph of all names that are asked for."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    more = dict(epochs2=1, ema=0.0, lr2=0.1, batch_size=64, class_ctx=False, select='last', device='cpu')
    result = run(make_config('label-graph', 'icon-voc-half', **more), progress=False)
    world = load_open(result.made_by, 64, progress=False)
    scores = open_scores(result, world, config_clip(result.made_by))
    np.testing.assert_allclose(scores['base'], result.scores, atol=1e-4)
    assert np.abs(scores['all'][:, : len(world.base)] - scores['base']).max() > 1e-3


def test_gains_are_of_the_same_classes():
    one, other = (pd.DataFrame(dict(name=names, kind='novel', value=[1.0, 2.0])) for names in (['a', 'b'], ['a', 'c']))
    with pytest.raises(ValueError, match='other novel classes'):
        gains([one], [other], 'novel')


def test_the_page_of_open_vocabulary_wants_a_method_to_compare(notebook, tmp_path, monkeypatch):
    "Before anything is trained or written."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    with pytest.raises(ValueError, match='every method is compared with Zero-shot CLIP, and no other is left'):
        notebook('open_vocabulary', rows='Zero-shot CLIP', smoke=True, seeds='0')
    assert not list(tmp_path.glob('runs/*/result.json'))


def test_measures_of_lists_are_those_of_arrays():
    rng = np.random.default_rng(0)
    every, y = rng.random((30, 6)), (rng.random((30, 6)) < 0.4).astype(int)
    scores = dict(base=every[:, :4], novel=every[:, 4:], all=every)
    as_lists = {part: s.tolist() for part, s in scores.items()}
    assert in_parts(as_lists, y.tolist(), 4)[0] == pytest.approx(in_parts(scores, y, 4)[0], nan_ok=True)
