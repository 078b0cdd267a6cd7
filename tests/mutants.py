#!/usr/bin/env python3
"""Mutation testing with one build: which mistakes in log, manifest, recovery, flush and compaction does no test notice?

    tests/mutants.py build          a copy of the sources with all mutants in it, compiled once
    tests/mutants.py run            each mutant against the tests until one fails (continues where it was stopped)
    tests/mutants.py report         counts for each module, and the survivors
    tests/mutants.py check          some verdicts again, by `cargo mutants` itself

Needs `cargo install cargo-mutants --version 27.1.0 --locked`, which names the mutants (`.cargo/mutants.toml` says of which
files); a build for each would take hours. Here each function that has mutants becomes

    fn f(..) -> R { match crate::mutant::current() { 17 => { body with mutant 17 } .. _ => { the body as it is } } }

in a copy of the tree, and the environment variable PACKSTONE_MUTANT chooses. The checkout is not changed; all that is written lies
under target/mutants.

A mutant is
  unviable     when the compiler refuses it,
  caught       when a test fails with it, or the process dies,
  timeout      when a test program takes more than four times its processor time, and three seconds, or stands still,
  survived     when every test program of STEPS passes with it.
Mutants outside of functions (constants) can't be chosen at run time: they are put into the copy and built one by one.
"""

import argparse
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "mutants"
TREE = WORK / "tree"
TARGET = WORK / "build"
VARIABLE = "PACKSTONE_MUTANT"
MODULES = ["record_log", "wal", "manifest", "engine/recovery", "engine/flush", "engine/output", "engine/commit",
           "engine/compaction"]
# Their order when there may be no time for all.
FIRST = ["engine/recovery", "manifest", "engine/compaction", "engine/output", "engine/flush", "wal", "record_log", "engine/commit"]
UNIT_TESTS = {"record_log": "record_log::", "wal": "wal::", "manifest": "manifest::", "engine/recovery": "engine::recovery::",
              "engine/compaction": "engine::compaction::"}

# What a mutant is run against: a test program, or tests of it. Left out are programs that run no engine (no_io_outside_env,
# models_manifest), tree_store, which needs an example's program, and planted, which is soak and model again.
STEPS = ("record_log:: wal:: manifest:: engine::recovery:: engine::compaction:: engine:: smoke background bad_input recovery_modes "
         "facts files flush replay compaction health checkpoint reads metamorphic repair regressions soak stress model faults crash corruption limits replaced concurrency kill memory lib").split()
ARGUMENTS = {"corruption": ["--skip", "of_an_sst"], **{name: [name] for name in STEPS if name.endswith("::")}}
# A tenth of the histories finds what it can find in a tenth of the time.
FEWER = {"tests/model.rs": ("SIM_HISTORIES: u64 = 2500", "SIM_HISTORIES: u64 = 250"),
         "tests/soak.rs": ("FIXED_SEEDS: u64 = 4000", "FIXED_SEEDS: u64 = 400")}

SWITCH = f"""
/// The mutant that the environment chooses; 0 is none. Written by tests/mutants.py.
pub(crate) mod mutant {{
    use std::sync::atomic::{{AtomicU32, Ordering}};
    static CURRENT: AtomicU32 = AtomicU32::new(u32::MAX);
    #[inline]
    pub(crate) fn current() -> u32 {{
        match CURRENT.load(Ordering::Relaxed) {{ u32::MAX => read(), n => n }}
    }}
    #[cold]
    fn read() -> u32 {{
        let n = std::env::var("{VARIABLE}").map_or(0, |text| text.parse().unwrap());
        CURRENT.store(n, Ordering::Relaxed);
        n
    }}
}}
"""


# ---- mutants and sources ----

class Source:
    """A file's text, with cargo-mutants' places (lines and columns from 1) as offsets."""

    def __init__(self, path):
        self.text = (ROOT / path).read_text()
        self.lines = [0] + [m.end() for m in re.finditer("\n", self.text)]

    def span(self, span):
        return tuple(self.lines[at["line"] - 1] + at["column"] - 1 for at in (span["start"], span["end"]))


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|b?"(?:\\.|[^"\\])*"|r(#*)".*?"\1|b?\'(?:\\.|[^\\\'])\'|\bfn\b|[{]', re.S)


