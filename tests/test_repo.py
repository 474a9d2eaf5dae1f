"What must hold for the repository as a whole."

import ast, importlib, json, os, re, runpy, subprocess, sys, tomllib
from pathlib import Path

import nbformat, numpy as np, papermill, pytest, yaml

from hpdval.config import CHOICES, RUN_PARAMETERS
from hpdval.fewshot import FEWSHOT_PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / 'nbs').glob('*.ipynb'))
SCRIPTS = sorted((ROOT / 'tests').glob('test_*.py'))
DEFAULT_EXP = re.compile(r'#\| default_exp (\w+)')
# in their order
MODULES = {m[1]: p for p in NOTEBOOKS if (m := DEFAULT_EXP.search(p.read_text(encoding='utf-8')))}
MODULES.pop('__init__')  # 99_package: names of the others, fetched when they are asked for
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
    imports = []
    for n in ast.walk(module(name)):
        if isinstance(n, ast.ImportFrom) and n.module and (n.level or n.module.startswith('hpdval.')):
            imports.append(n.module.removeprefix('hpdval.'))
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


def requirements(text):
    "Names of the packages in a list of requirements."
    return {re.match(r'[\w-]+', r)[0].lower().replace('_', '-') for r in text}


def test_the_library_depends_on_what_it_imports_and_on_nothing_else():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    called = {'PIL': 'pillow', 'fonticon_mdi7': 'fonticon-materialdesignicons7', 'open_clip': 'open-clip-torch'}
    imported = set()
    for path in (ROOT / 'hpdval').glob('*.py'):
        for n in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            names = [a.name for a in n.names] if isinstance(n, ast.Import) else []
            names += [n.module] if isinstance(n, ast.ImportFrom) and not n.level else []
            imported |= {name.split('.')[0] for name in names}
    imported -= set(sys.stdlib_module_names) | {'hpdval'}
    imported = {called.get(n, n).replace('_', '-') for n in imported}
    silent = {'tabulate', 'torchvision'}  # pandas writes Markdown with one, open_clip needs a version of the other
    assert imported | silent == requirements(project['dependencies'])
    assert not [p for p in PINS if p not in str(project)]


def test_no_text_says_to_install_the_package_from_an_index():
    "It is in none."
    found = re.compile(r"pip install ['\"]?hpdval\b")
    assert not [str(f) for f in written() for text in texts(f) if found.search(text)]


def test_environment_yml_installs_everything():
    env = yaml.safe_load((ROOT / 'environment.yml').read_text())
    assert env == dict(name='hpdval', dependencies=['python=3.11', 'pip', {'pip': ['-e .[dev]']}])


def test_the_extras_hold_what_the_commands_need():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    extras = {
        k: requirements([r for r in v if 'hpdval[' not in r]) for k, v in project['optional-dependencies'].items()
    }
    assert {'papermill', 'jupyterlab', 'ipywidgets'} <= extras['notebooks']
    assert extras['browser'] == {'selenium'} and 'browser' not in str(project['optional-dependencies']['dev'])
    assert 'snakemake' in extras['sweep'] and {'nbdev', 'pytest'} <= extras['dev']
    assert 'transformers' in extras['siglip'] and {'onnx', 'onnxscript', 'onnxruntime'} == extras['export']
    named = [m for f in written() if f.suffix == '.md' for t in texts(f) for m in re.findall(r'\.\[([\w,]+)\]', t)]
    assert {e for m in named for e in m.split(',')} <= {*extras, 'x'} and {'video', 'export', 'sweep'} <= {*named}
    assert 'hpdval[notebooks]' in str(project) and 'hpdval[sweep,siglip]' in str(project)


