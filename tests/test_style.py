"Rules of style that no formatter keeps: each notebook against each of them, and the other files against the first."

import ast, json, re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / 'nbs').glob('*.ipynb'))
SCRIPTS = sorted([*(ROOT / 'tests').glob('*.py'), *(ROOT / 'scripts').glob('*.py')])
LINE = 120  # characters
FUNCTION = 40  # lines


def code_cells(path):
    "Number and source of the code cells of a notebook; cells in another language (`%%`) are left out."
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    for number, cell in enumerate(cells):
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'code' and not source.lstrip().startswith('%%'):
            yield number, source


def parsed(source):
    "The syntax tree; where there are line magics (`%` and `!`), they count as `pass`."
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse(re.sub(r'^([ \t]*)[%!].*$', r'\1pass', source, flags=re.M))


def statements(body):
    "The statements of a list and of all lists inside them, list by list."
    yield body
    for statement in body:
        for field in ('body', 'orelse', 'finalbody', 'handlers', 'cases'):
            inner = getattr(statement, field, [])
            if inner and isinstance(inner, list):
                yield from statements(inner)


# The rules: each gives the lines of a cell that break it


def long_lines(source):
    return [n for n, line in enumerate(source.splitlines(), 1) if len(line) > LINE]


def statements_on_one_line(source):
    "Two statements that share a line, but not a `;` that only hides what a cell would show."
    shared = set()
    for body in statements(parsed(source).body):
        for a, b in zip(body, body[1:]):
            if a.end_lineno == b.lineno:
                shared.add(b.lineno)
    return sorted(shared)


def nested_conditionals(source):
    "A conditional expression in another one."
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.IfExp) and sum(isinstance(inner, ast.IfExp) for inner in ast.walk(node)) > 1:
            found.append(node.lineno)
    return found


def _is_dict(node):
    "A dictionary made on the spot: `{...}` or `dict(...)`."
    made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict'
    return made or isinstance(node, (ast.Dict, ast.DictComp))


def dicts_as_switches(source):
    "`{...}[x]` and `{...}.get(x)`."
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Subscript) and _is_dict(node.value):
            found.append(node.lineno)
        if isinstance(node, ast.Attribute) and node.attr == 'get' and _is_dict(node.value):
            found.append(node.lineno)
    return found


def comprehensions_for_their_effect(source):
    "A comprehension as a statement, unless it is the last one of a cell, which is shown."
    tree = parsed(source)
    hidden = source.rstrip().endswith(';')
    last = tree.body[-1] if tree.body and not hidden else None
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, kinds)]
    return [n.lineno for n in found if n is not last]


def named_lambdas(source):
    "A `lambda` that is given a name, where a `def` has one."
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            found += [v.lineno for v in values if isinstance(v, ast.Lambda)]
    return found


def long_functions(source):
    functions = [n for n in ast.walk(parsed(source)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [f.lineno for f in functions if f.end_lineno - f.lineno + 1 > FUNCTION]


def exploded_numbers(source):
    "A list or tuple of more than ten numbers, one on a line."
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) > 10:
            numbers = [e for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, (int, float))]
            if len(numbers) == len(node.elts) <= len({e.lineno for e in numbers}):
                found.append(node.lineno)
    return found


RULES = [
    long_lines,
    statements_on_one_line,
    nested_conditionals,
    dicts_as_switches,
    comprehensions_for_their_effect,
    named_lambdas,
    long_functions,
    exploded_numbers,
]


@pytest.mark.parametrize('rule', RULES, ids=lambda r: r.__name__)
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_keeps_the_rule(path, rule):
    found = []
    for number, source in code_cells(path):
        lines = source.splitlines()
        found += [f'cell {number}, line {n}: {lines[n - 1].strip()[:80]}' for n in rule(source)]
    assert not found, '\n'.join([f'{path.name}, {rule.__name__}:', *found])


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_uses_what_it_imports(path):
    "Another cell than the importing one may be the user."
    imported, used = {}, set()
    for number, source in code_cells(path):
        for node in ast.walk(parsed(source)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.asname or alias.name.split('.')[0] for alias in node.names]
                imported |= {name: f'{name}: cell {number}, line {node.lineno}' for name in names}
            elif isinstance(node, ast.Name):
                used.add(node.id)
    found = [where for name, where in imported.items() if name not in used]
    assert not found, '\n'.join([f'{path.name} imports and does not use:', *found])


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda p: p.name)
def test_a_line_of_another_file_is_not_too_long(path):
    assert not [f'line {n}' for n in long_lines(path.read_text(encoding='utf-8'))]


BROKEN = dict(
    long_lines='x = 1\n' + 'y = ' + '1 + ' * 30 + '1',
    statements_on_one_line='x = 1\ny = 2; z = 3',
    nested_conditionals='x = 1\ny = 1 if x else 2 if z else 3',
    dicts_as_switches="x = 1\ny = {1: 'a'}[x]",
    comprehensions_for_their_effect='x = []\n[x.append(i) for i in range(3)];',
    named_lambdas='x = 1\ny = lambda a: a',
    long_functions='x = 1\ndef f():\n' + '    x\n' * FUNCTION,
    exploded_numbers='x = 1\ny = [\n' + '    1,\n' * 11 + ']',
)


@pytest.mark.parametrize('rule', RULES, ids=lambda r: r.__name__)
def test_a_rule_finds_what_breaks_it(rule):
    assert rule(BROKEN[rule.__name__]) == [2]


@pytest.mark.parametrize(
    'rule, source',
    [
        (statements_on_one_line, 'x = 1\nplot(x);'),  # the `;` hides the output
        (comprehensions_for_their_effect, 'x = 1\n[x for _ in range(3)]'),  # shown
        (nested_conditionals, '%matplotlib inline\n#| export\nx = 1 if y else 2\nz = 3 if y else 4'),
        (dicts_as_switches, "NAMES = {1: 'a'}\nx = NAMES[1] + NAMES.get(2, '')"),
        (named_lambdas, 'x = sorted(y, key=lambda a: -a)'),
        (exploded_numbers, 'x = [\n    1, 2, 3, 4, 5, 6,\n    7, 8, 9, 10, 11, 12,\n]'),
    ],
    ids=lambda v: getattr(v, '__name__', ''),
)
def test_a_rule_leaves_alone_what_keeps_it(rule, source):
    assert rule(source) == []