def body(text, start, end):
    """The place of the braces of the function at `start`, which ends with one at `end`."""
    in_signature = False
    for token in TOKEN.finditer(text, start, end):
        if token[0] == "fn":
            in_signature = True
        elif token[0] == "{" and in_signature:
            return token.start(), end
    raise SystemExit(f"no body in {text[start:end]!r}")


def mutants():
    """All mutants as cargo-mutants lists them, numbered from 1, with the place of the outermost function that they are in."""
    listed = subprocess.run(["cargo", "mutants", "--list", "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
    found = json.loads(listed.stdout)
    sources = {m["file"]: Source(m["file"]) for m in found}
    for number, m in enumerate(found, 1):
        source = sources[m["file"]]
        m["number"], m["at"] = number, source.span(m["span"])
        m["fn"] = m["function"] and body(source.text, *source.span(m["function"]["span"]))
        m["module"] = next((name for name in MODULES if m["file"].startswith(f"src/{name}")), m["file"])
    for m in found:
        around = [o["fn"] for o in found if o["file"] == m["file"] and o["fn"] and m["fn"]
                  and o["fn"][0] <= m["fn"][0] and m["fn"][1] <= o["fn"][1]]
        m["fn"] = min(around, default=None)
    return found, sources


def replaced(text, m, start, end):
    """text[start:end] with the mutant in it."""
    (a, b) = m["at"]
    return text[start:a] + (m["replacement"] or " ") + text[b:end]


def switched(text, group):
    """The text of a file with its mutants, and for each line that belongs to a mutant its number (minus the number: to the
    unchanged copy that shows whether the function can be copied at all)."""
    out, lines, position = [], {}, 0
    line = 1

    def put(piece, number=None):
        nonlocal line
        out.append(piece)
        for _ in range(piece.count("\n")):
            line += 1
            if number is not None:
                lines[line] = number

    for start, end in sorted({m["fn"] for m in group}):
        put(text[position:start] + "{ match crate::mutant::current() {\n")
        inside = [m for m in group if m["fn"] == (start, end)]
        for m in inside:
            put("\n", m["number"])
            put(f"{m['number']} => {replaced(text, m, start, end)}\n", m["number"])
        put("\n", -inside[0]["number"])
        put(f"{10_000 + inside[0]['number']} => {text[start:end]}\n", -inside[0]["number"])
        put(f"\n_ => {text[start:end]}\n}} }}")
        position = end
    put(text[position:])
    return "".join(out), lines


# ---- building ----

def copy_tree(but):
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\0")
    names = [name for name in names if name and (ROOT / name).is_file()]
    (WORK / "tmp").mkdir(parents=True, exist_ok=True)
    for file in [file for file in TREE.rglob("*") if file.is_file() and str(file.relative_to(TREE)) not in names]:
        file.unlink()
    for name in names:
        data = (ROOT / name).read_bytes()
        if name in FEWER:
            old, new = (text.encode() for text in FEWER[name])
            assert old in data, (name, old)
            data = data.replace(old, new)
        if name == "src/lib.rs":
            data += SWITCH.encode()
        if name not in but:
            put(name, data)


def put(name, data):
    """Writes a file of the copy, if that changes it: what stays as it is is not compiled again."""
    file = TREE / name
    if not file.is_file() or file.read_bytes() != data:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def cargo(*arguments):
    """Messages of a cargo call as objects, and whether it succeeded."""
    env = dict(os.environ, CARGO_TARGET_DIR=str(TARGET), RUSTFLAGS="--cap-lints allow", CARGO_INCREMENTAL="0")
    done = subprocess.run(["cargo", *arguments, "-p", "packstone", "--profile", "mutants", "--message-format=json"], cwd=TREE,
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return [json.loads(text) for text in done.stdout.splitlines()], done


def programs(which):
    """Builds the test programs of the copy: their names with their files."""
    messages, done = cargo("test", "--no-run", *which)
    if done.returncode != 0:
        errors = [m["message"]["rendered"] for m in messages if m["reason"] == "compiler-message" and m["message"]["level"] == "error"]
        raise SystemExit("\n".join(errors) or done.stderr)
    built = [m for m in messages if m.get("executable") and m["profile"]["test"]]
    return {"lib" if "lib" in m["target"]["kind"] else m["target"]["name"]: m["executable"] for m in built}


def made(built):
    """When the programs were made: whoever overwrites them makes verdicts worthless."""
    return {name: Path(file).stat().st_mtime for name, file in built.items()}


def build(arguments):
    found, sources = mutants()
    copy_tree(but=sources)
    # What the compiler refused when the mutants were the same, it will refuse again.
    before = json.loads((WORK / "built.json").read_text())["mutants"] if (WORK / "built.json").exists() else []
    same = [m["name"] for m in before] == [m["name"] for m in found]
    verdicts = {m["number"]: m["verdict"] for m in before if same and m["verdict"]}
    placed = {m["number"]: m for m in found if m["fn"] and m["number"] not in verdicts}
    while True:
        maps = {}
        for path, source in sources.items():
            group = [m for m in placed.values() if m["file"] == path]
            text, maps[path] = switched(source.text, group)
            put(path, text.encode())
        messages, done = cargo("check", "--lib")
        wrong = set()
        for message in messages:
            if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
                places = [maps.get(s["file_name"], {}).get(s["line_start"]) for s in message["message"]["spans"]]
                hit = set(filter(None, places))
                if message["message"]["spans"] and not hit:
                    raise SystemExit(message["message"]["rendered"])
                wrong |= hit
        if done.returncode == 0:
            break
        if not wrong:
            raise SystemExit(done.stderr)
        for number in wrong:
            if number > 0 and placed.pop(number, None):
                verdicts[number] = "unviable"
            for m in [m for m in placed.values() if number < 0 and m["fn"] == found[-number - 1]["fn"]]:
                print(f"can't be copied: {m['name']}")
                del placed[m["number"]]
        print(f"{len(placed)} mutants left, {len(wrong)} do not compile")
    built = programs(["--lib"] if arguments.lib else ["--lib", "--tests"])
    for m in found:
        m["verdict"] = verdicts.get(m["number"])
        m["placed"] = m["number"] in placed
    state = {"mutants": found, "programs": built, "made": made(built), "cost": {}}
    (WORK / "built.json").write_text(json.dumps(state))
    print(f"{len(found)} mutants: {len(placed)} placed, {len(verdicts)} unviable, {len(found) - len(placed) - len(verdicts)} not placed")


# ---- running ----

class Runner:
    """Runs steps with a mutant chosen; knows what each costs without one."""

    def __init__(self, programs, cost):
        self.programs, self.cost, self.caught, self.runs = programs, cost, {}, {}

    def run(self, step, number, limit):
        """(verdict or None, which test, processor seconds): stops at the first failing test."""
        program = self.programs["lib" if step.endswith("::") else step]
        cpu = int(limit) + 1

        def limits():
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
            resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))

        with tempfile.TemporaryDirectory(dir=WORK / "tmp", ignore_cleanup_errors=True) as tmp:
            env = dict(os.environ, TMPDIR=tmp, CARGO_MANIFEST_DIR=str(TREE), **{VARIABLE: str(number)})
            child = subprocess.Popen([program, *ARGUMENTS.get(step, []), "--test-threads=1"], cwd=TREE, env=env, text=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=limits)
            overdue = threading.Event()

            def stop(late=True):
                if late:
                    overdue.set()
                try:
                    os.killpg(child.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

            watchdog = threading.Timer(limit * 8 + 60, stop)
            watchdog.start()
            test, failed = "", False
            for text in child.stdout:
                running = re.match(r"test (\S+)", text)
                test = running[1] if running else test
                if "FAILED" in text:
                    failed = True
                    break
            if failed:
                stop(late=False)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = status
            watchdog.cancel()
            stop(late=False)
            child.stdout.close()
        seconds = usage.ru_utime + usage.ru_stime
        if failed:
            return "caught", test, seconds
        if overdue.is_set() or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)):
            return "timeout", "", seconds
        return ("caught" if status else None), test if status else "", seconds

    def measure(self, steps):
        """What steps cost without a mutant, those that are not known."""
        for step in [step for step in steps if step not in self.cost]:
            start = time.monotonic()
            verdict, test, seconds = self.run(step, 0, 600)
            # Some programs mostly wait for others.
            seconds = max(seconds, (time.monotonic() - start) / 4)
            print(f"{step:16} {seconds:6.1f} s {verdict or 'passes'} {test}", flush=True)
            if verdict:
                raise SystemExit("without a mutant, all must pass")
            self.cost[step] = seconds

    def order(self, module, steps):
        """The unit tests of the module, then whatever has caught most of the module's mutants per second so far."""
        def worth(step):
            if step == UNIT_TESTS.get(module, "engine::"):
                return float("-inf")
            key = (module, step)
            return -(self.caught.get(key, 0) + 1) / (self.runs.get(key, 0) + 2) / (self.cost[step] + 0.1)

        return sorted(steps, key=worth)

    def judge(self, m, lock, steps, tried):
        """Runs the steps that have not been `tried`, until one notices the mutant."""
        while True:
            with lock:
                step = next((step for step in self.order(m["module"], steps) if step not in tried), None)
            if step is None:
                return {"verdict": "survived", "tried": tried}
            tried = [*tried, step]
            verdict, test, _ = self.run(step, m["number"], self.cost[step] * 4 + 2)
            with lock:
                key = (m["module"], step)
                self.runs[key] = self.runs.get(key, 0) + 1
                self.caught[key] = self.caught.get(key, 0) + bool(verdict)
            if verdict:
                return {"verdict": verdict, "tried": tried, "test": test}


