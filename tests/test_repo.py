"What must hold for the repository as a whole."

import ast, importlib, json, re, runpy, subprocess, sys
from pathlib import Path

import pytest, yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / 'nbs').glob('*.ipynb'))
DEFAULT_EXP = re.compile(r'#\| default_exp (\w+)')
# in their order
MODULES = {m[1]: p for p in NOTEBOOKS if (m := DEFAULT_EXP.search(p.read_text(encoding='utf-8')))}
PARAMETERS = 'image_root lists clip pretrained mode seeds epochs1 epochs2 batch_size device precision out smoke'.split()
# nbdev 3 has neither settings.ini nor nbdev_test, and nbdev 2 works with these versions of its parts only
PINS = '''
nbdev==2.4.14 execnb==0.1.18 fastcore==1.14.5 ghapi==1.1.1 fastgit==0.1.4
open_clip_torch==3.3.0 papermill==2.7.0
'''.split()

each_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
each_run = pytest.mark.parametrize('path', [p for p in NOTEBOOKS if p.stem.startswith('run_')], ids=lambda p: p.stem)
each_module = pytest.mark.parametrize('name', MODULES)


def load(path):
    return json.loads(path.read_text(encoding='utf-8'))


def source(cell):
    return ''.join(cell['source'])


def module(name):
    return ast.parse((ROOT / f'hpdval/{name}.py').read_text(encoding='utf-8'))


def tracked():
    "Files that are, or would be, in git."
    command = 'git ls-files -z --cached --others --exclude-standard'.split()
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip('not a git checkout')
    return [p for f in listed.stdout.split('\0') if f and (p := ROOT / f).is_file()]


# Notebooks


@each_notebook
def test_a_notebook_starts_with_a_title_and_a_subtitle(path):
    first = load(path)['cells'][0]
    assert first['cell_type'] == 'markdown' and re.match(r'# \S.*\n+> \S', source(first))


@each_notebook
def test_a_notebook_is_small_and_carries_no_trace_of_its_run(path):
    nb = load(path)
    assert path.stat().st_size < 600_000
    assert nb['metadata']['kernelspec']['name'] == 'python3'  # the one kernel that every environment has
    for c in nb['cells']:
        assert c.get('execution_count') is None and all(o.get('execution_count') is None for o in c.get('outputs', []))
        assert not any(o['output_type'] == 'error' for o in c.get('outputs', []))


@each_notebook
def test_directives_are_the_first_lines_of_a_cell(path):
    "nbdev silently ignores the others, and the cell is not exported."
    for c in load(path)['cells']:
        lines = source(c).splitlines() if c['cell_type'] == 'code' else []
        code = next((i for i, l in enumerate(lines) if l.strip() and not l.startswith('#|')), len(lines))
        assert not [l for l in lines[code:] if l.startswith('#|')]


@pytest.mark.parametrize('pair', [('run_coco_lt', 'run_voc_lt'), ('run_coco_fsl', 'run_voc_fsl')], ids=lambda p: p[0])
def test_the_runs_of_a_protocol_differ_in_parameters_and_quotations_only(pair):
    def code(name):
        cells = [c for c in load(ROOT / f'nbs/{name}.ipynb')['cells'] if c['cell_type'] == 'code']
        cells = [c for c in cells if 'parameters' not in c['metadata'].get('tags', [])]
        return [source(c) for c in cells if 'quoted' not in source(c)]

    assert code(pair[0]) == code(pair[1])


@each_run
def test_a_run_has_one_cell_of_literal_parameters(path):
    "papermill reads only the first such cell, and what is computed in it goes stale."
    (cell,) = [c for c in load(path)['cells'] if 'parameters' in c['metadata'].get('tags', [])]
    names = set()
    for s in ast.parse(source(cell)).body:
        assert isinstance(s, (ast.Assign, ast.AnnAssign)), ast.unparse(s)
        ast.literal_eval(s.value)
        names |= {t.id for t in (s.targets if isinstance(s, ast.Assign) else [s.target])}
    assert set(PARAMETERS) <= names, f'missing: {set(PARAMETERS) - names}'


# The package


