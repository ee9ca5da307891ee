"""Run the checks of the validation plan; each answer is a `Check`, never an exception."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

from backout.errors import BackoutError
from backout.model.check import Check, CheckState
from backout.model.validation import CheckKind, CheckSpec, ValidationPlan
from backout.phases.verification.expect import meets
from backout.ports.world import Databases, Session
from backout.postgres.asking import Answer, as_application, ask

_HTTP_TRIES = 3


def run_plan(plan: ValidationPlan, databases: Databases, name: str) -> tuple[Check, ...]:
    """Every check of the plan, in order."""
    return tuple(run_one(spec, plan, databases, name) for spec in plan.checks)


def run_one(
    spec: CheckSpec,
    plan: ValidationPlan,
    databases: Databases,
    name: str,
    environment: Mapping[str, str] | None = None,
) -> Check:
    """One check; what cannot be asked is `unknown`, with the reason. `environment` is what programs are
    started with, for a check on a copy; None = our own."""
    try:
        match spec.kind:
            case CheckKind.SQL | CheckKind.REGCLASS:
                return _sql(spec, databases, name)
            case CheckKind.HTTP:
                return _http(spec)
            case CheckKind.COMMAND:
                return _command(spec, environment)
            case CheckKind.SMOKE_READ:
                return _http(spec) if spec.subject.startswith("http") else _sql(spec, databases, name)
            case CheckKind.SMOKE_WRITE:
                return _smoke_write(spec, plan, databases, name, environment)
    except BackoutError as error:
        return Check(spec.name, CheckState.UNKNOWN, error.what, error.next)


def _sql(spec: CheckSpec, databases: Databases, name: str) -> Check:
    with databases.observe(name) as session:
        as_application(session, float(spec.options.get("timeout", "10")))
        if spec.kind is CheckKind.REGCLASS:
            answer = ask(session, "SELECT pg_catalog.to_regclass(%s)::text", (spec.subject,))
            return _judge_presence(spec, answer)
        return _judge(spec, ask(session, spec.subject))


def _judge(spec: CheckSpec, answer: Answer) -> Check:
    if answer.error:
        return Check(spec.name, CheckState.FAIL, answer.error)
    shown = "NULL" if answer.value is None else answer.value[:60]
    detail = f"{shown}, expected {spec.expect}" if spec.expect else shown
    good = meets(answer.value, spec.expect)
    return Check(spec.name, CheckState.PASS if good else CheckState.FAIL, detail)


def _judge_presence(spec: CheckSpec, answer: Answer) -> Check:
    if answer.error:
        return Check(spec.name, CheckState.FAIL, answer.error)
    good = meets(answer.value, spec.expect or "present")
    detail = f"{spec.subject} {'absent' if answer.value is None else 'present'}"
    return Check(spec.name, CheckState.PASS if good else CheckState.FAIL, detail)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A health URL that redirects is answered by somebody else; the plan names who must answer."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        return None


def _http(spec: CheckSpec) -> Check:
    if not spec.subject.startswith(("http://", "https://")):
        return Check(spec.name, CheckState.UNKNOWN, "not an http or https URL")
    expect = spec.expect or "200"
    begun = time.monotonic()
    answers = []
    for _ in range(_HTTP_TRIES):
        answers.append(_get(spec))
    took = (time.monotonic() - begun) * 1000 / _HTTP_TRIES
    good = sum(_http_good(answer, expect) for answer in answers)
    last = answers[-1][0]
    detail = f"GET {_path(spec.subject)} {last}, {good} of {_HTTP_TRIES}, {took:.0f} ms"
    return Check(spec.name, CheckState.PASS if good == _HTTP_TRIES else CheckState.FAIL, detail)


def _path(url: str) -> str:
    """Path of a URL without query (which may hold a token)."""
    return "/" + url.split("://", 1)[1].partition("/")[2].partition("?")[0]


def _get(spec: CheckSpec) -> tuple[str, str]:
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(spec.subject, timeout=float(spec.options.get("timeout", "10"))) as answer:
            return str(answer.status), answer.read(100_000).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return str(error.code), ""
    except (OSError, HTTPException, ValueError) as error:
        return f"no answer ({type(error).__name__})", ""


def _http_good(answer: tuple[str, str], expect: str) -> bool:
    """`expect` is a status (`200`), or `200 field=value` for a JSON body that must say so."""
    status, body = answer
    wanted_status, _, wanted_field = expect.partition(" ")
    if status != wanted_status:
        return False
    if not wanted_field:
        return True
    field, sign, value = wanted_field.partition("=")
    try:
        document = json.loads(body)
    except ValueError:
        return False
    if not isinstance(document, Mapping) or field not in document:
        return False
    return not sign or meets(str(document[field]), value)


def _command(spec: CheckSpec, environment: Mapping[str, str] | None) -> Check:
    arguments = spec.subject.split("\0")
    ended, trouble = _started(arguments, float(spec.options.get("timeout", "10")), environment)
    if ended is None:
        return Check(spec.name, CheckState.UNKNOWN, trouble)
    good = meets(str(ended), spec.expect or "0")
    return Check(
        spec.name, CheckState.PASS if good else CheckState.FAIL, f"{arguments[0]} ended with {ended}"
    )


def _started(
    arguments: list[str], seconds: float, environment: Mapping[str, str] | None
) -> tuple[int | None, str]:
    """Exit code of the user's own program; None and the reason when it did not end by itself."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own configured command, no shell
            arguments,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=dict(os.environ if environment is None else environment),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"{arguments[0]} did not end in time"
    except OSError as error:
        return None, f"{arguments[0]} could not run: {error.strerror}"
    return done.returncode, ""


