"""The loss report in lines: destroyed by the up and destroyed by this down never share a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backout.model.loss import Basis, DestroyedBy, Figure, Loss, LossKind
from backout.render import words
from backout.render.layout import Style, hanging, middle

_LABEL = {
    DestroyedBy.UP: "destroyed by the up, not given back by the down",
    DestroyedBy.DOWN: "destroyed by this down",
}
_NAMES = 40
"""Columns that a `table.column` may take before it is cut in the middle."""


def of(losses: Iterable[Loss], by: DestroyedBy) -> tuple[Loss, ...]:
    """The losses of one of the two kinds that are never added together."""
    return tuple(loss for loss in losses if loss.by is by)


def values(losses: Iterable[Loss]) -> Figure:
    """All values of these losses, as sure as the least sure of them."""
    return words.total(loss.values for loss in losses)


def block(losses: Sequence[Loss], committed: str | None, offending: str, style: Style) -> list[str]:
    """Both totals, each followed by its lines; the losses of collateral migrations stand apart."""
    lines = _side(of(losses, DestroyedBy.UP), DestroyedBy.UP, committed, style)
    down = of(losses, DestroyedBy.DOWN)
    above = tuple(loss for loss in down if loss.migration not in ("", offending))
    own = tuple(loss for loss in down if loss not in above)
    lines += _side(own, DestroyedBy.DOWN, committed, style)
    for migration in dict.fromkeys(loss.migration for loss in above):
        group = tuple(loss for loss in above if loss.migration == migration)
        told = f"{migration}, {words.figure(values(group))} values{_fate(group)}"
        lines += hanging("  collateral, undone with it: ", told, style)
        lines += _lines(group, committed, style)
    return lines


def _side(losses: tuple[Loss, ...], by: DestroyedBy, committed: str | None, style: Style) -> list[str]:
    head = f"  {_LABEL[by]:<50}"
    if not losses:
        return [f"{head}{'0':>9}"] if style.width >= 80 else hanging("  ", f"{_LABEL[by]}: 0", style)
    summed = values(losses)
    fate = _fate(losses) if by is DestroyedBy.DOWN else _way_back(losses)
    told = _shown(summed)
    unit = "" if summed.count is None else " value" if summed.count == 1 else " values"
    if style.width >= 80:
        total = [f"{head}{told:>9}{unit}{fate}"]
    else:
        total = hanging("  ", f"{_LABEL[by]}: {told}{unit}{fate}", style)
    return total + _lines(losses, committed, style)


def _shown(value: Figure) -> str:
    return "unknown" if value.count is None else f"{value.count:,}"


def _fate(losses: tuple[Loss, ...]) -> str:
    if all(loss.kept for loss in losses):
        return ", all kept"
    lost = words.total(loss.values for loss in losses if not loss.kept)
    return f", {words.figure(lost)} NOT kept"


def _way_back(losses: tuple[Loss, ...]) -> str:
    """What the up destroyed has a way back in strategy D only."""
    back = [loss for loss in losses if loss.brought_back]
    if not back:
        return ""
    told = "all" if len(back) == len(losses) else words.figure(values(back))
    known = " that the copy holds" if values(back).basis is Basis.STALE else ""
    return f", {told}{known} brought back by the repair"


def _lines(losses: tuple[Loss, ...], committed: str | None, style: Style) -> list[str]:
    names = [middle(style.text(name(loss)), _NAMES) for loss in losses]
    label = max([words.columns(text) for text in names], default=0)
    counts = [_shown(loss.values) if loss.values.count is not None else "?" for loss in losses]
    width = max([len(text) for text in counts], default=1)
    lines: list[str] = []
    for loss, text, number in zip(losses, names, counts, strict=True):
        blank = " " * (label - words.columns(text))
        head = f"    {text}{blank}  {number:>{width}}  {words.basis(loss.values):<7}  "
        if style.width < 70:
            lines += hanging(
                "    ", f"{text}: {number} {words.basis(loss.values)}, {_note(loss, committed)}", style
            )
        else:
            lines += hanging(head, _note(loss, committed), style)
    return lines


def name(loss: Loss) -> str:
    """`hero_snapshots.source`, or the table alone for whole rows."""
    table = words.plain_table(loss.object)
    return f"{table}.{loss.column}" if loss.column else table


def _note(loss: Loss, committed: str | None) -> str:
    parts = [] if loss.kind is LossKind.COLUMN_GONE else [loss.kind.value]
    if loss.kind in (LossKind.ROWS_GONE, LossKind.TABLE_GONE):
        parts.append(f"{words.figure(loss.rows)} rows")
    parts += [_since(loss, committed)]
    if loss.equal_to_default:
        parts.append(f"{loss.equal_to_default:,} equal the default")
    if loss.by is DestroyedBy.DOWN and not loss.kept:
        parts.append("NOT kept")
    return ", ".join(part for part in parts if part)


def _since(loss: Loss, committed: str | None) -> str:
    """How much of it was written after the migration: by percent where both counts are sure."""
    written = loss.written_since
    if loss.by is DestroyedBy.UP:
        return ""
    at = words.moment(committed)
    after = f"written since {at:%H:%M:%S}" if at else "written since"
    if written.count is None:
        return f"unknown how much was {after}"
    if written.basis is Basis.AT_MOST or not loss.values.count:
        return f"{words.figure(written)} {after}"
    if written.count == loss.values.count:
        return f"all {after}"
    return f"{written.count:,} ({words.percent(written.count, loss.values.count)}) {after}"


def other(losses: Sequence[Loss]) -> str:
    """Rows gone and other values changed by the down, in words; 0 is said too."""
    down = of(losses, DestroyedBy.DOWN)
    gone = words.total(x.rows for x in down if x.kind in (LossKind.ROWS_GONE, LossKind.TABLE_GONE))
    changed = words.total(x.values for x in down if x.kind is LossKind.VALUES_CHANGED)
    return f"rows gone {words.figure(gone)}, other values changed {words.figure(changed)}"
