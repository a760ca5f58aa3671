"""The differences between Trimtab and its peers that are meant, each with its reason. Anything else is a defect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowed:
    """Cases in which a part of the answer differs for one reason."""

    peer: str
    protocol: str
    part: str
    cases: frozenset[str]
    reason: str


_HEALTH = "health calls may have no body; KServe's client reads one"
_MADE_UP = "it makes up an id; here nothing is echoed where nothing was sent"
_INNER = "an error while the tensor is read there is an internal error; here it is the client's"
_TAKEN = "it takes what the protocol does not have; here it is a mistake that is told"
_VALIDATION = "its framework answers 422; the protocol knows 400"
_PAGES = "its framework has errors of its own; here every error is the protocol's JSON, which Triton's client needs"

_NO_REQUEST = frozenset(
    {
        "input without a shape",
        "input without data",
        "no JSON",
        "JSON that is cut off",
        "JSON that is a list",
        "JSON object without inputs",
        "empty body",
        "id that is a number",
    }
)
_NO_ROUTE = frozenset({"wrong method", "unknown path", "path outside the protocol"})
_MISFIT = frozenset(
    {"fewer elements than the shape says", "more elements than the shape says", "text where numbers are meant"}
)
_BAD_BINARY = frozenset({"too little binary data", "binary data of the wrong size"})
_BINARY = frozenset({"binary input", "binary input and output", "too much binary data"}) | _BAD_BINARY
_ODD_VALUES = frozenset({"negative axis", "null where a number is meant"})

ALLOWED: tuple[Allowed, ...] = (
    Allowed("mlserver", "REST", "body", frozenset({"live", "ready", "model ready"}), _HEALTH),
    Allowed("mlserver", "REST", "body", frozenset({"model metadata"}), "it adds its own parameters"),
    Allowed("mlserver", "REST", "body", _NO_ROUTE, _PAGES),
    Allowed("mlserver", "REST", "id", frozenset({"no id"}), _MADE_UP),
    Allowed("mlserver", "REST", "status", _BINARY, "its REST does not read binary data; here it is served"),
    Allowed("mlserver", "REST", "status", _MISFIT, _INNER),
    Allowed("mlserver", "REST", "status", _ODD_VALUES, _TAKEN),
    Allowed("mlserver", "REST", "status", _NO_REQUEST | {"unknown datatype"}, _VALIDATION),
    Allowed(
        "mlserver", "gRPC", "status", frozenset({"readiness of an unknown model"}), "its error there carries no code"
    ),
    Allowed(
        "mlserver", "gRPC", "status", frozenset({"fewer elements than the shape says", "too little raw data"}), _INNER
    ),
    Allowed(
        "mlserver",
        "gRPC",
        "status",
        frozenset({"raw data for two inputs, one input", "values of another datatype"}),
        _TAKEN,
    ),
    Allowed("kserve", "REST", "body", _NO_ROUTE, _PAGES),
    Allowed("kserve", "REST", "id", frozenset({"no id", "empty id"}), _MADE_UP),
    Allowed("kserve", "REST", "status", _MISFIT | _BAD_BINARY, _INNER),
    Allowed("kserve", "REST", "status", _ODD_VALUES | {"too much binary data"}, _TAKEN),
    Allowed("kserve", "REST", "status", _NO_REQUEST, _VALIDATION),
    Allowed("kserve", "REST", "status", frozenset({"unknown version"}), "it has no versions: not implemented"),
    Allowed(
        "kserve",
        "REST",
        "status",
        frozenset({"no content type"}),
        "it needs a content type; Triton's client sends none, so here it is not looked at",
    ),
    Allowed("kserve", "gRPC", "id", frozenset({"no id"}), _MADE_UP),
    Allowed(
        "kserve",
        "gRPC",
        "status",
        frozenset({"fewer elements than the shape says", "too little raw data", "values of another datatype"}),
        _INNER,
    ),
)
