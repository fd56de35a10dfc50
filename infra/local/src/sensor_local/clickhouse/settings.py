"""What the server is started with."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MIB = 1024 * 1024


class EngineSettings(BaseModel):
    """How much of the machine the engine may take; sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_server_memory_usage: Annotated[int, Field(gt=0)] = 4096 * MIB
    mark_cache_size: Annotated[int, Field(gt=0)] = 64 * MIB
    uncompressed_cache_size: Annotated[int, Field(ge=0)] = 0
    background_pool_size: Annotated[int, Field(gt=0)] = 2
    background_common_pool_size: Annotated[int, Field(gt=0)] = 2
    background_schedule_pool_size: Annotated[int, Field(gt=0)] = 4
    background_fetches_pool_size: Annotated[int, Field(gt=0)] = 1
    background_move_pool_size: Annotated[int, Field(gt=0)] = 1


class ServerSettings(BaseModel):
    """One server: its data, its address, its user and its limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    backups: Path | None = None
    """Folder that BACKUP and RESTORE may use; without it they are refused."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8123
    user: Annotated[str, Field(min_length=1)] = "default"
    password: Annotated[SecretStr, Field(min_length=1)]
    """There is none by default: without a password the server does not start."""
    engine: EngineSettings = EngineSettings()
    workers: Annotated[int, Field(gt=0)] = 8
    """Threads that run queries; the engine adds its own."""
    max_concurrent_queries: Annotated[int, Field(gt=0)] = 100
    max_sessions: Annotated[int, Field(gt=0)] = 200
    max_head_bytes: Annotated[int, Field(gt=0)] = 2 * MIB
    """Request line and headers together; the line alone must be shorter than 64 KiB."""
    max_query_bytes: Annotated[int, Field(gt=0)] = 16 * MIB
    """A statement that is no insert, or a multipart form."""
    max_body_bytes: Annotated[int, Field(gt=0)] = 4096 * MIB
    """Data of one insert after decompression; they are streamed, never held whole."""
    stop_timeout: Annotated[int, Field(ge=0)] = 10
    """Seconds that running queries may still take when the server is told to stop."""
