"""`trimtab check`: what it sums up, and that mistakes end in one message and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests import models

from trimtab import cli

PIPELINE = """\
name: digits
tasks:
  locate: {variants: {locate-s: {model: l.onnx, accuracy: 0.914}}}
  read: {after: {locate: {fan_out: 1.5}}, variants: {read-s: {accuracy: 0.7}}}
slo: {latency: 400ms}
"""
INLINE = """\
profile:
  tasks:
    locate: {locate-s: {points: {1: 4ms}}}
    read: {read-s: {points: {1: 7ms, 8: 20ms}}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "l.onnx").touch()
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return path


def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code, and what was printed: on stdout when it is 0, else on stderr."""
    monkeypatch.setattr(sys, "argv", ["trimtab", "check", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    told = capsys.readouterr()
    code = int(caught.value.code or 0)
    assert (told.out if code else told.err) == ""
    return code, told.err if code else told.out


def test_the_summary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spec: Path) -> None:
    code, told = check(monkeypatch, capsys, spec)
    assert code == 0
    words = ["pipeline digits", "locate-s", "91.4 %", "locate ×1.5", "l.onnx", "99 % of requests within 400 ms"]
    for word in [*words, "all cores", "accurate-under-budget", f"none yet; measure: trimtab profile {spec}"]:
        assert word in told


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("objective: {point_worth_cores: 4}", "objective one point of accuracy (0.01) is worth 4 cores\n"),
        (
            "objective: {point_worth_per_hour: 0.3}\nprices: {core_hour: 0.04, currency: EUR}",
            "objective one point of accuracy (0.01) is worth 0.3 EUR an hour\n",
        ),
        (
            "objective: {kind: weighted, beta: 0.05}",
            "objective weighted: alpha 1, beta 0.05, gamma 0, delta 1e-06\n",
        ),
    ],
)
def test_the_objective_is_told_as_it_was_stated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spec: Path, more: str, words: str
) -> None:
    spec.write_text(f"{PIPELINE}{more}\n")
    code, told = check(monkeypatch, capsys, spec)
    assert code == 0
    assert words in told


def test_the_profile_is_checked_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spec: Path
) -> None:
    spec.write_text(PIPELINE + INLINE)
    code, told = check(monkeypatch, capsys, spec)
    assert code == 0
    assert "complete, 3 service times" in told
    assert "7 ms" in told
    spec.write_text(PIPELINE + INLINE.replace("locate-s", "locate-x"))
    code, told = check(monkeypatch, capsys, spec)
    assert code == 2
    assert told.startswith("error: ")
    assert "got 'locate-x'" in told
    code, told = check(monkeypatch, capsys, spec, "--profile", spec.parent / "absent.json")
    assert code == 2
    assert "there is no such profile file" in told


def test_models_have_to_exist_unless_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spec: Path
) -> None:
    (spec.parent / "l.onnx").unlink()
    code, told = check(monkeypatch, capsys, spec)
    assert code == 2
    assert f"error: {spec}:3: tasks.locate.variants.locate-s.model: " in told
    code, _ = check(monkeypatch, capsys, spec, "--no-models")
    assert code == 0


def test_models_elsewhere_have_to_be_allowed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spec: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    spec.write_text("name: p\ntasks: {t: {variants: {v: {model: m.onnx, accuracy: 1}}}}\nslo: {latency: 1s}\n")
    (spec.parent / "m.onnx").symlink_to(models.affine(elsewhere / "m.onnx"))
    code, told = check(monkeypatch, capsys, spec)
    assert code == 2
    assert f"--model-folder {elsewhere.resolve()}" in told
    code, _ = check(monkeypatch, capsys, spec, "--model-folder", elsewhere)
    assert code == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0.914", "1.3", ["pipeline.yaml:3: tasks.locate.variants.locate-s.accuracy", "got 1.3", "from 0 to 1"]),
        ("400ms", "0", ["pipeline.yaml:5: slo.latency", "got 0", "above zero"]),
        ("{locate: {fan_out: 1.5}}", "[locat]", ["pipeline.yaml:4: tasks.read.after[0]", "did you mean 'locate'?"]),
        ("locate: {variants", "locate: {after: [read], variants", ["cycle", "locate → read → locate"]),
        ("name: digits", "name: [", ["not valid YAML or JSON"]),
    ],
)
def test_a_mistake_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spec: Path,
    old: str,
    new: str,
    words: list[str],
) -> None:
    spec.write_text(PIPELINE.replace(old, new))
    code, told = check(monkeypatch, capsys, spec)
    assert code == 2
    assert told.count("error: ") == 1
    assert "Traceback" not in told
    for word in words:
        assert word in told


def test_models_have_to_fit_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    models.affine(tmp_path / "a.onnx", size=4)
    models.affine(tmp_path / "b.onnx", size=4, name="y", output="z")
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(
        "name: sums\ntasks:\n  a: {variants: {a1: {model: a.onnx, accuracy: 1}}}\n"
        "  b: {after: [a], variants: {b1: {model: b.onnx, accuracy: 1}}}\nslo: {latency: 1s}\n"
    )
    code, told = check(monkeypatch, capsys, spec)
    assert code == 0
    assert "x float32 [?, 4]" in told
    assert "z float32 [?, 4]" in told
    models.affine(tmp_path / "b.onnx", size=5, name="y", output="z")
    code, told = check(monkeypatch, capsys, spec)
    assert code == 2
    assert "task 'b': input 'y' cannot be fed from 'a.y'" in told
    assert check(monkeypatch, capsys, spec, "--no-models")[0] == 0
