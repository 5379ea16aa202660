"""ServerSettings: the options of `almtok serve`. Imports neither torch nor FastAPI."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from ..codec.checkpoints import DEFAULT
from ..core.choices import AUTO
from ..core.options import advanced, option

KEY_VARIABLE = "ALMTOK_API_KEY"


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What the command line declares as fields."""

    host: str = option("127.0.0.1", "address to listen on", group="server", metavar="ADDRESS")
    port: int = option(8000, "port to listen on; 0: any free one")
    api_key: str | None = option(
        None, f"clients must send it as a bearer token (default: ${KEY_VARIABLE})", metavar="KEY"
    )
    allow_public: bool = option(False, "listen without a key on an address that others reach")
    model_names: list[str] = option(
        [], "names of the model; the first is listed (default: its folder)", metavar="NAME"
    )
    watermark: str | None = option(
        None, "function (waveform, rate) -> waveform that marks made audio",
        metavar="FILE.py:FUNCTION",
    )  # fmt: skip
    max_batch: int = option(32, "requests that the model computes at once", group="limits")
    max_queue: int = option(64, "requests that wait; further ones are answered with 429")
    max_text_chars: int = option(4096, "longest text of a request")
    max_upload_mb: float = option(25.0, "largest body of a request in MB", metavar="MB")
    max_audio_seconds: float = option(600.0, "longest audio of a request", metavar="S")
    request_timeout: float = option(300.0, "longest time for a request in seconds", metavar="S")
    grace_seconds: float = advanced(30.0, "time for running requests after a stop", metavar="S")


@dataclass(frozen=True, kw_only=True)
class ServerSettings(ServerOptions):
    """Options of the server.

    Attributes:
        checkpoint: folder with `lm/` and `codec/`.
        adapters: folders of LoRA adapters, by their names in requests.
        device: "auto", "cpu", "cuda", ...
        dtype: of the weights, as of `AudioLMPipeline.from_pretrained`.

    Raises:
        ValueError: for a value out of range, or an address that others reach without a key.
    """

    checkpoint: Path = DEFAULT
    adapters: dict[str, Path] = field(default_factory=dict)
    device: str = AUTO
    dtype: str = AUTO

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_queue", "max_text_chars"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in ("max_upload_mb", "max_audio_seconds", "request_timeout"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be finite and positive, got {value}")
        if not 0 <= self.grace_seconds < math.inf:
            raise ValueError(
                f"grace_seconds must be finite and 0 or more, got {self.grace_seconds}"
            )
        names = [*self.names, *self.adapters]
        if len(set(names)) < len(names):
            raise ValueError(f"names of models and adapters must be different, got {names}")
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"port must be 0 to 65535, got {self.port}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("api_key must be of printable ASCII characters")
        if self.api_key == "":
            raise ValueError("api_key must not be empty")
        if not (is_loopback(self.host) or self.api_key or self.allow_public):
            raise ValueError(
                f"host {self.host} is reached by other machines: set --api-key or ${KEY_VARIABLE},"
                f" or allow everyone by --allow-public"
            )

    @property
    def names(self) -> list[str]:
        """Names of the model in requests; the first one is its id."""
        return self.model_names or [self.checkpoint.resolve().name]

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request."""
        return int(self.max_upload_mb * 1_000_000)


def settings_from(values: Mapping[str, Any]) -> ServerSettings:
    """Settings of a mapping of their fields, such as the arguments of another server.

    Texts, as of a command line, become the types of the fields: `model_names` are separated by
    commas, and `adapters` are a mapping.

    Raises:
        ValueError: for `host` and `port`, which the other server decides, an unknown name, or a
            value that is wrong.
    """
    types = get_type_hints(ServerSettings)
    known = [item.name for item in fields(ServerSettings) if item.name not in ("host", "port")]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"settings must be of {', '.join(known)}; got {', '.join(unknown)}")
    converted = {name: _convert(name, value, types[name]) for name, value in values.items()}
    return ServerSettings(**converted)


def _convert(name: str, value: Any, kind: Any) -> Any:
    try:
        if name == "adapters":
            return {adapter: Path(folder) for adapter, folder in dict(value).items()}
        if name == "model_names":
            return value.split(",") if isinstance(value, str) else list(value)
        if kind is bool and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        return kind(value) if kind in (int, float, Path) else value
    except (KeyError, TypeError, ValueError) as error:
        wanted = getattr(kind, "__name__", kind)
        raise ValueError(f"{name} must be of type {wanted}, got {value!r}") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
