"""A page that lets a browser read and try the REST side, without internet: Swagger UI over `/openapi.json`.

Its files come from the package `swagger-ui-py` (extra `docs`); without it the page says how to get it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from trimtab.errors import MissingExtraError
from trimtab.runtime.asgi import Header, Reply

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: tuple[Header, ...] = ((b"content-security-policy", _POLICY.encode()), (b"x-content-type-options", b"nosniff"))
_ASSETS = {"swagger-ui-bundle.js": b"text/javascript", "swagger-ui.css": b"text/css"}
_START = b"""window.addEventListener("load", () => {
  SwaggerUIBundle({ url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null });
});
"""
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trimtab: REST</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""


def page() -> Reply:
    """The page for browsers; without its extra, the way to install it."""
    headers = ((b"content-type", b"text/html; charset=utf-8"), *_SAFE)
    if _assets() is None:
        error = MissingExtraError("swagger-ui-py", "docs", "the page /docs")
        text = f"{error.what}.\n{error.next_step}\n\nThe description itself is at /openapi.json.\n"
        return Reply(501, text.encode(), ((b"content-type", b"text/plain; charset=utf-8"), *_SAFE))
    return Reply(200, _PAGE, headers)


def asset(name: str) -> Reply | None:
    """A file of the page; None: there is no such file."""
    if name == "start.js":
        return Reply(200, _START, ((b"content-type", b"text/javascript"), *_SAFE))
    folder = _assets()
    if name not in _ASSETS or folder is None:
        return None
    cached = (b"cache-control", b"max-age=86400")
    return Reply(200, (folder / name).read_bytes(), ((b"content-type", _ASSETS[name]), cached, *_SAFE))


def _assets() -> Path | None:
    """The folder of Swagger UI's files; the package is found, not imported: its Python code is not needed."""
    found = importlib.util.find_spec("swagger_ui")
    for place in (found.submodule_search_locations or ()) if found else ():
        folder = Path(place) / "static"
        if all((folder / name).is_file() for name in _ASSETS):
            return folder
    return None
