"""Every command that README.md and docs/ show is run here, small, or is named with the test that runs it.

Blocks of `bash` are cut at line ends and at `&&`; commands in the text count too. A notebook's command is checked up to
its parameters: the notebook itself is run by `nbdev_test` and by test_notebooks.py.
"""

import json, re, runpy, shlex, shutil
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from click.testing import CliRunner
from PIL import Image

import hpdval
from hpdval import command
from hpdval.clip import load_clip
from hpdval.config import make_config
from hpdval.core import write_json
from hpdval.experiment import EXAMPLE, run
from hpdval.video import write_film
from test_parallel import images

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
TOOLS = 'git|papermill|hpdval|snakemake|accelerate|python3?|conda|pip|nbdev_test'
# commands that another test runs: what they begin with, and a file that has a text
ELSEWHERE = {
    'git clone https://github.com/hpdval/hpdval': ('settings.ini', 'git_url = https://github.com/hpdval/hpdval'),
    'python3 -m venv .venv': ('.ci/run', 'python3 -m venv'),
    '. .venv/bin/activate': ('.ci/run', '/bin/activate"'),
    "pip install -e '.[dev]'": ('.ci/run', 'pip install -qq -e ".[dev]"'),
    "pip install -e '.[notebooks]'": ('tests/test_repo.py', 'def test_the_extras_hold_what_the_commands_need'),
    'nbdev_test': ('.ci/run', 'nbdev_test --timing'),
    'conda env create': ('tests/test_repo.py', 'def test_environment_yml_installs_everything'),
    'conda activate': ('tests/test_repo.py', 'def test_environment_yml_installs_everything'),
    'snakemake --cores 2': ('tests/test_workflow.py', "options = ['--cores', '2', '--nolock'"),
    'snakemake --executor slurm': ('tests/test_workflow.py', 'def test_every_page_of_the_paper_is_planned'),
    "pip install -e '.[x]'": ('tests/test_repo.py', 'def test_the_extras_hold_what_the_commands_need'),
    "pip install -e '.[siglip]'": ('tests/test_repo.py', 'def test_the_extras_hold_what_the_commands_need'),
    'python scripts/transforms.py': ('tests/test_docs.py', 'def test_the_script_of_transforms'),
    'python scripts/all_runs.py': ('tests/test_workflow.py', 'def test_all_runs_in_a_pool'),
    'python scripts/replicate.py': ('tests/test_docs.py', 'def test_published_lines_are_compared'),
    'python scripts/scale.py': ('tests/test_docs.py', 'def test_the_script_of_scale'),
    'python scripts/projection.py': ('tests/test_docs.py', 'def test_the_script_of_projection'),
    'python scripts/main_job.py': ('tests/test_docs.py', 'def test_the_script_of_the_main_job'),
    'python scripts/own_data.py': ('tests/test_docs.py', 'def test_pictures_as_own_data_score_as_the_world'),
    'python scripts/many_classes.py': ('tests/test_docs.py', 'def test_the_script_of_many_classes'),
    'python scripts/precision.py': ('tests/test_docs.py', 'def test_the_script_of_precision'),
    'python scripts/example.py': ('tests/test_export.py', 'def test_the_script_finds_the_same'),
    'hpdval fetch': ('tests/test_fetch.py', "main, ['fetch', 'coco-lt'"),
    'accelerate launch': ('tests/test_parallel.py', 'def test_two_processes_give_what_one_gives'),
}
# blocks of Python that another test runs
BLOCKS_ELSEWHERE = {'docs/extend.md': ('tests/test_extend.py', 'exec(compile(code')}
SMALL = dict(benchmark='own', epochs1=1, epochs2=1, batch_size=16, val_fraction=0.2, device='cpu')


def blocks(page, language):
    return re.findall(rf'^```{language}\n(.+?)^```', page.read_text(encoding='utf-8'), re.M | re.S)


