"""README.md from nbs/index.ipynb, the tables of docs/, and docs/results.csv: `python scripts/docs.py` writes,
`--check` only compares.

Markdown cells stay as they are, with links as seen from the root; code and its text stand in fences; pictures are not
embedded.
A cell with `#| hide` is left out, one with `#| echo: false` shows only its output.

A table stands between `<!-- table: NAME WORDS -->` and `<!-- end -->`, in docs/ and in a Markdown cell of the index.
NAME is a function in `TABLES`, which reads what was measured from paper_figures/; what stands between is replaced, or
stays where the files of a page are not there.
"""

import argparse, json, re, sys
from pathlib import Path

import pandas as pd

root = Path(__file__).resolve().parents[1]
FIGURES = root / 'paper_figures'
MARK = re.compile(r'(<!-- table: (\w+)([^\n]*?) -->\n).*?(<!-- end -->)', re.S)


# Tables of what was measured


def read(name):
    "A table of paper_figures/, cells as they were written."
    return pd.read_csv(FIGURES / f'{name}.csv', index_col=0, dtype=str, keep_default_na=False)


def markdown(table):
    return table.to_markdown(disable_numparse=True)


def note(name):
    "The sentence under a table: on what it was measured."
    last = (FIGURES / f'{name}.md').read_text(encoding='utf-8').strip().splitlines()[-1]
    return '' if last.startswith('|') else last


def parts(name):
    "The columns measured here and those quoted from the paper, each under its own name."
    table = read(f'{name}/table')
    for start in ('measured here: ', 'quoted from the paper: '):
        yield table[[c for c in table if c.startswith(start)]].rename(columns=lambda c: c.removeprefix(start))


def measured(name):
    "The rows that were measured, with what the paper prints beside them."
    here, there = parts(name)
    here = here[here.iloc[:, 0] != '']
    quoted = there.loc[here.index].iloc[:, :4].agg(lambda r: ' / '.join(filter(None, r)), axis=1)
    return f'{markdown(here.assign(quoted=quoted))}\n\n{note(f"{name}/table").split(" What is quoted")[0]}'


def whole(name):
    "A table as it was written."
    return (FIGURES / f'{name}.md').read_text(encoding='utf-8').strip()


def short():
    "The table of the README: seven rows, percent, and the paper's total."
    names = {
        'Zero-shot CLIP': 'zero-shot CLIP',
        'CoOp': 'CoOp',
        'Full fine-tuning': 'full fine-tuning',
        'Full fine-tuning, both towers': 'both towers tuned',
        'HP-DVAL, stage 1 only': 'HP-DVAL, stage 1 only',
        'HP-DVAL': 'HP-DVAL',
    }
    here, there = parts('table1_long_tailed/coco_lt')
    joint, joint_there = parts('table5_components/coco_lt')
    here = pd.concat([here.loc[list(names)].rename(names), joint.loc[['joint']].rename({'joint': 'joint training'})])
    paper = {name: there.total[key] for key, name in names.items()}
    paper |= {'HP-DVAL, stage 1 only': joint_there.total['DVAL'], 'joint training': joint_there.total['joint']}
    columns = here[['total', 'head', 'medium', 'tail']]
    return markdown(columns.assign(**{'total in the paper': [paper[name] for name in here.index]}))


def claims():
    "How many statements hold, by page and benchmark."
    verdicts = {(f.parents[1].name, f.parent.name): pd.read_csv(f).verdict for f in FIGURES.glob('*/*/claims.csv')}
    counts = pd.concat(dict(sorted(verdicts.items())), names=['page', 'benchmark']).groupby(level=[0, 1])
    counts = counts.value_counts().unstack(fill_value=0)[['holds', 'open', 'reversed']].reset_index()
    counts['page'] = [f'[{p}](../nbs/{p}.ipynb)' for p in counts.page]
    return counts.to_markdown(index=False)


def statements(name):
    "Every statement of a page, with its verdict."
    return markdown(read(f'{name}/claims'))


