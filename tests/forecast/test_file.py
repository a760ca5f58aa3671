"""Files of fitted forecasters: what is refused, and that writing leaves no half a file."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import ForecastError
from trimtab.forecast import file
from trimtab.forecast.file import FORMAT, KINDS, VERSION, Fitted, read_fitted, write_fitted

SOUND: dict[str, Any] = {"format": FORMAT, "version": VERSION, "kind": "clock", "made": {"of": "a test"}}
SOUND["parameters"] = {"features": []}
FITTED = Fitted("clock", {"of": "a test"}, {"features": [], "numbers": [1.5, 2]})


def written(folder: Path, told: object) -> Path:
    path = folder / "fitted.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told), encoding="utf-8")
    return path


def refusal(path: Path) -> ForecastError:
    with pytest.raises(ForecastError) as caught:
        read_fitted(path)
    assert str(path) in str(caught.value)
    return caught.value


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    write_fitted(FITTED, path)
    assert read_fitted(path) == FITTED
    assert [each.name for each in tmp_path.iterdir()] == ["fitted.json"]
    first = path.read_bytes()
    write_fitted(read_fitted(path), path)
    assert path.read_bytes() == first
    assert first.endswith(b"}\n")


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    refused = refusal(tmp_path / "none.json")
    assert "there is no such file" in str(refused)
    assert refused.next_step == "make one with `trimtab forecast train`"


def test_a_folder_is_none(tmp_path: Path) -> None:
    assert "the file cannot be read: got Is a directory" in str(refusal(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_locked_file(tmp_path: Path) -> None:
    path = written(tmp_path, SOUND)
    path.chmod(0)
    assert "the file cannot be read: got Permission denied" in str(refusal(path))


@pytest.mark.parametrize(
    "text", ["", "{", json.dumps(SOUND)[:-9], "not json", '"format"' + "[" * 100_000, "[" * 100_000, "\x00"]
)
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    refused = str(refusal(written(tmp_path, text)))
    assert "the file is no fitted forecaster" in refused
    assert "wanted JSON" in refused


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    path.write_bytes(b"\xff\xfe\x00{")
    assert "the file is no fitted forecaster" in str(refusal(path))


@pytest.mark.parametrize("told", [[], 7, None, {}, {"format": "other"}, {**SOUND, "format": ["x"]}])
def test_another_format_is_refused(tmp_path: Path, told: object) -> None:
    assert f'the file is no fitted forecaster: wanted "format": "{FORMAT}"' in str(refusal(written(tmp_path, told)))


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None, [1]])
def test_another_version_is_refused(tmp_path: Path, version: object) -> None:
    refused = refusal(written(tmp_path, {**SOUND, "version": version}))
    assert "the fitted forecaster is of another version" in str(refused)
    assert f"wanted {VERSION}" in str(refused)
    assert refused.next_step == "train it anew with this Trimtab"


@pytest.mark.parametrize("kind", ["clocks", "", None, 3, [], {"a": 1}])
def test_an_unknown_kind_is_refused(tmp_path: Path, kind: object) -> None:
    refused = str(refusal(written(tmp_path, {**SOUND, "kind": kind})))
    assert "no such kind of forecaster" in refused
    assert f"wanted one of {', '.join(KINDS)}" in refused


@pytest.mark.parametrize(
    "part", [{"made": None}, {"made": []}, {"parameters": None}, {"parameters": [1]}, {"parameters": "x"}]
)
def test_missing_parts_are_refused(tmp_path: Path, part: dict[str, object]) -> None:
    refused = str(refusal(written(tmp_path, {**SOUND, **part})))
    assert 'the file is no fitted forecaster: wanted "made" and "parameters"' in refused


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, SOUND)
    monkeypatch.setattr(file, "BYTES_LIMIT", path.stat().st_size)
    assert read_fitted(path).kind == "clock"
    monkeypatch.setattr(file, "BYTES_LIMIT", path.stat().st_size - 1)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    assert "the file is too large for a fitted forecaster" in str(refusal(path))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parameters", [{}, {"features": 3}, {"name": "x", "forest": None}])
def test_damaged_parameters_are_told_with_the_file(kind: str, parameters: dict[str, object]) -> None:
    with pytest.raises(ForecastError, match=r"a\.json: the parameters of the forecaster are damaged") as caught:
        Fitted(kind, {}, parameters).forecaster("a.json")
    assert caught.value.next_step == "train it anew"
    assert f"kind '{kind}'" in str(caught.value)


def test_a_failed_writing_leaves_the_older_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fitted.json"
    write_fitted(FITTED, path)
    newer = Fitted("clock", {}, {"features": ["x"] * 1000})

    def full(self: Path, text: str, **_: object) -> int:
        with self.open("w", encoding="utf-8") as opened:
            opened.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(ForecastError, match="the file cannot be written: got No space left on device"):
            write_fitted(newer, path)
    assert read_fitted(path) == FITTED
    write_fitted(newer, path)
    assert read_fitted(path) == newer
    assert [each.name for each in tmp_path.iterdir()] == ["fitted.json"]


def test_where_it_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(ForecastError, match="the file cannot be written: got No such file") as caught:
        write_fitted(FITTED, tmp_path / "nowhere" / "fitted.json")
    assert "nowhere" in str(caught.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ForecastError, match="the file cannot be written"):
        write_fitted(FITTED, tmp_path / "folder")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_not_written(tmp_path: Path, value: float) -> None:
    path = tmp_path / "fitted.json"
    write_fitted(FITTED, path)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_fitted(Fitted("clock", {}, {"features": [value]}), path)
    assert read_fitted(path) == FITTED
    assert [each.name for each in tmp_path.iterdir()] == ["fitted.json"]
