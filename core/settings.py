"""The one place that reads the environment. Every setting is `BITFRONT_<NAME>`."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(BaseSettings):
    """Settings of one installation. Without database and Redis addresses, both are started inside `data_dir`."""

    model_config = SettingsConfigDict(env_prefix="BITFRONT_", extra="ignore")

    data_dir: Path = Field(default=Path("data"), description="everything that is kept")
    host: str = Field(default="127.0.0.1", description="address the pages and the API listen on")
    port: int = Field(default=8000, ge=0, le=65535)
    database_url: str | None = Field(default=None, description="postgresql://…; embedded when empty")
    redis_url: str | None = Field(default=None, description="redis://…; embedded when empty")
    artifact_url: str | None = Field(default=None, description="s3://… ; the data directory when empty")
    token: SecretStr | None = Field(default=None, description="bearer token; required when not on loopback")
    workers: int = Field(
        default_factory=lambda: max(1, min(4, os.cpu_count() or 1)),
        ge=1,
        le=256,
        description="tasks one worker runs at a time, each in a process of its own",
    )
    threads_per_task: int = Field(default=1, ge=1, le=256)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    lease_s: float = Field(default=30.0, gt=0.5, description="a task whose worker is silent this long is run again")
    heartbeat_s: float = Field(default=2.0, gt=0)
    sweep_s: float = Field(default=5.0, gt=0, description="how often lost tasks are looked for")
    cancel_grace_s: float = Field(default=5.0, gt=0, description="time a cancelled child has to stop by itself")
    max_attempts: int = Field(default=3, ge=1)
    max_upload_bytes: int = Field(default=4 * 10**9, gt=0)
    max_unpacked_bytes: int = Field(default=20 * 10**9, gt=0)
    log_level: str = "info"

    @model_validator(mode="after")
    def _secret_outside_loopback(self) -> Settings:
        if self.host not in LOOPBACK and (self.token is None or len(self.token.get_secret_value()) < 16):
            raise ValueError(
                f"listening on {self.host} needs BITFRONT_TOKEN of at least 16 characters "
                "(for example the output of: python -c 'import secrets; print(secrets.token_urlsafe(32))')"
            )
        return self