def lines_of(number):
    "The measured differences of a row of paper-against-code: its own lines, and those of a range that starts with it."
    table = read('modes/modes').reset_index()
    table = table.replace(r'row (\d+)', r'[row \1](#row-\1)', regex=True)
    firsts = table.row.str.replace('-', ',').str.split(',').map(lambda r: [x.strip() for x in r])
    return table[[number in ([r[0]] if '-' in row else r) for r, row in zip(firsts, table.row)]]


def modes(number):
    "What one row of paper-against-code is worth."
    columns = ['field', 'paper', "authors' code", 'here, and why', 'mAP', 'effect', 'measured']
    return lines_of(number)[columns].to_markdown(index=False, disable_numparse=True)


def modes_overview():
    "All of them, each with a link to its section."
    table = read('modes/modes').reset_index()
    links = [re.sub(r'\d+', lambda m: f'[{m[0]}](#row-{m[0]})', row) for row in table.row]
    table = table.assign(row=links)[['row', 'field', 'mAP', 'effect', 'measured']]
    return table.to_markdown(index=False, disable_numparse=True) + f'\n\n{note("modes/modes")}'


def two_worlds(name, *whose):
    """The rows of a page's JSON on COCO-LT and on VOC-LT beside each other, and each less the first of its model, or of
    all (`whose`: its name in the heading). None where the page was not made on both."""
    files = {world: FIGURES / name.replace('/', f'/{world}/') for world in ('coco_lt', 'voc_lt')}
    if not all(f.is_file() for f in files.values()):
        return None
    levels, differences = {}, {}
    for world, file in files.items():
        methods = json.loads(file.read_text(encoding='utf-8'))['methods']
        for group in ('total', 'tail'):
            said = {row: level(m['mAP'][group], m['std'][group]) for row, m in methods.items()}
            levels[f'{SHOWN[world]}, {group}'] = said
        differences[f'{SHOWN[world]}, total less {" ".join(whose)}'] = less_first(methods)
    return markdown(pd.DataFrame(levels | differences).rename_axis('row'))


SHOWN = dict(coco_lt='COCO-LT', voc_lt='VOC-LT')


def level(mean, deviation):
    return f'{mean:.1f}' if deviation is None else f'{mean:.1f} ± {deviation:.1f}'


def less_first(methods):
    "The total mAP of each row less that of `MODEL, none` for a row `MODEL, ...`, or of the first row."
    from hpdval.paper import said_difference

    seeds = {row: [groups['total'] for groups in m['by_seed']] for row, m in methods.items()}
    said = {}
    for row in seeds:
        first = f'{row.rsplit(", ", 1)[0]}, none'
        first = first if first in seeds else next(iter(seeds))
        said[row] = '' if row == first else said_difference(seeds[row], seeds[first])
    return said


# Every number of every seed, for others' plots


COLUMNS = ('page', 'row', 'method', 'benchmark', 'seed', 'group', 'mAP', 'run')


def summaries(data):
    "The summaries in a file of results: one, or several by name."
    found = [data] if 'methods' in data else data.values()
    return [s for s in found if isinstance(s, dict) and 'methods' in s]


def numbers_of_a_row(summary, said):
    "Seed, group, mAP and run of a row: of a long-tailed one by group of classes, of a few-shot one by shots."
    seeds, hashes = summary['seeds'], said['hashes']
    if isinstance(said['by_seed'], dict):
        for i, (shots, episodes) in enumerate(said['by_seed'].items()):
            for j, values in enumerate(episodes):
                yield seeds[j], shots, sum(values) / len(values), hashes[i * len(seeds) + j]
        return
    for seed, groups, run in zip(seeds, said['by_seed'], hashes):
        for group, value in groups.items():
            yield seed, group, value, run


