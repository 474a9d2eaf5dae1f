"What is held against a folder of facts, where there is one: the published few-shot lists, and the paper's numbers."

import numpy as np, pandas as pd, pytest

from hpdval.fewshot import Fewshot, voc_tables
from hpdval.labels import COCO_CLASSES, COCO_NOVEL, VOC_CLASSES, VOC_NOVEL
from hpdval.lists import read_coco_episodes, read_voc_episodes
from hpdval.paper import quoted


@pytest.fixture
def lists(bench):
    return bench / 'lists'


def check_supports(episodes, shots, classes):
    "Ten supports, each with its classes in their order, and enough of each; no image twice in one."
    assert len(episodes) == 10
    for e in episodes:
        assert e.classes == tuple(classes)
        assert len(set(e.images)) == len(e.images)
        assert np.min(e.targets.sum(0)) >= shots


def test_the_tables_of_voc_are_the_published_ones(lists):
    tables = voc_tables(Fewshot('voc-fsl', shots=0), lists / 'voc_fsl')
    paths, targets, base = tables.base
    test, _, novel = tables.test
    assert base == [c for c in VOC_CLASSES if c not in VOC_NOVEL]
    assert novel == VOC_NOVEL
    assert (targets.shape, len(test)) == ((3575, 14), 926)
    assert len(paths) == 3575


@pytest.mark.parametrize('shots', [1, 5])
def test_the_supports_of_voc_are_the_published_ones(lists, shots):
    tables = voc_tables(Fewshot('voc-fsl', shots=0), lists / 'voc_fsl')
    elsewhere = {*tables.base[0], *tables.test[0]}
    episodes = read_voc_episodes(lists / 'voc_fsl', shots)
    check_supports(episodes, shots, VOC_NOVEL)
    assert not any(set(e.images) & elsewhere for e in episodes)


@pytest.mark.parametrize('shots', [1, 5])
def test_the_supports_of_coco_are_the_published_ones(lists, shots):
    episodes = read_coco_episodes(lists / 'coco_fsl_episodes_laso.json', shots)
    check_supports(episodes, shots, [COCO_CLASSES[c] for c in COCO_NOVEL])


def test_the_papers_numbers_are_those_of_another_copy(bench):
    other = pd.read_csv(bench / 'paper/results.csv')
    assert len(other) > 100
    for (source, dataset, metric), part in other.groupby(['source', 'dataset', 'metric']):
        assert quoted(source, dataset)[metric].tolist() == part.value.tolist()