def test_every_module_has_a_notebook():
    assert {p.stem for p in (ROOT / 'hpdval').glob('*.py')} - {'__init__', '_modidx'} == set(MODULES)


@each_module
def test_a_module_names_its_notebook_and_exports_what_it_says(name):
    assert f'File to edit: ../nbs/{MODULES[name].name}' in (ROOT / f'hpdval/{name}.py').read_text(encoding='utf-8')
    m = importlib.import_module(f'hpdval.{name}')
    assert not [n for n in m.__all__ if not hasattr(m, n)]


@each_module
def test_a_module_imports_only_modules_before_it(name):
    order = list(MODULES)
    imports = [n.module for n in ast.walk(module(name)) if isinstance(n, ast.ImportFrom) and n.level and n.module]
    assert not [i for i in imports if order.index(i) >= order.index(name)]


@each_module
def test_what_a_module_exports_has_a_docstring(name):
    defined = [n for n in module(name).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    assert not [n.name for n in defined if not n.name.startswith('_') and not ast.get_docstring(n)]


def test_weights_are_tracked_and_small():
    weights = sorted((ROOT / 'hpdval').rglob('*.safetensors'))
    assert sum(p.stat().st_size for p in weights) < 15_000_000
    assert set(weights) <= set(tracked())


# Files around it


def test_no_machine_path_and_no_registry_host_in_any_file():
    paths = r'(?<![\w.])/(work|tmp|root|home|Users)/'
    hosts = r'pypi\.org|pythonhosted\.org|npmjs\.org|debian\.org|anaconda\.org'
    found = []
    for p in tracked():
        try:
            text = p.read_text(encoding='utf-8')
        except UnicodeDecodeError:
            continue  # not a text
        for m in re.finditer(f'{paths}|{hosts}', text):
            found.append((str(p.relative_to(ROOT)), text[max(m.start() - 30, 0) : m.end() + 30]))
    assert not found


def test_requirements_hold_the_versions_that_work_together():
    lines = (ROOT / 'requirements.txt').read_text().split()
    assert not [p for p in PINS if p not in lines]


def test_environment_yml_installs_the_requirements():
    env = yaml.safe_load((ROOT / 'environment.yml').read_text())
    assert env['name'] == 'hpdval'
    assert env['dependencies'] == ['python=3.11', 'pip', {'pip': ['-r requirements.txt', '-e .']}]


def test_readme_is_in_step_with_the_index():
    done = subprocess.run([sys.executable, 'scripts/readme.py', '--check'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_link_of_the_readme_leads_somewhere():
    links = re.findall(r'(?:\]\(|(?:src|href)=")([^)"#\s]+)', (ROOT / 'README.md').read_text(encoding='utf-8'))
    assert not [l for l in links if '://' not in l and not (ROOT / l).exists()]


def test_readme_from_cells():
    def code(source, *outputs):
        return dict(cell_type='code', source=[source], outputs=list(outputs))

    text = dict(output_type='stream', text=['2\n'])
    picture = dict(output_type='display_data', data={'image/png': 'x', 'text/plain': ['<Figure>']})
    table = dict(output_type='display_data', data={'text/markdown': ['|a|'], 'text/plain': ['<Markdown>']})
    links = '[a](00_core.ipynb) ![b](../paper_figures/b.png) [c](https://c.org/x.ipynb)'
    cells = [
        dict(cell_type='markdown', source=[links]),
        code('#| hide\nx = 1'),
        code('1 + 1', text, picture),
        code('#| echo: false\nshow()', table),
    ]
    made = runpy.run_path(str(ROOT / 'scripts/readme.py'))['readme'](dict(cells=cells)).split('\n\n')[1:]
    assert made == [
        '[a](nbs/00_core.ipynb) ![b](paper_figures/b.png) [c](https://c.org/x.ipynb)',
        '```python\n1 + 1\n```',
        '```text\n2\n```',
        '|a|\n',
    ]


def test_readme_refuses_a_cell_that_was_not_run():
    made = runpy.run_path(str(ROOT / 'scripts/readme.py'))['readme']
    with pytest.raises(SystemExit, match='was not run'):
        made(dict(cells=[dict(cell_type='code', source=['#| echo: false\nshow()'], outputs=[])]))
