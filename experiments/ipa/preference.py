"""What the weights of IPA's objective do: accuracy first, in between, resources first, on the bursty pattern.

    python experiments/ipa/preference.py --data ../shared/data --out out/experiments/ipa

As published, no request is served: the controller alone is asked every ten seconds. The paper's figures are of such a
run too, with its LSTM.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.command import Options, parser, run
from experiments.data import number, rows
from experiments.ipa.contenders import Case, plan
from experiments.pictures import COLOURS, PUBLISHED, figure, legend, panel, save
from experiments.results import Cell, mean, show, write_csv
from experiments.sweep import results


def experiment(asked: Options, _: Namespace) -> list[Path]:
    """A table and a picture."""
    shown = rows(asked.data, "ipa/objective_preference")
    cases = [
        Case(asked.data, r["pipeline"], "bursty", "ipa-as-coded", experiment="objective-preference",
             preference=r["preference"])
        for r in shown
    ]  # fmt: skip
    planned = results(plan, cases, asked.processes, "planning")
    lines: list[dict[str, Cell]] = [
        {
            "pipeline": r["pipeline"],
            "preference": r["preference"],
            "α": number(r, "alpha"),
            "β": number(r, "beta"),
            "cores, published": number(r, "mean_cost_cores"),
            "cores, ours": mean(float(one.cores) for one in ours[1:]),
            "PAS, published": number(r, "mean_pas_x100"),
            "PAS, ours": mean(one.pas for one in ours[1:]),
        }
        for r, ours in zip(shown, planned, strict=True)
    ]
    show("Weights of the objective, bursty pattern", lines, [each["pipeline"] for each in lines])
    names = list(dict.fromkeys(str(each["pipeline"]) for each in lines))
    made = figure(2.3 * len(names), 2.8)
    for axes, name in zip(made.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        panel(axes, name, "cores", "PAS")
        for i, (what, colour) in enumerate((("published", PUBLISHED), ("ours", COLOURS[0]))):
            own = [each for each in lines if each["pipeline"] == name]
            axes.plot([float(each[f"cores, {what}"] or 0.0) for each in own],
                      [float(each[f"PAS, {what}"] or 0.0) for each in own], ("o-", ".--")[i], color=colour, lw=1.0,
                      label=what)  # fmt: skip
    legend(axes)
    return [write_csv(asked.out / "preference.csv", lines), save(made, asked.out / "preference.png")]


if __name__ == "__main__":
    run(parser(__doc__ or "", "ipa", seeds=1), experiment)
