"""The description: complete, consistent, with examples that the server accepts; and its page."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import jsonschema
import pytest
from tests.runtime.test_http import ask

from trimtab.runtime import openapi
from trimtab.testing.inference import EchoService

DOCUMENT = openapi.document(EchoService().models())


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for child in node for found in _references(child)]
    if not isinstance(node, dict):
        return []
    here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return here + [found for child in node.values() for found in _references(child)]


def test_it_is_served_and_every_reference_leads_somewhere() -> None:
    served = ask("GET", "/openapi.json").json
    assert served == json.loads(json.dumps(DOCUMENT))
    references = set(_references(served))
    assert references
    for reference in references:
        _, kind, section, name = reference.split("/")
        assert name in served[kind][section]


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_every_path_is_answered_as_it_is_described(path: str) -> None:
    item = DOCUMENT["paths"][path]
    concrete = path.replace("{model}", "echo").replace("{version}", "plain")
    for method in ("get", "post"):
        answer = ask(method.upper(), concrete)
        if method not in item:
            assert answer.status == 405
            continue
        described = item[method]["responses"][str(answer.status)]
        content = described["content"]
        if "application/json" in content:
            root = content["application/json"]["schema"] | {"components": DOCUMENT["components"]}
            jsonschema.Draft202012Validator(root).validate(answer.json)
        assert answer.status in (200, 400)


def test_its_examples_are_accepted() -> None:
    body = DOCUMENT["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
    example = body["examples"]["echo"]["value"]
    answer = ask("POST", "/v2/models/echo/infer", json.dumps(example).encode())
    assert answer.status == 200
    root = {"$ref": "#/components/schemas/InferResponse", "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(root).validate(answer.json)


def test_a_token_is_part_of_it() -> None:
    described = openapi.document(EchoService().models(), token=True)
    assert described["security"] == [{"token": []}]
    assert "401" in described["paths"]["/v2"]["get"]["responses"]
    assert described["paths"]["/v2/health/live"]["get"]["security"] == []


def test_the_page_needs_no_internet() -> None:
    pytest.importorskip("swagger_ui", reason="the extra docs")
    page = ask("GET", "/docs")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert b"http" not in page.body
    for name in ("start.js", "swagger-ui-bundle.js", "swagger-ui.css"):
        assert name.encode() in page.body
        assert ask("GET", f"/docs/{name}").status == 200
    assert ask("GET", "/docs/swagger-ui-bundle.js.map").status == 404


def test_without_its_extra_the_page_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    page = ask("GET", "/docs")
    assert page.status == 501
    assert b"pip install 'trimtab[docs]'" in page.body
    assert ask("GET", "/docs/swagger-ui.css").status == 404
