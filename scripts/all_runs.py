"""Every run of the tables, in processes that live on: `python scripts/all_runs.py --processes 12`.

Where a run takes seconds, as on a GPU, starting a process for each takes longer than the runs. What is made here is
what `snakemake` asks for, and it then makes the pages alone; `--pages` makes them here, as many at a time. What is
there is not made again; what fails is named at the end, and the rest goes on.
"""

import argparse, itertools, multiprocessing, os, shlex, signal, subprocess, sys, threading, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from hpdval.config import check_folder, parse_names, parse_seeds
from hpdval.core import check_number, runs_dir
from hpdval.fewshot import FEWSHOT_BENCHMARKS, FEWSHOT_ROWS
from hpdval.paper import LOCAL_VIEWS, TABLES, jobs

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'workflow'))
from pages import ALONE, FEWSHOT, NOTEBOOKS, page_words, pages_of  # noqa: E402

WORLDS = {world: FEWSHOT_BENCHMARKS[world].settings_of for world in FEWSHOT.values()}  # -> that of the same classes
LIVES = 40  # runs of a process, before another takes its place
START = 'spawn'  # how a process starts: what CUDA knows of its parent is of no use to it


class Task(NamedTuple):
    "A run as a process is told of it."

    name: str
    words: tuple = ()  # of `hpdval run`
    mark: str = ''  # the file that tells Snakemake that it is done
    few: dict = {}  # or of `fewshot_config`


def table_tasks(seeds, tables, short) -> list:
    "The jobs of the tables, those that build on no other first."
    folder = runs_dir() / 'jobs'
    found = jobs(seeds, tables, **short)
    ordered = sorted(found.items(), key=lambda item: item[1].after is not None)
    return [Task(' '.join(job.words), tuple(job.words), str(folder / f'{name}.done')) for name, job in ordered]


def fewshot_tasks(seeds) -> list:
    "The few-shot runs of Table II, base trainings first; those by values too."
    asked = [dict(method=m, benchmark=world) for world in WORLDS for m in FEWSHOT_ROWS]
    for world, stills in WORLDS.items():
        by_values = dict(benchmark=world, local='values', **LOCAL_VIEWS[stills]['values'])
        asked += [dict(method=m, **by_values) for m in ('dval', 'hp-dval')]
    tasks = []
    for shots in (0, 1, 5):
        for few in asked:
            name = ' '.join(map(str, few.values()))
            tasks += [Task(f'{name}, {shots} shots, seed {s}', few=few | dict(seed=s, shots=shots)) for s in seeds]
    return tasks


