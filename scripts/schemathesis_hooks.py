"""What Schemathesis has to know of this server, loaded by `scripts/schemathesis`: what must stay, and which refusals of requests that fit the
description are right all the same, each with its reason. Everything else is a failure."""

import json
import os
import re

import schemathesis
from schemathesis.openapi.checks import IgnoredAuth, RejectedPositiveData

# What the other requests need: it is not deleted.
KEPT = json.loads(os.environ["FINETUNED_KEPT"])

# A request can fit its description and be refused for what no schema can say.
STATUSES = {
    409: "the state of what it is about",
    410: "the state of what it is about",
    412: "`If-Match`, or a version of tus",
    413: "the size of a file",
    415: "the contents of a file: no random bytes are an archive, a model or an image",
    416: "a range of a file",
    423: "another request has the upload",
}
# Codes of `errors` for what a schema says of one field. All others are about several fields, or about what is stored.
OF_SCHEMAS = {"type", "range", "unknown_field"}
PROBLEMS = {
    "archive-refused": "what is in the archive",
    "base64-invalid": "schemas cannot say what base64 is",
    "digest-invalid": "two digests of one file that differ",
    "form-invalid": "a form is not described by a schema: a file is a field with a file name",
    "idempotency-mismatch": "the key was used before",
    "image-invalid": "what is in a file",
    "images-unusable": "what is in a file",
    "inference-request-invalid": "bytes that begin with JSON",
    "model-invalid": "what is in a file",
    "preview-failed": "weights that the hub does not have, or that cannot be fetched",
    "version-not-deletable": "a name with a version",
}
# The same for one operation.
OPERATION_PROBLEMS = {
    ("POST", "/v1/uploads/{upload}", "header-invalid"): "`Upload-Offset` is needed for one of the two methods that it stands for",
}
# Fields with a rule that a schema cannot say, by the ends of their pointers.
RULES = {
    "/adapt": "depends on the architecture",
    "/alias": "ids are no names",
    "/augment/random_resized_crop": "the first number is not above the second",
    "/class": "bytes, not characters",
    "/dataset": "bytes, not characters",
    "/distill/teacher": "one name or several",
    "/expires_at": "must be in the future",
    "/freeze": "names of stages depend on the architecture",
    "/image/mean": "depends on what the numbers are",
    "/image/size": "depends on the architecture",
    "/image/std": "depends on what the numbers are",
    "/instances/N": "objects whose fields clients name as they like",
    "/labels/N": "bytes, not characters",
    "/loss/task_weights": "numbers by the names of tasks",
    "/model": "bytes, not characters",
    "/name": "ids are no names",
    "/optimizer/betas": "both below 1",
    "/pattern": "must contain `{class}` once",
    "/series": "a list in a text",
    "/task_columns": "a list in a text",
    "/target_dataset": "bytes, not characters",
    "/test": "depends on `val`",
}


# Patterns of headers, by method, path and name.
PATTERNS = {}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """The description says that no key is needed as long as there is none. Here is one, so it is needed."""
    for path, item in raw_schema["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "header" and "pattern" in parameter["schema"]:
                    PATTERNS[method.upper(), path, parameter["name"].lower()] = parameter["schema"]["pattern"]
            if operation.get("security"):
                operation["security"] = [need for need in operation["security"] if need]


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.method.upper() != "DELETE" and "DELETE" not in str(case.headers).upper():
        return
    for name, value in case.path_parameters.items():
        if value in KEPT.get(name, []):
            case.path_parameters[name] = "none-of-that-name"


@schemathesis.serializer("application/offset+octet-stream")
def bytes_of_an_upload(context, value):
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    # After twenty wrong keys an address has to wait, and a right one is let in: that a wrong key is refused is seen before.
    if isinstance(failure, IgnoredAuth):
        return "429" not in failure.message
    if isinstance(failure, RejectedPositiveData):
        return headers_fit(case) and not is_right(case, response)
    return True


def headers_fit(case):
    """Whether the headers have the form that is described: Schemathesis sends `0` for some patterns and takes that for right."""
    patterns = ((PATTERNS.get((case.method.upper(), case.path, name.lower())), value) for name, value in (case.headers or {}).items())
    return all(re.search(pattern, str(value)) for pattern, value in patterns if pattern)


def is_right(case, response):
    """Whether a request that fits the description was refused for what the description cannot say."""
    if response.status_code in STATUSES:
        return True
    if response.status_code not in (400, 422):
        return False
    problem = response.json()
    slug = problem["type"].rpartition(":")[2]
    if slug in PROBLEMS or (case.method.upper(), case.path, slug) in OPERATION_PROBLEMS:
        return True
    faults = problem.get("errors", [])
    return bool(faults) and all(is_beyond_schemas(fault) for fault in faults)


def is_beyond_schemas(fault):
    pointer = re.sub(r"/\d+", "/N", fault["pointer"])
    return fault["code"] not in OF_SCHEMAS or any(pointer.endswith(rule) for rule in RULES)
