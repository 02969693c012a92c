"""Instructions for each record type: wal_bench makes one dump of callgrind's counters a type, each is read for its total."""

import glob
import json
import os
import re
import shutil
import tempfile

import host


def run(results, program, files, scratch):
    directory = tempfile.mkdtemp(prefix="callgrind-", dir=scratch)
    try:
        output = host.run(["valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no",
                           f"--callgrind-out-file={directory}/out", program, "redo", *files[:12]], timeout=1800)
        samples = {(line["rmgr"], line["name"]): line["samples"] for line in map(json.loads, output.splitlines())}
        for path in glob.glob(f"{directory}/out*"):
            read_dump(results, path, samples)
    finally:
        shutil.rmtree(directory)
    counted = [line for line in results.lines if line["kind"] == "instructions"]
    for line in sorted(counted, key=lambda line: (line["rmgr"], line["name"], line["what"])):
        print(f"{line['what']:6} {line['rmgr']:12} {line['name']:22} {line['instructions']:8.0f}  ({line['samples']} samples)")


def read_dump(results, path, samples):
    with open(path) as f:
        text = f.read()
    trigger = re.search(r"^desc: Trigger: Client Request: (decode|redo) (\S+) (.+)$", text, re.M)
    total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
    if not trigger or not total:
        return
    what, rmgr, name = trigger.groups()
    count = samples.get((rmgr, name))
    if count:
        results.add("instructions", what=what, rmgr=rmgr, name=name, samples=count, instructions=int(total.group(1)) / count)
