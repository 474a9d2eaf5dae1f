"""README.md from nbs/index.ipynb: `python scripts/readme.py` writes it, `--check` only compares.

Markdown cells stay as they are, with links as seen from the root; code and its text stand in fences; pictures are not
embedded.
A cell with `#| hide` is left out, one with `#| echo: false` shows only its output.
"""

import argparse, json, re, sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]


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
    return '\n\n'.join(['<!-- made from nbs/index.ipynb by scripts/readme.py -->', *filter(None, pieces)]) + '\n'


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='exit with 1 if README.md is not in step')
    text, file = readme(json.loads((root / 'nbs/index.ipynb').read_text(encoding='utf-8'))), root / 'README.md'
    if not parser.parse_args().check:
        file.write_text(text, encoding='utf-8', newline='\n')
    elif not file.exists() or file.read_text(encoding='utf-8') != text:
        sys.exit('README.md is not in step with nbs/index.ipynb: run `python scripts/readme.py` and commit the result')