def commands(page):
    "What a page asks its reader to type, one command each."
    text = page.read_text(encoding='utf-8')
    lines = [line for block in blocks(page, 'bash') for line in block.splitlines()]
    prose = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)
    lines += re.findall(rf'`((?:{TOOLS}) [^`\n]+)`', prose)
    # the README's table of data names parameters alone
    lines += [f'papermill nbs/run_coco_lt.ipynb out.ipynb {words}' for words in re.findall(r'`(-p [^`\n]+)`', prose)]
    return [c.partition(' #')[0].strip() for line in lines for c in line.split(' && ')]


FIRST_SHOWN = {}  # command -> the first page that shows it: what two pages show is run once
for page in PAGES:
    for c in commands(page):
        FIRST_SHOWN.setdefault(c, page)
SHOWN = [(page, c) for c, page in FIRST_SHOWN.items()]


def elsewhere(c):
    return next((where for start, where in ELSEWHERE.items() if c.startswith(start)), None)


def of_tool(tool):
    found = [pytest.param(c, id=f'{p.name}: {c[:60]}') for p, c in SHOWN if c.split()[0] == tool]
    assert found, f'no page shows {tool}'
    return found


def test_every_command_is_run_somewhere():
    ours = ('papermill ', 'hpdval ')
    assert not [c for _, c in SHOWN if not c.startswith(ours) and not elsewhere(c)]
    for file, text in [*ELSEWHERE.values(), *BLOCKS_ELSEWHERE.values()]:
        assert text in (ROOT / file).read_text(encoding='utf-8'), f'{file} has no {text!r}'
    assert not [e for e in ELSEWHERE if not any(c.startswith(e) for _, c in SHOWN)]  # the list is not too long


def replicate(monkeypatch, *words):
    monkeypatch.setattr('sys.argv', ['scripts/replicate.py', *words])
    runpy.run_path(str(ROOT / 'scripts/replicate.py'), run_name='__main__')


def test_published_lines_are_compared_with_what_was_measured_here(tmp_path, monkeypatch, capsys):
    "A run by `hpdval run`; what was learned nowhere is the same on every processor."
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path / 'runs'))
    with pytest.raises(SystemExit, match='^no run of a published line is in .*runs: python scripts/all_runs.py'):
        replicate(monkeypatch)
    done = run(make_config('zero-shot', 'icon-voc-lt'), progress=False)
    replicate(monkeypatch, '--out', str(tmp_path / 'out'))
    assert '1 run: 0.00 points apart in the middle, 0.00 at most' in capsys.readouterr().out
    table = pd.read_csv(tmp_path / 'out/replication.csv')
    assert [*table.row] == ['Zero-shot CLIP'] and table.here[0] == pytest.approx(done.mAP['total'], abs=1e-3)
    assert f'on {done.environment["device"]}, code {done.environment["package"]}' in (
        (tmp_path / 'out/replication.md').read_text()
    )
    (Path(done.folder) / 'result.json').write_text('{}')
    with pytest.raises(SystemExit):
        replicate(monkeypatch)
    assert 'error: ' in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('c', of_tool('papermill'))
