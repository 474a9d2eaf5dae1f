"""docs/errors.md from the bad inputs in tests/test_cases.py: `python scripts/errors.py` writes, `--check` compares."""

import argparse, sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]

HEAD = '''<!-- made from tests/test_cases.py by scripts/errors.py -->
# What is refused, and how it is said

Every message is one line: what is wrong, where, and what to do. ~ stands for the words of another library.
Each row is a test in [tests/test_cases.py](../tests/test_cases.py), which compares the whole message.
'''


def cell(text):
    "Text in a cell of a Markdown table."
    return text.replace('|', '\\|').replace('<', '&lt;')


def page(cases):
    "The text of docs/errors.md: a table for each part."
    lines = [HEAD]
    for part in dict.fromkeys(c.part for c in cases):
        lines += [f'## {part}', '', '| input | message |', '|---|---|']
        lines += [f'| {cell(c.given)} | {cell(c.message)} |' for c in cases if c.part == part]
        lines += ['']
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.path[:0] = [str(root), str(root / 'tests')]
    from test_cases import CASES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='exit with 1 if docs/errors.md is not in step')
    text, file = page(CASES), root / 'docs/errors.md'
    if not parser.parse_args().check:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding='utf-8', newline='\n')
    elif not file.exists() or file.read_text(encoding='utf-8') != text:
        sys.exit(
            'docs/errors.md is not in step with tests/test_cases.py: run `python scripts/errors.py`, commit the result'
        )