def _smoke_write(
    spec: CheckSpec,
    plan: ValidationPlan,
    databases: Databases,
    name: str,
    environment: Mapping[str, str] | None,
) -> Check:
    """Insert a marked row, wait until the application processed it, remove it, prove that it is gone.

    The statements of the plan get the key of the inserted row as `%(key)s`. On a copy nobody is at work: the
    check's `worker` is started there instead.
    """
    if not plan.allow_writes:
        return Check(spec.name, CheckState.UNKNOWN, "not allowed to write here (allow_writes)")
    with databases.operate(name) as session:
        as_application(session, float(spec.options.get("timeout", "10")))
        inserted = ask(session, spec.subject)
        if inserted.error:
            return Check(
                spec.name, CheckState.FAIL, f"the marked row could not be inserted: {inserted.error}"
            )
        if inserted.value is None:
            return Check(spec.name, CheckState.UNKNOWN, "the insert gave no key; end it with RETURNING")
        trouble = _worked(spec, environment)
        processed, waited = _until_processed(session, spec, inserted.value)
        gone = _removed(session, spec, inserted.value)
    if not gone:
        detail = f"the marked row {inserted.value} is still there; remove it by hand"
        return Check(spec.name, CheckState.FAIL, detail)
    if not processed:
        why = f" ({trouble})" if trouble else ""
        detail = f"not processed within {waited:.0f} s{why}; the marked row is removed"
        return Check(spec.name, CheckState.FAIL, detail)
    return Check(spec.name, CheckState.PASS, f"inserted, processed after {waited:.1f} s, removed")


def _worked(spec: CheckSpec, environment: Mapping[str, str] | None) -> str:
    """Run the worker once, on a copy only; what went wrong with it, else empty."""
    if environment is None or "worker" not in spec.options:
        return ""
    arguments = spec.options["worker"].split("\0")
    ended, trouble = _started(arguments, float(spec.options.get("settle", "30")), environment)
    return trouble or (f"{arguments[0]} ended with {ended}" if ended else "")


def _until_processed(session: Session, spec: CheckSpec, key: str) -> tuple[bool, float]:
    begun = time.monotonic()
    limit = float(spec.options.get("settle", "30"))
    text = spec.options.get("processed", "SELECT true")
    while True:
        answer = ask(session, text, {"key": key})
        waited = time.monotonic() - begun
        if answer.value == "True":
            return True, waited
        if waited > limit:
            return False, waited
        time.sleep(min(0.2, limit / 10))


def _removed(session: Session, spec: CheckSpec, key: str) -> bool:
    """Run the removal twice: the second one must find nothing."""
    text = spec.options.get("remove")
    if text is None or ask(session, text, {"key": key}).error:
        return False
    again = ask(session, text, {"key": key})
    return not again.error and again.rows == 0
