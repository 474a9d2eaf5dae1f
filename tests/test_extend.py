"Every block of docs/extend.md is run as it stands, small; what it registers is found everywhere without another edit."

import re
from pathlib import Path

import numpy as np, pytest

from hpdval import config, losses, prompts, report, sources
from hpdval.config import make_config
from hpdval.experiment import Result, load_benchmark

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