def every_number():
    "The lines of results.csv: of each page that keeps its seeds, each row, seed and group; mAP in percent."
    for file in sorted(FIGURES.glob('**/*.json')):
        data = json.loads(file.read_text(encoding='utf-8'))
        for summary in summaries(data) if isinstance(data, dict) else []:
            for row, said in summary['methods'].items():
                if 'by_seed' not in said or row not in summary.get('configs', {}):
                    continue
                method, benchmark = summary['configs'][row]['method'], summary['data'].split()[0]
                about = file.relative_to(FIGURES).parent.as_posix(), row, method, benchmark
                for seed, group, value, run in numbers_of_a_row(summary, said):
                    yield *about, seed, group, f'{value:.3f}', run


def results_csv():
    "The text of docs/results.csv."
    table = pd.DataFrame(every_number(), columns=COLUMNS)
    return table.to_csv(index=False, lineterminator='\n')


TABLES = {f.__name__: f for f in (measured, whole, short, claims, statements, modes, modes_overview, two_worlds)}


def filled(text):
    "The text with every table made anew."

    def table(m):
        if m[2] not in TABLES:
            sys.exit(f'no table {m[2]!r}: there are {", ".join(TABLES)}')
        made = TABLES[m[2]](*m[3].split())
        return m[0] if made is None else f'{m[1]}\n{made}\n\n{m[4]}'

    return MARK.sub(table, text)


# The index as Markdown


def fence(language, lines):
    return f"```{language}\n{''.join(lines).rstrip()}\n```"


def from_root(text):
    "Links of a notebook in nbs/ as links of a file in the root: `../x` becomes `x`, `x.ipynb` becomes `nbs/x.ipynb`."
    return re.sub(r'(\]\(|(?:src|href)=")(\.\./|(?=\w+\.ipynb))', lambda m: m[1] + ('' if m[2] else 'nbs/'), text)


def output(o):
    "Markdown as it is, other text in a fence, nothing for a picture."
    data = o.get('data') or {'text/plain': o.get('text', '')}
    if 'text/markdown' in data:
        return from_root(''.join(data['text/markdown']))
    return '' if any(k.startswith('image/') for k in data) else fence('text', data['text/plain'])


def blocks(cell):
    "The pieces of Markdown that a cell gives."
    source = ''.join(cell['source'])
    directives = re.findall(r'^#\|\s*(.+?)\s*$', source, re.M)
    if 'hide' in directives:
        return
    if cell['cell_type'] == 'markdown':
        yield from_root(source)
    elif cell['cell_type'] == 'code':
        if 'echo: false' in directives and not cell['outputs']:
            sys.exit(f'a cell of index.ipynb was not run: {source!r}')
        if 'echo: false' not in directives:
            yield fence('python', re.sub(r'^#\|.*\n?', '', source, flags=re.M))
        yield from map(output, cell['outputs'])


def readme(notebook):
    "The text of README.md."
    pieces = [b.strip() for c in notebook['cells'] for b in blocks(c)]
    return '\n\n'.join(['<!-- made from nbs/index.ipynb by scripts/docs.py -->', *filter(None, pieces)]) + '\n'


def index():
    "The index with its tables made anew."
    notebook = json.loads((root / 'nbs/index.ipynb').read_text(encoding='utf-8'))
    for cell in notebook['cells']:
        if cell['cell_type'] == 'markdown':
            cell['source'] = filled(''.join(cell['source'])).splitlines(keepends=True)
    return notebook


def files():
    "Every file that is made here, and its text."
    notebook = index()
    yield root / 'nbs/index.ipynb', json.dumps(notebook, indent=1, ensure_ascii=False) + '\n'
    yield root / 'README.md', readme(notebook)
    yield root / 'docs/results.csv', results_csv()
    for page in sorted((root / 'docs').glob('*.md')):
        text = page.read_text(encoding='utf-8')
        if MARK.search(text):
            yield page, filled(text)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='exit with 1 if a page is not in step')
    check = parser.parse_args().check
    for file, text in files():
        if not check:
            file.write_text(text, encoding='utf-8', newline='\n')
        elif not file.exists() or file.read_text(encoding='utf-8') != text:
            name = file.relative_to(root)
            sys.exit(f'{name} is not in step: run `python scripts/docs.py` and commit the result')
