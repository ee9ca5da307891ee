"""One screen a verb: `X_screen(records, style=...) -> str`, each whole and ending in `next:`."""

from __future__ import annotations

from backout.render.screens.approve import screen as approve_screen
from backout.render.screens.approved import screen as approved_screen
from backout.render.screens.backups import proof_screen as backup_proof_screen
from backout.render.screens.backups import screen as backups_screen
from backout.render.screens.capabilities import screen as capabilities_screen
from backout.render.screens.contain import screen as contain_screen
from backout.render.screens.copies import screen as copies_screen
from backout.render.screens.cutover import live as cutover_live_screen
from backout.render.screens.cutover import screen as cutover_screen
from backout.render.screens.diagnose import screen as diagnose_screen
from backout.render.screens.doctor import screen as doctor_screen
from backout.render.screens.error import screen as error_screen
from backout.render.screens.guard import armed_screen as guard_armed_screen
from backout.render.screens.guard import dropped_screen as guard_dropped_screen
from backout.render.screens.guard import list_screen as guard_list_screen
from backout.render.screens.guard import plan_lines as guard_plan_lines
from backout.render.screens.guard import plan_screen as guard_plan_screen
from backout.render.screens.guard import ran_screen as guard_ran_screen
from backout.render.screens.guard import status_screen as guard_status_screen
from backout.render.screens.init import screen as init_screen
from backout.render.screens.kept_drop import screen as kept_drop_screen
from backout.render.screens.kept_list import screen as kept_list_screen
from backout.render.screens.open import screen as open_screen
from backout.render.screens.parked import done_screen as parked_done_screen
from backout.render.screens.parked import list_screen as parked_list_screen
from backout.render.screens.parked import show_screen as parked_show_screen
from backout.render.screens.postmortem import screen as postmortem_screen
from backout.render.screens.propose import screen as propose_screen
from backout.render.screens.put_back import forecast_screen as put_back_forecast_screen
from backout.render.screens.put_back import screen as put_back_screen
from backout.render.screens.rehearse import screen as rehearse_screen
from backout.render.screens.restore import screen as restore_screen
from backout.render.screens.resume import screen as resume_screen
from backout.render.screens.run import screen as run_screen
from backout.render.screens.run_live import screen as run_live_screen
from backout.render.screens.show import screen as show_screen
from backout.render.screens.snapshot import screen as snapshot_screen
from backout.render.screens.snapshots import screen as snapshots_screen
from backout.render.screens.status import screen as status_screen
from backout.render.screens.verify import screen as verify_screen
from backout.render.screens.watch import screen as watch_screen
from backout.render.screens.way_back import screen as way_back_screen
from backout.render.screens.way_back import used as went_back_screen

__all__ = [
    "approve_screen",
    "approved_screen",
    "backup_proof_screen",
    "backups_screen",
    "capabilities_screen",
    "contain_screen",
    "copies_screen",
    "cutover_live_screen",
    "cutover_screen",
    "diagnose_screen",
    "doctor_screen",
    "error_screen",
    "guard_armed_screen",
    "guard_dropped_screen",
    "guard_list_screen",
    "guard_plan_lines",
    "guard_plan_screen",
    "guard_ran_screen",
    "guard_status_screen",
    "init_screen",
    "kept_drop_screen",
    "kept_list_screen",
    "open_screen",
    "parked_done_screen",
    "parked_list_screen",
    "parked_show_screen",
    "postmortem_screen",
    "propose_screen",
    "put_back_forecast_screen",
    "put_back_screen",
    "rehearse_screen",
    "restore_screen",
    "resume_screen",
    "run_live_screen",
    "run_screen",
    "show_screen",
    "snapshot_screen",
    "snapshots_screen",
    "status_screen",
    "verify_screen",
    "watch_screen",
    "way_back_screen",
    "went_back_screen",
]
