"""Whether a worker lives: its connections bear a name, and every sweep uses one of them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from core.store.database import Sessions

WORKER_APPLICATION: Final = "bitfront-worker"
_RECENTLY = text("""
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = :name
          AND (state <> 'idle' OR state_change > clock_timestamp() - make_interval(secs => :silence_s))
    )
""")


def worker_answers(sessions: Sessions, silence_s: float) -> bool:
    """Whether any worker used the database within `silence_s` seconds."""
    with sessions() as session:
        return bool(session.scalar(_RECENTLY, {"name": WORKER_APPLICATION, "silence_s": silence_s}))
