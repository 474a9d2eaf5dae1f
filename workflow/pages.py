"""The pages of paper_figures/: which notebook makes them, with which parameters, from the runs of which tables. Read by
the Snakefile and by scripts/all_runs.py."""

import shlex
from pathlib import PurePath
from typing import NamedTuple

from hpdval.moving import ICON_CLIPS
from hpdval.paper import table_benchmarks

NOTEBOOKS = {  # table -> the notebooks that show it
    'table1': ['table1_long_tailed', 'fig1_per_class', 'fig4_sensitivity'],
    'table2': ['table2_few_shot'],
    'table3': ['table3_losses'],
    'table4': ['table4_bce_vs_db'],
    'table5': ['table5_components'],
    'table6': ['table6_prompts'],
    'fig5': ['fig5_prompt_length'],
    'fig6': ['fig6_heatmaps'],
    'local': ['local_view'],
    'open': ['open_vocabulary'],
    'field': ['field'],
    'lm-clip': ['parts'],
    'video': ['video'],
}
SHOWN_WITH = {  # table -> others whose runs its pages show
    'table1': ['zero-shot'],
    'table5': ['ablations'],
    'lm-clip': ['lora', 'views', 'templates'],
    'video': ['local'],  # on stills
}
BENCHMARKS = {
    'coco_lt': 'icon-coco-lt',
    'voc_lt': 'icon-voc-lt',
    'coco_half': 'icon-coco-half',
    'voc_half': 'icon-voc-half',
    'voc_clips': 'icon-voc-clips',
}
FEWSHOT = {'coco_fsl': 'icon-coco-fsl', 'voc_fsl': 'icon-voc-fsl'}


class Page(NamedTuple):
    "A notebook as it is run for a page."

    notebook: str
    table: str = ''  # whose runs it shows; '' = none
    benchmark: str = ''  # its parameter; '' = the notebook's own
    fewshot: tuple = ()  # keys of `FEWSHOT` whose runs it shows
    seeds: bool = True  # has it this parameter?


ALONE = {  # pages that belong to no table
    'coco_lt/table.md': Page('run_coco_lt', 'table1', 'icon-coco-lt'),
    'voc_lt/table.md': Page('run_voc_lt', 'table1', 'icon-voc-lt'),
    'coco_fsl/table.md': Page('run_coco_fsl', fewshot=('coco_fsl',)),
    'voc_fsl/table.md': Page('run_voc_fsl', fewshot=('voc_fsl',)),
    'modes/modes.md': Page('table_modes'),
    'audit/summary.md': Page('audit', seeds=False),
    'method.png': Page('fig_method', seeds=False),
}


def pages_of(tables) -> dict:  # file in paper_figures/ -> Page
    "The pages that show some tables, by a file that each writes."
    found = {}
    for table in tables:
        if table == 'table2':
            found['table2_few_shot/table.md'] = Page('table2_few_shot', fewshot=tuple(FEWSHOT))
            continue
        for notebook in NOTEBOOKS[table]:
            for short, benchmark in BENCHMARKS.items():
                if benchmark in table_benchmarks(table):
                    found[f'{notebook}/{short}/table.md'] = Page(notebook, table, benchmark)
    return found


def worlds_of(benchmark: str) -> list:
    "A benchmark, and the one whose runs stand beside its own."
    return [benchmark, *([ICON_CLIPS[benchmark]] if benchmark in ICON_CLIPS else [])]


def parameters(**values) -> str:
    "Words of papermill."
    return ' '.join(f'-p {k} {shlex.quote(str(v))}' for k, v in values.items())


def page_words(file: str, page: Page, seeds, out, **short) -> str:
    "What papermill is told of a page."
    own = dict(benchmark=page.benchmark) if page.benchmark else {}
    own |= dict(seeds=','.join(map(str, seeds))) if page.seeds else {}
    return parameters(**own, out=PurePath(out, file).parent, **short)
