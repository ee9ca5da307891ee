"""`backout approve`, `reject`, `withdraw`: the words of people; they run nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backout.cli.at_work import desk as at_desk
from backout.cli.at_work import incident_or_only, now
from backout.cli.console import (
    ConfigOption,
    ConfirmOption,
    JsonOption,
    SignatureOption,
    ask_line,
    emit,
    say,
    style,
)

if TYPE_CHECKING:
    from backout.app.results import Approved
    from backout.app.signing import ToSign

PersonOption = Annotated[str, typer.Option("--as", help="Who approves: a name enrolled in allowed_signers.")]


def approve(
    incident: Annotated[
        str | None, typer.Argument(help="The incident (default: the only open one), or a bundle file.")
    ] = None,
    person: PersonOption = "",
    strategy: Annotated[
        str | None, typer.Option(help="A to D, F-clean or F-finish; default: the recommended one.")
    ] = None,
    accept: Annotated[
        list[str] | None, typer.Option("--accept", help="Names of what the strategy does not give back.")
    ] = None,
    confirm: ConfirmOption = None,
    key: Annotated[Path | None, typer.Option(help="Private key file; read once, never stored.")] = None,
    signature: SignatureOption = None,
    message: Annotated[
        Path | None, typer.Option("--message", help="Write the text to sign here, and sign nothing.")
    ] = None,
    add: Annotated[str | None, typer.Option(help="The line that `approve BUNDLE` printed elsewhere.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every captured statement.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a proposal: sign the digest of exactly what is printed, with your own SSH key.

    Without --key and --signature the key is looked for in the running ssh-agent. Off a terminal the
    target's name comes from --confirm. This command runs nothing.
    """
    from backout.app import signing

    if incident is not None and Path(incident).is_file():
        _approve_bundle(Path(incident), person, strategy, accept, confirm, key, config)
        return
    desk = at_desk(config, person or None)
    incident_id = incident_or_only(desk, incident)
    if add is not None:
        _done(signing.add_line(desk, incident_id, add), as_json)
    asked = signing.prepare(desk, incident_id, _named(person), strategy, _names(accept))
    _show(asked, full)
    if message is not None:
        message.write_text(asked.message, "utf-8")
        say(f"wrote {message}; sign it with: ssh-keygen -Y sign -n backout -f KEY {message}")
        raise typer.Exit(4)
    _confirm(asked, confirm)
    _done(signing.sign(desk, asked, signing.How(key, signature)), as_json)


def _approve_bundle(
    file: Path,
    person: str,
    strategy: str | None,
    accept: list[str] | None,
    confirm: str | None,
    key: Path | None,
    config: str | None,
) -> None:
    from backout.app import signing

    desk = at_desk(config, person or None)
    asked = signing.prepare_bundle(desk, file, _named(person), strategy, _names(accept))
    _show(asked, full=True)
    _confirm(asked, confirm)
    print(signing.sign_for_elsewhere(desk, asked, signing.How(key, None)))  # noqa: T201
    say(f"next: on the incident's machine: backout approve {asked.incident} --add LINE")


def _named(person: str) -> str:
    if person:
        return person
    from backout.errors import ConfigurationError

    raise ConfigurationError(
        "who approves? give --as NAME",
        where="the command line",
        intact="everything",
        next="backout approve --as NAME",
    )


def _names(accept: list[str] | None) -> tuple[str, ...]:
    return tuple(part.strip() for value in accept or () for part in value.split(",") if part.strip())


def _show(asked: ToSign, full: bool) -> None:
    from backout.render.screens import approve_screen

    shown = approve_screen(
        *(asked.proposal, asked.digest, asked.role, asked.person, asked.accepts),
        style=style("stderr"),
        full=full,
    )
    say(shown)


def _confirm(asked: ToSign, given: str | None) -> None:
    from backout.errors import ConfigurationError

    name = asked.proposal.target_name
    typed = (
        given
        if given is not None
        else ask_line(f"Type the target's name to approve ({name}):", f"--confirm {name}")
    )
    if typed != name:
        raise ConfigurationError(
            f"{typed!r} is not the target's name; nothing was signed",
            where=name,
            intact="everything",
            next=f"backout approve {asked.incident} --as {asked.person} --confirm {name}",
        )


def _done(answer: Approved, as_json: bool) -> None:
    from backout.render.screens import approved_screen

    emit(
        answer,
        lambda shown: approved_screen(
            answer.approvals, answer.missing, style=shown, now=now(), next=answer.next
        ),
        as_json=as_json,
    )


def reject(
    incident: Annotated[str | None, typer.Argument()] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why not.")] = "no reason given",
    person: PersonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say no to the proposals of this round; `propose` begins the next one."""
    from backout.app import signing

    desk = at_desk(config, person or None)
    _done(signing.reject(desk, incident_or_only(desk, incident), person or desk.actor, reason), as_json)


def withdraw(
    incident: Annotated[str | None, typer.Argument()] = None,
    person: PersonOption = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take your own approval back; only before the run."""
    from backout.app import signing

    desk = at_desk(config, person or None)
    _done(signing.withdraw(desk, incident_or_only(desk, incident), _named(person)), as_json)