def test_a_notebook_takes_the_parameters_of_the_command(c):
    "The cell of parameters, what the command gives, and the cell that reads them; papermill gives them as YAML."
    _, notebook, out, *words = shlex.split(c)
    assert out == 'out.ipynb' and words[::3] == ['-p'] * (len(words) // 3)
    given = dict(zip(words[1::3], words[2::3]))
    cells = json.loads((ROOT / notebook).read_text(encoding='utf-8'))['cells']
    at = next(i for i, cell in enumerate(cells) if 'parameters' in cell['metadata'].get('tags', []))
    names = {}
    exec(''.join(cells[at]['source']), names)
    reads = next(s for cell in cells[at + 1 :] if 'notebook_parameters(' in (s := ''.join(cell['source'])))
    exec(reads, names | given)
    with pytest.raises(ValueError, match='unknown parameter of this notebook'):
        exec(reads, names | given | {'alhpa': 1})


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    "A small data set of one's own, a photograph, a folder with one, and no runs yet."
    folder = tmp_path_factory.mktemp('docs')
    images(folder, np.random.default_rng(0))
    Image.open(folder / 'test0.png').save(folder / 'photo.jpg')
    (folder / 'photos').mkdir()
    shutil.copytree(EXAMPLE, folder / 'hpdval/example')  # as in a clone
    Image.open(folder / 'test0.png').save(folder / 'photos/1.jpg')
    write_film(folder / 'film.mp4', [np.asarray(Image.open(folder / 'test0.png').convert('RGB').resize((64, 64)))] * 5)
    with pytest.MonkeyPatch.context() as m:
        m.setenv('HPDVAL_RUNS', str(folder / 'runs'))
        m.setenv('HPDVAL_CACHE', str(folder / 'cache'))
        m.chdir(folder)
        summary, _ = hpdval.compare(['zero-shot'], progress=False, lists='.', image_root='.', **SMALL)
        write_json(folder / 'runs/run_coco_lt/result.json', summary)
        yield dict(lists=str(folder), image_root=str(folder)) | SMALL


@pytest.mark.parametrize('c', [p for p in of_tool('hpdval') if not elsewhere(p.values[0])])
def test_a_command_of_the_package(c, small):
    words = shlex.split(c, comments=True)[1:]
    if words[0] in ('run', 'compare'):
        words += [f'--{name}={value}' for name, value in small.items()]
    if 'model' in words and words[0] != 'export' and not Path('model').exists():  # a page exports it first
        assert CliRunner().invoke(command.main, ['export', 'example', 'model']).exit_code == 0
    done = CliRunner().invoke(command.main, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip()


@pytest.mark.parametrize('plain', [False, True])
def test_the_script_of_many_classes(plain, monkeypatch, capsys):
    words = 'scripts/many_classes.py --clip mini --classes 80 --batch 4 --steps 1'.split() + ['--plain'] * plain
    monkeypatch.setattr('sys.argv', words)
    monkeypatch.setattr('hpdval.core.HELD', hpdval.core.HELD)
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
    runpy.run_path(str(ROOT / words[0]), run_name='__main__')
    said = capsys.readouterr().out
    assert said.startswith('mini, 80 classes, batch 4, fp32, ' + ('plain' if plain else 'in chunks'))
    peak, before = map(float, re.findall(r'([\d.]+) GB', said))
    assert 0.1 < before <= peak < 4


def test_the_script_of_precision(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv('HPDVAL_RUNS', str(tmp_path))
    words = 'scripts/precision.py --worlds icon-voc-lt --methods zero-shot-dual --seeds 0,1 --device cpu'.split()
    monkeypatch.setattr('sys.argv', words)
    runpy.run_path(str(ROOT / words[0]), run_name='__main__')
    *_, fp32, bf16, difference, _ = capsys.readouterr().out.splitlines()[-1].split('|')
    assert 57 < float(fp32) < 58 and fp32 != bf16
    assert abs(float(difference.split()[0])) < 0.2


def test_the_script_of_scale(monkeypatch, capsys):
    for words, columns in (('--images 40 --classes 3', 6), ('--decode 8 --rounds 1', 4)):
        monkeypatch.setattr('sys.argv', ['scripts/scale.py', *words.split()])
        runpy.run_path(str(ROOT / 'scripts/scale.py'), run_name='__main__')
        title, line, row = capsys.readouterr().out.splitlines()
        assert title.count('|') == row.count('|') == columns + 1
        numbers = [float(cell) for cell in row.strip('|').split('|') if cell.strip() != 'new']
        assert len(numbers) > 3 and min(numbers) > 0
        if columns == 6:
            after_import, peak = numbers[2:4]
            assert after_import < peak < after_import + 2000


def test_the_script_of_scale_reads_a_film(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', 'scripts/scale.py --film 20 --rounds 1 --width 128'.split())
    runpy.run_path(str(ROOT / 'scripts/scale.py'), run_name='__main__')
    title, line, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith('| 20 frames |') and len(rows) == 4
    assert rows[0].split('|')[3:6] == [' 1.00 '] * 3


def test_a_rehearsal_counts_what_it_leaves_out(monkeypatch, capsys):
    words = 'scripts/scale.py --images 600 --test 150 --classes 3 --size 32 --batch 64 --steps 1'
    monkeypatch.setattr('sys.argv', words.split())
    runpy.run_path(str(ROOT / 'scripts/scale.py'), run_name='__main__')
    *_, forward, step1, step2, views, rest, whole = capsys.readouterr().out.splitlines()
    rows = [[float(c.replace(',', '')) for c in line.strip('|').split('|')[1:]] for line in (forward, step1, step2)]
    assert all(one > 0 for one, _, _ in rows)
    # 540 to train and 60 held out: 9 batches of 64; 20 and 10 epochs
    assert [times for _, times, _ in rows] == [540 + 21 * 60 + 11 * 540 + 60 + 2 * (150 + 60), 180, 90]


def test_the_script_of_projection(monkeypatch, capsys):
    "Its tables are those of docs/scale.md; a hundred times the images take a hundred times as long."
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
    found = runpy.run_path(str(ROOT / 'scripts/projection.py'), run_name='__main__')
    assert capsys.readouterr().out.strip() in (ROOT / 'docs/scale.md').read_text(encoding='utf-8')
    one, many = (sum(found['hours'](n, 8).values()) for n in (10**6, 10**8))
    assert abs(many / one - 100) < 1e-6
    assert sum(found['hours'](10**6, 64).values()) < one < sum(found['hours'](10**6, 1).values())


def test_passes_are_counted_and_timed_bare():
    "An image pass without gradients, one with, a text pass: what scripts/main_job.py counts, and what it adds up."
    found = runpy.run_path(str(ROOT / 'scripts/main_job.py'), run_name='main_job')
    clip = load_clip('mini')
    tally = found['counted'](clip)
    try:
        clip.visual.requires_grad_(True)
        x = torch.randn(2, 3, 64, 64)
        clip.visual(x)
        with torch.no_grad():
            clip.visual(x)
            clip.visual(x)
            clip.text(clip.ids(['a dog', 'a cat']))
    finally:
        torch.nn.modules.module._global_forward_pre_hooks.clear()
    shapes = {(kind, shape[0], learns): times for (kind, shape, learns), times in tally.items()}
    assert shapes == {('image', 2, True): 1, ('image', 2, False): 2, ('text', 2, False): 1}
    took = found['floors'](tally, clip, 'fp32')
    assert len(took['kinds']) == 3 and took['floor_processor'] > 0
    assert abs(took['floor_wall'] - sum(times * wall for *_, times, wall, _ in took['kinds'])) < 1e-9


@pytest.mark.thorough
def test_the_script_of_the_main_job(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', 'scripts/main_job.py --small --benchmark icon-voc-lt --before HEAD'.split())
    runpy.run_path(str(ROOT / 'scripts/main_job.py'), run_name='__main__')
    said = capsys.readouterr().out
    rows = {line.split('|')[1].strip(): line.split('|')[2:] for line in said.splitlines() if line.startswith('|')}
    assert float(rows['the same from the memo'][0]) < float(rows['run, after import'][0])
    assert rows['HEAD'][2] == rows['now'][2]  # mAP


PYTHON = [(p, b) for p in PAGES if str(p.relative_to(ROOT)) not in BLOCKS_ELSEWHERE for b in blocks(p, 'python')]


@pytest.mark.parametrize('page, code', PYTHON, ids=lambda v: getattr(v, 'name', ''))
def test_a_block_of_python(page, code, small, capsys):
    whole = "make_config('hp-dval', seed=0)"
    assert whole in code
    exec(compile(code.replace(whole, whole[:-1] + ', **SMALL)'), str(page), 'exec'), dict(SMALL=small))
    printed = capsys.readouterr().out
    assert "'total'" in printed and 'probability' in printed