def test_code_is_formatted():
    done = subprocess.run([sys.executable, '-m', 'ruff', 'format', '--check'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run_script(*words):
    os.chdir(ROOT)
    sys.argv = [*words]
    runpy.run_path(words[0], run_name='__main__')


def test_readme_and_docs_are_in_step_with_what_was_measured(in_a_copy):
    done = in_a_copy(run_script, 'scripts/docs.py', '--check')
    assert done.returncode == 0, done.stderr


LINK = re.compile(r'(?:\]\(|(?:src|href)=")([^)"\s]+)')
CARDS = [ROOT / f'hpdval/{name}/README.md' for name in ('weights', 'example', 'data')]
PAGES = [ROOT / 'README.md', ROOT / 'tests/data/README.md', *CARDS, *sorted((ROOT / 'docs').glob('*.md'))]
UNKNOWN = [  # documents that a reader does not have
    r'\bstudy\.md|\bstudy [A-F]\d?\b|\bA2 row',
    r'\bcontract C\d|\((?:C\d+)\)',
    r'\b(design|style|toolchain|peers)\.md',
    r"\breference (report|folder)",
]


def texts(path):
    "What people read of a file: all of it, or of a notebook its cells and what they print."
    if path.suffix != '.ipynb':
        yield path.read_text(encoding='utf-8')
        return
    for c in load(path)['cells']:
        yield source(c)
        for o in c.get('outputs', []):
            data = o.get('data') or {'text/plain': o.get('text', '')}
            yield from (''.join(v) for k, v in data.items() if k.startswith('text/'))


def written():
    "Files with text of our own: pages, notebooks, modules, tests, scripts."
    patterns = ('*.md', 'docs/*.md', 'nbs/*.ipynb', 'hpdval/*.py', 'tests/*.py', 'tests/data/*.md', 'scripts/*.py')
    return [f for p in patterns for f in sorted(ROOT.glob(p)) if f != Path(__file__).resolve()]


@pytest.mark.parametrize('path', written(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_text_names_a_document_that_a_reader_does_not_have(path):
    found = [m[0] for text in texts(path) for m in re.finditer('|'.join(UNKNOWN), text)]
    if path.suffix == '.md':
        found += re.findall(r'\.\./shared', path.read_text(encoding='utf-8'))
    if path.suffix == '.ipynb':
        cells = load(path)['cells']
        found += [s for c in cells if c['cell_type'] == 'markdown' for s in re.findall(r'\.\./shared', source(c))]
        # a difference between paper and code is a link to its section
        found += [] if path.stem == 'table_modes' else bare_rows(cells)
    assert not found


def bare_rows(cells):
    "Differences that are named by their number alone."
    return [m for c in cells for m in re.findall(r'(?<!\[)\brows? \d+', source(c))]


def test_a_bare_row_is_found():
    def markdown(text):
        return [dict(cell_type='markdown', source=[text])]

    assert bare_rows(markdown('so (row 17) and rows 2 and 8')) == ['row 17', 'rows 2']
    assert bare_rows(markdown('so [row 17](../docs/paper_and_code.md#row-17)')) == []


def anchors(page):
    "Where a link may lead in a Markdown file: marks of our own, and headings as GitHub writes them."
    text = page.read_text(encoding='utf-8')
    headings = re.findall(r'^#+ +(.+)$', text, re.M)
    slugs = {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-') for h in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def broken(link, base, page=None):
    "Does a link of a file in the folder `base` lead nowhere?"
    target, _, anchor = link.partition('#')
    if '://' in target:
        return False
    file = (base / target).resolve() if target else page
    if not file.exists():
        return True
    return bool(anchor) and file.suffix == '.md' and anchor not in anchors(file)


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    links = LINK.findall(page.read_text(encoding='utf-8'))
    assert not [l for l in links if broken(l, page.parent, page)]


@each_notebook
def test_every_link_of_a_notebook_leads_somewhere(path):
    cells = [source(c) for c in load(path)['cells'] if c['cell_type'] == 'markdown']
    links = [l for text in cells for l in LINK.findall(re.sub(r'```.*?```|`[^`]*`|\$[^$]*\$', '', text, flags=re.S))]
    assert not [l for l in links if broken(l, path.parent, path)]


def test_every_anchor_in_the_code_exists():
    "`docs/paper_and_code.md#row-17` in a comment, or `#row-17` where the line is full."
    there = anchors(ROOT / 'docs/paper_and_code.md')
    assert {f'row-{i}' for i in range(1, 34)} <= there
    named = set()
    for path in [*sorted((ROOT / 'hpdval').glob('*.py')), *NOTEBOOKS, *SCRIPTS]:
        named |= set(re.findall(r'#(row-\d+)', path.read_text(encoding='utf-8')))
    assert named and named <= there


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
    made = runpy.run_path(str(ROOT / 'scripts/docs.py'))['readme'](dict(cells=cells)).split('\n\n')[1:]
    assert made == [
        '[a](nbs/00_core.ipynb) ![b](paper_figures/b.png) [c](https://c.org/x.ipynb)',
        '```python\n1 + 1\n```',
        '```text\n2\n```',
        '|a|\n',
    ]


def test_the_readme_is_one_page():
    assert len((ROOT / 'README.md').read_bytes()) <= 9_000


def test_a_table_that_is_not_in_step_is_made_anew():
    made = runpy.run_path(str(ROOT / 'scripts/docs.py'))['filled']
    text = 'a\n<!-- table: modes 3 -->\nold\n<!-- end -->\nb\n'
    new = made(text)
    assert 'old' not in new and '| embedding | two linear layers' in new
    assert new.startswith('a\n<!-- table: modes 3 -->\n') and new.endswith('<!-- end -->\nb\n') and made(new) == new
    with pytest.raises(SystemExit, match="no table 'mode'"):
        made('<!-- table: mode -->\n<!-- end -->')


def test_a_page_on_two_worlds_is_shown_beside_each_other_and_its_text_stays_where_it_was_not_made(tmp_path):
    made = runpy.run_path(str(ROOT / 'scripts/docs.py'))['filled']
    made.__globals__['FIGURES'] = tmp_path
    text = "<!-- table: two_worlds parts/lora.json all weights' -->\nby hand\n<!-- end -->"
    assert made(text) == text
    rows = {'all weights': [3, 5, 7], 'rank 1': [1, 2, 3], 'coop, none': [2, 2, 2], 'coop, ten': [3, 4, 2]}
    for world in ('coco_lt', 'voc_lt'):
        assert made(text) == text  # one of them is not enough
        said = {
            row: dict(
                mAP=dict(total=np.mean(v), tail=np.mean(v) + 1),
                std=dict(total=np.std(v, ddof=1), tail=None),
                by_seed=[dict(total=x, tail=x + 1) for x in v],
            )
            for row, v in rows.items()
        }
        (tmp_path / 'parts' / world).mkdir(parents=True)
        (tmp_path / 'parts' / world / 'lora.json').write_text(json.dumps(dict(methods=said)))
    lines = [[c.strip() for c in line.split('|')[1:-1]] for line in made(text).splitlines() if line.startswith('|')]
    heads = [f'{w}, {g}' for w in ('COCO-LT', 'VOC-LT') for g in ('total', 'tail')]
    assert lines[0] == ['row', *heads, *(f"{w}, total less all weights'" for w in ('COCO-LT', 'VOC-LT'))]
    less = {'all weights': '', 'rank 1': '-3.00 [-5.48, -0.52]', 'coop, none': '-3.00 [-7.97, +1.97]'}
    less['coop, ten'] = '+1.00 [-1.48, +3.48]'  # less the model's own first row
    level = {'all weights': '5.0 ± 2.0', 'rank 1': '2.0 ± 1.0', 'coop, none': '2.0 ± 0.0', 'coop, ten': '3.0 ± 1.0'}
    tail = {'all weights': '6.0', 'rank 1': '3.0', 'coop, none': '3.0', 'coop, ten': '4.0'}
    less['coop, none'] = ''
    assert lines[2:] == [[r, *2 * [level[r], tail[r]], *2 * [less[r]]] for r in rows]


def test_readme_refuses_a_cell_that_was_not_run():
    made = runpy.run_path(str(ROOT / 'scripts/docs.py'))['readme']
    with pytest.raises(SystemExit, match='was not run'):
        made(dict(cells=[dict(cell_type='code', source=['#| echo: false\nshow()'], outputs=[])]))


@pytest.mark.parametrize('name', ['run_coco_lt', 'run_voc_lt', 'run_coco_fsl', 'run_voc_fsl'])
def test_a_run_notebook_lists_every_parameter_it_takes(name):
    "What is not in the cell of parameters, papermill calls unknown, although the run takes it."
    known = (*RUN_PARAMETERS, *(FEWSHOT_PARAMETERS if 'fsl' in name else ()))
    cells = load(ROOT / f'nbs/{name}.ipynb')['cells']
    cell = next(source(c) for c in cells if 'parameters' in c['metadata'].get('tags', []))
    assert sorted(re.findall(r'^(\w+) = ', cell, re.M)) == sorted(known)


@each_notebook
def test_a_notebook_is_valid(path):
    nbformat.validate(nbformat.read(path, as_version=4))


@each_notebook
def test_a_page_that_writes_a_result_says_whether_it_is_a_trial(path):
    code = '\n'.join(source(c) for c in load(path)['cells'] if c['cell_type'] == 'code')
    if 'result.json' in code and ' = page(' in code:
        assert 'dict(trial=' in code


WITH_PARAMETERS = [p for p in NOTEBOOKS if '"parameters"' in p.read_text(encoding='utf-8')]


@pytest.mark.parametrize('path', WITH_PARAMETERS, ids=lambda p: p.stem)
def test_papermill_can_read_every_parameter(path, caplog):
    "What it cannot read (a quotation mark or an = in a comment), it names in alarming lines and calls unknown."
    cell = next(source(c) for c in load(path)['cells'] if 'parameters' in c['metadata'].get('tags', []))
    found = papermill.inspect_notebook(str(path))
    assert set(found) == set(re.findall(r'^(\w+) = ', cell, re.M)) and not caplog.records


def test_a_shell_lists_every_loss():
    "Also those that other modules than `losses` add: in a process that has imported nothing else."
    words = [sys.executable, '-m', 'hpdval.command', 'list', 'losses', '--json']
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert {row['name'] for row in json.loads(done.stdout)} == set(CHOICES['loss']) > {'ranking', 'asl-pair'}


def test_ci_runs_scripts_that_are_there():
    named = re.findall(r'\b(?:scripts|tests|workflow)/\S+\.py', (ROOT / '.ci/run').read_text(encoding='utf-8'))
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