def results():
    path = WORK / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


def store(verdicts):
    """Adds verdicts to the file, which other runs may add to at the same time."""
    with open(WORK / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = json.dumps(results() | verdicts, indent=1)
        (WORK / "results.new").write_text(text)
        os.replace(WORK / "results.new", WORK / "results.json")


def run(arguments):
    state = json.loads((WORK / "built.json").read_text())
    if made(state["programs"]) != state["made"]:
        raise SystemExit("the test programs have been changed since: build again")
    (WORK / "tmp").mkdir(exist_ok=True)
    runner = Runner(state["programs"], state["cost"])
    steps = arguments.steps.split(",") if arguments.steps else STEPS
    runner.measure(steps)
    (WORK / "built.json").write_text(json.dumps(state))
    steps = [step for step in steps if state["cost"][step] <= arguments.seconds]
    known = results()
    tried = {name: result["tried"] for name, result in known.items() if not arguments.again and not arguments.retry}
    queue = [m for m in state["mutants"] if m["placed"] and re.search(arguments.only, m["name"])
             and (arguments.again or known.get(m["name"], {"verdict": "survived"})["verdict"] == "survived")
             and not set(steps) <= set(tried.get(m["name"], []))]
    queue.sort(key=lambda m: FIRST.index(m["module"]))
    lock, total = threading.Lock(), len(queue)

    def work():
        while True:
            with lock:
                if not queue:
                    return
                m = queue.pop(0)
            result = runner.judge(m, lock, steps, tried.get(m["name"], []))
            with lock:
                if made(state["programs"]) != state["made"]:
                    queue.clear()
                    raise SystemExit("the test programs have been changed meanwhile: build again")
                store({m["name"]: result})
                print(f"{total - len(queue)}/{total} {m['name']}: {result['verdict']} {result['tried'][-1]} "
                      f"{result.get('test', '')}", flush=True)

    threads = [threading.Thread(target=work) for _ in range(arguments.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---- reporting ----

def report(_):
    state, known = json.loads((WORK / "built.json").read_text()), results()
    columns = ["unviable", "not placed", "caught", "timeout", "survived", "passed some tests", "not run"]
    print("| module | mutants | " + " | ".join(columns) + " |\n" + "| --- " * (len(columns) + 2) + "|")
    counts, survivors = {}, []
    for m in state["mutants"]:
        result = known.get(m["name"])
        if m["verdict"]:
            verdict = m["verdict"]
        elif not m["placed"] and not result:
            verdict = "not placed"
        else:
            verdict = result["verdict"] if result else "not run"
        if verdict == "survived":
            verdict = verdict if set(STEPS) <= set(result["tried"]) else columns[5]
            survivors.append(m["name"] + ("" if verdict == "survived" else " (passed some tests, others not run)"))
        for row in (m["module"], "all"):
            counts.setdefault(row, {}).setdefault(verdict, []).append(m["name"])
    for row in [*filter(counts.get, MODULES), "all"]:
        numbers = [len(counts[row].get(column, [])) for column in columns]
        print(f"| {row} | {sum(numbers)} | " + " | ".join(map(str, numbers)) + " |")
    print("\nSurvivors:", *survivors, sep="\n")


def check(arguments):
    """Has cargo-mutants judge what could not be placed, and a sample of what could: the same, or it is said."""
    state, known = json.loads((WORK / "built.json").read_text()), results()
    judged = sorted(name for name, result in known.items() if result["tried"] and "caught" in result["verdict"])
    survived = sorted(name for name, result in known.items() if result["tried"] and result["verdict"] == "survived")
    unviable = [m["name"] for m in state["mutants"] if m["verdict"] == "unviable"]
    chosen = [names[at * len(names) // count] for names, count in
              ((judged, arguments.sample), (survived, arguments.sample // 2), (unviable, arguments.sample // 4))
              for at in range(min(count, len(names)))]
    if arguments.placed_not:
        chosen = [m["name"] for m in state["mutants"] if not m["placed"] and not m["verdict"]]
    programs = [argument for name in STEPS[STEPS.index("smoke"):STEPS.index("soak")] for argument in ("--test", name)]
    config = (ROOT / ".cargo/mutants.toml").read_text()
    config = re.sub(r"additional_cargo_test_args = \[.*?\]",
                    f"additional_cargo_test_args = {json.dumps(['--lib', *programs])}", config, flags=re.S)
    (WORK / "check.toml").write_text(config)
    # --re does not hold back mutants that delete a field of a struct; --file does, and what is judged besides does no harm.
    patterns = [argument for name in chosen for argument in ("--re", f"^{re.escape(name)}$", "--file", name.split(":")[0])]
    subprocess.run(["cargo", "mutants", "--config", WORK / "check.toml", "--output", WORK, "--baseline", "skip",
                    "--timeout", "300", *patterns], cwd=ROOT)
    outcomes = json.loads((WORK / "mutants.out/outcomes.json").read_text())["outcomes"]
    names = {"CaughtMutant": "caught", "MissedMutant": "survived", "Timeout": "timeout", "Unviable": "unviable"}
    for outcome in outcomes:
        if isinstance(outcome["scenario"], dict):
            name, verdict = outcome["scenario"]["Mutant"]["name"], names[outcome["summary"]]
            here = known[name]["verdict"] if name in known else "unviable" if name in unviable else "not placed"
            print(f"{'same' if here == verdict else 'DIFFERS'}: cargo-mutants {verdict}, here {here}: {name}")
            if here == "not placed":
                known[name] = {"verdict": verdict, "tried": []}
    store(known)


# ---- main ----

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("build")
    one.add_argument("--lib", action="store_true", help="only the unit tests")
    one.set_defaults(run=build)
    one = commands.add_parser("run")
    one.add_argument("--jobs", type=int, default=2, help="processes at a time (default 2)")
    one.add_argument("--only", default="", help="regular expression that the mutant's name must match")
    one.add_argument("--again", action="store_true", help="also those that have a verdict")
    one.add_argument("--retry", action="store_true", help="survivors once more, because there are new tests")
    one.add_argument("--steps", default="", help="only these steps (see STEPS), with commas between them")
    one.add_argument("--seconds", type=float, default=600, help="only test programs that take no longer")
    one.set_defaults(run=run)
    commands.add_parser("report").set_defaults(run=report)
    one = commands.add_parser("check")
    one.add_argument("--sample", type=int, default=12, help="caught ones to check; half as many survivors (default 12)")
    one.add_argument("--not-placed", action="store_true", dest="placed_not", help="instead, all that could not be placed")
    one.set_defaults(run=check)
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