def done(task: Task) -> float:  # seconds
    "Make a run in this process. Raises what the run raises."
    from hpdval.command import main
    from hpdval.fewshot import fewshot_config, run_fewshot

    start = time.perf_counter()
    if task.words:
        main(['run', *task.words, '--quiet'], standalone_mode=False)
        mark = Path(task.mark)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    else:
        run_fewshot(*fewshot_config(**task.few, for_all=True), progress=False)
    return time.perf_counter() - start


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def begin():
    """What runs say would tear the progress bar; an interrupt is its parent's to answer; and a process whose parent
    was killed would wait on the GPU for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout = sys.stderr = open(os.devnull, 'w')
    threading.Thread(target=_end_with_parent, daemon=True).start()


def lane(left, failed: dict, bar):
    "Make one task after the other, in a process that is replaced now and then, and after a task that broke it."
    started = multiprocessing.get_context(START)
    while first := next(left, None):
        with ProcessPoolExecutor(1, started, begin) as pool:
            for task in itertools.chain([first], itertools.islice(left, LIVES - 1)):
                error = pool.submit(done, task).exception()
                bar.update()
                if error:
                    failed[task.name] = f'{type(error).__name__}: {error}'
                if isinstance(error, BrokenProcessPool):
                    break


def made(tasks: list, processes: int) -> dict:  # name -> error
    """Make all; what failed, and why. An interrupt ends what is being made, and no other is begun: a
    `KeyboardInterrupt` that says how many are done."""
    left, failed = iter(tasks), {}
    with tqdm(desc='runs', total=len(tasks)) as bar, ThreadPoolExecutor(processes) as pool:
        try:
            lanes = [pool.submit(lane, left, failed, bar) for _ in range(processes)]
            for one in lanes:
                one.result()
        except KeyboardInterrupt:
            said = f'{bar.n - len(failed)} of {len(tasks)} runs are done'
            [*left]
            while not all(one.done() for one in lanes):  # one may just begin
                for process in multiprocessing.active_children():
                    process.kill()
                time.sleep(0.1)
            raise KeyboardInterrupt(said) from None
        finally:
            [*left]
    return failed


AT_WORK = set()  # processes that make a page


def write_page(file: str, page, seeds, out, short) -> str:  # what went wrong; '' = nothing
    "Run a page's notebook; the copy with its outputs lies where Snakemake would put it."
    copy = runs_dir() / f'pages/{file}.ipynb'
    copy.parent.mkdir(parents=True, exist_ok=True)
    words = [
        str(ROOT / f'nbs/{page.notebook}.ipynb'),
        str(copy),
        *shlex.split(page_words(file, page, seeds, out, **short)),
    ]
    command = [sys.executable, '-m', 'papermill', *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        AT_WORK.add(process)
        said = process.communicate()[1].strip().splitlines() or ['it said nothing']
        AT_WORK.discard(process)
    return said[-1] if process.returncode else ''


def written(pages: dict, processes: int, *how) -> dict:  # name -> what went wrong
    "Make all pages. Raises as `made` does."
    failed = {}
    with tqdm(desc='pages', total=len(pages)) as bar, ThreadPoolExecutor(processes) as pool:
        try:
            left = {pool.submit(write_page, file, page, *how): file for file, page in pages.items()}
            for future in as_completed(left):
                bar.update()
                if why := future.result():
                    failed[left[future]] = why
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in [*AT_WORK]:
                process.terminate()
            raise KeyboardInterrupt(f'{bar.n - len(failed)} of {len(pages)} pages are done') from None
    return failed


def asked(args) -> tuple:  # seeds, tables (None = all), fields of `Config` for a trial, tasks
    "What the words of the command mean. A `ValueError` for those that mean nothing."
    check_number('--processes', args.processes, 1, whole=True)
    if args.out is not None:
        check_folder(args.out, f'--out {args.out}')
    seeds = parse_seeds(args.seeds)
    tables = parse_names(args.tables, TABLES, 'table') if args.tables else None
    short = dict(epochs1=args.epochs, epochs2=args.epochs, image_size=args.image_size)
    short = {k: v for k, v in short.items() if v is not None}
    tasks = table_tasks(seeds, tables, short)
    if not tables and not short:
        few = fewshot_tasks(seeds)
        bases = [t for t in few if not t.few['shots']]
        tasks = bases + tasks + [t for t in few if t.few['shots']]
    return seeds, tables, short, tasks


def pages_wanted(tables, short) -> dict:  # file -> Page
    "The pages of the tables asked for (None = all). A trial has none of those whose epochs are their own."
    names = [t for t in tables or NOTEBOOKS if t in NOTEBOOKS and not (short and t == 'table2')]
    return pages_of(names) | ({} if tables or short else ALONE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--processes', type=int, default=os.cpu_count() or 1, help='at a time; on a GPU as many as fit')
    parser.add_argument('--seeds', default='0,1,2')
    parser.add_argument('--tables', default='', help='names with commas; without it all, and the few-shot runs')
    parser.add_argument('--epochs', type=int, help='of each stage, for a trial')
    parser.add_argument('--image-size', type=int, help='for a trial')
    parser.add_argument('--pages', action='store_true', help='make the pages too')
    parser.add_argument('--out', help='their folder; without it paper_figures, and that of runs for a trial')
    args = parser.parse_args()
    try:
        seeds, tables, short, tasks = asked(args)
    except (ValueError, OSError) as e:
        parser.error(str(e))
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    tasks = [t for t in tasks if not (t.mark and Path(t.mark).exists())]
    start = time.perf_counter()
    failed = made(tasks, args.processes)
    print(f'{len(tasks) - len(failed)} of {len(tasks)} runs in {time.perf_counter() - start:.0f} s')
    if args.pages:
        pages = pages_wanted(tables, short)
        out = args.out or (runs_dir() / 'trial' if short else 'paper_figures')
        start = time.perf_counter()
        wrong = written(pages, args.processes, seeds, out, short)
        print(f'{len(pages) - len(wrong)} of {len(pages)} pages in {time.perf_counter() - start:.0f} s')
        failed |= wrong
    for name, why in failed.items():
        print(f'failed: {name}: {why}')
    sys.exit(bool(failed))


def stopped_in_a_line():
    "`main`; an interrupt says what is done."
    try:
        main()
    except KeyboardInterrupt as e:
        print(f'stopped: {str(e) or "nothing was begun"}; the same command goes on from there', file=sys.stderr)
        sys.exit(130)  # as a shell says that it was interrupted


if __name__ == '__main__':
    stopped_in_a_line()
