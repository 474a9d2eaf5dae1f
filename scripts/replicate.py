"""How far the published numbers are from those of this machine: `python scripts/replicate.py`.

Asked are the lines of docs/results.csv whose runs were made here with the code of today, by `hpdval run`,
scripts/all_runs.py or Snakemake: same config, same seed. The same processor gives the same number; another one rounds
sums in another order, and a training goes apart. `--out` writes the table, with a note on what it was measured.
"""

import argparse, sys
from pathlib import Path

import pandas as pd

from hpdval.config import check_folder
from hpdval.core import as_path, runs_dir
from hpdval.experiment import Result, joined, other_code
from hpdval.lists import plural
from hpdval.paper import TABLES, row_config
from hpdval.report import save_table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'workflow'))
from pages import NOTEBOOKS, pages_of  # noqa: E402


def published() -> pd.DataFrame:  # page, row, method, benchmark, seed, group, mAP, run
    "The lines of docs/results.csv on all classes, of the pages of tables that `hpdval run` makes."
    lines = pd.read_csv(ROOT / 'docs/results.csv')
    pages = {f.removesuffix('/table.md') for f in pages_of(NOTEBOOKS)}
    return lines[lines.page.isin(pages) & (lines.group == 'total')]


def runs_here() -> dict:  # {Config: Result}
    "The runs that lie in the folder of runs and were made by the code of today."
    results = [Result.load(file.parent) for file in sorted(runs_dir().glob('*/result.json'))]
    return {r.made_by: r for r in results if not other_code(r)}


def made_here(lines: pd.DataFrame, results: dict) -> dict:  # {name of a run: (line, Result)}
    "The lines whose runs are among some results, each run once."
    pages, found = pages_of(NOTEBOOKS), {}
    for line in lines.itertuples():
        row = TABLES[pages[f'{line.page}/table.md'].table][line.row]
        if result := results.get(row_config(row, line.seed, dict(benchmark=line.benchmark))):
            found.setdefault(result.hash, (line, result))
    return found


def compared(found: list) -> pd.DataFrame:  # a row per run, mAP in percent
    "What is published, what was measured here, and how far they are apart."
    rows = [(x.benchmark, x.row, x.seed, x.mAP, result.mAP['total']) for x, result in found]
    table = pd.DataFrame(rows, columns=['benchmark', 'row', 'seed', 'published', 'here'])
    table['difference'] = (table.here - table.published).round(3) + 0.0  # no -0
    return table.set_index('benchmark').round(3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', help='a folder for the table')
    args = parser.parse_args()
    try:
        if args.out is not None:
            check_folder(args.out, f'--out {args.out}')
        found = [*made_here(published(), runs_here()).values()]
    except (ValueError, OSError) as e:
        parser.error(str(e))
    if not found:
        sys.exit(f'no run of a published line is in {runs_dir()}: python scripts/all_runs.py --tables table1 --seeds 0')
    table = compared(found)
    print(table.to_markdown())
    away = table.difference.abs()
    print(f"\n{plural(len(table), 'run')}: {away.median():.2f} points apart in the middle, {away.max():.2f} at most")
    if args.out is not None:
        where = joined([result.environment for _, result in found])
        note = f"Measured here on {where['device']}, code {where['package']}, commit {where['commit']}."
        save_table(table, as_path(args.out), 'replication', note)


if __name__ == '__main__':
    main()
