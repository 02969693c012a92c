"""Results: JSON lines as they come, and tables made of them.

A line is one of
  {"kind": "run", ...}       the machine and the options, first in the file
  {"kind": "settings", "system", "settings": [...]}
  {"kind": "sample", "bench", "metric", "system", "round", "value", "unit", "better": "higher" | "lower"}
  {"kind": "target", "what", "target", "measured", "met": true | false}
"""

import json
import os
import statistics
import time

REFERENCE = "ext4"


class Results:
    def __init__(self, path=None):
        self.lines = []
        self._file = None
        if path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._file = open(path, "x")

    @classmethod
    def read(cls, path):
        results = cls()
        with open(path) as f:
            results.lines = [json.loads(line) for line in f if line.strip()]
        return results

    def add(self, kind, **fields):
        line = {"kind": kind, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **fields}
        self.lines.append(line)
        if self._file:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def sample(self, bench, metric, system, round_number, value, unit, better="higher"):
        self.add("sample", bench=bench, metric=metric, system=system, round=round_number, value=value, unit=unit,
                 better=better)

    def target(self, what, target, measured, met):
        self.add("target", what=what, target=target, measured=measured, met=bool(met))

    def values(self, bench, metric, system):
        return [line["value"] for line in self.lines if line["kind"] == "sample" and line["bench"] == bench
                and line["metric"] == metric and line["system"] == system]

    def median(self, bench, metric, system):
        """The median over the rounds; None when it was not measured."""
        values = self.values(bench, metric, system)
        return statistics.median(values) if values else None

    def ratio(self, bench, metric, system, reference=REFERENCE):
        """How many times as good as the reference: above 1 is better, whichever way the unit goes. None without both."""
        value, base = self.median(bench, metric, system), self.median(bench, metric, reference)
        if not value or not base:
            return None
        better = next(line["better"] for line in self.lines if line["kind"] == "sample" and line["bench"] == bench
                      and line["metric"] == metric)
        return value / base if better == "higher" else base / value

    # ----------------------------------------------------------------- tables

    def comparison(self, reference=REFERENCE, only=None):
        """One table a bench that was run on several systems: medians, and ratios to the reference. `only` that bench."""
        text = []
        for bench in self._in_order("bench"):
            if only not in (None, bench):
                continue
            samples = [line for line in self.lines if line["kind"] == "sample" and line["bench"] == bench]
            systems = sorted({line["system"] for line in samples}, key=_system_order)
            rounds = len({line["round"] for line in samples})
            if len(systems) > 1 and reference in systems:
                systems.remove(reference)
                systems.insert(0, reference)
                note = f"median of {rounds} rounds (x: times as good as {reference}; above 1 is better)"
            else:
                note = "medians"
            rows = [["", "unit", *systems]]
            for metric in self._in_order("metric", samples):
                unit = next(line["unit"] for line in samples if line["metric"] == metric)
                rows.append([metric, unit, *[self._cell(bench, metric, system, reference) for system in systems]])
            text.append(f"### {bench}: {note}\n\n{_markdown(rows)}")
        return "\n".join(text)

    def targets(self):
        lines = [line for line in self.lines if line["kind"] == "target"]
        if not lines:
            return ""
        rows = [["what", "target", "measured", "met"]]
        rows += [[line["what"], line["target"], line["measured"], "yes" if line["met"] else "NO"] for line in lines]
        return f"### Targets\n\n{_markdown(rows)}"

    def settings(self):
        text = []
        for line in self.lines:
            if line["kind"] == "settings":
                text.append(f"{line['system']}: {', '.join(line['settings'])}")
        return "### Postgres settings other than the default\n\n" + "\n".join(text) + "\n" if text else ""

    def _cell(self, bench, metric, system, reference):
        value = self.median(bench, metric, system)
        if value is None:
            return "-"
        ratio = self.ratio(bench, metric, system, reference)
        if system == reference or ratio is None:
            return number(value)
        return f"{number(value)} ({ratio:.2f}x)"

    def _in_order(self, field, lines=None):
        return list(dict.fromkeys(line[field] for line in (self.lines if lines is None else lines)
                                  if line["kind"] == "sample"))


def _system_order(name):
    order = [REFERENCE, "neonfs-back", "neonfs-through", "xfs", "btrfs"]
    return (order.index(name) if name in order else len(order), name)


def number(value):
    """Three significant digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def _markdown(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def percentile(values, percent):
    """The smallest value that at least `percent` of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
