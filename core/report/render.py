"""HTML reports from the Jinja2 templates in ``core/report/templates``.

Every page is a single file with style, script, images and audio. Values are escaped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@lru_cache(maxsize=1)
def _environment() -> Environment:
    # Only reports need Jinja2.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fixed"] = fixed
    return environment


def fixed(value: float | None, digits: int, sign: str = "") -> str:
    """Template filter ``fixed``: a number with a fixed number of decimals, ``""`` for None."""
    return "" if value is None else f"{value:{sign}.{digits}f}"


def render(template: str, **context: Any) -> str:
    """Fill a template of ``core/report/templates`` with the values of ``context``.

    Raises:
        jinja2.UndefinedError: the template uses a name that ``context`` lacks.
    """
    return _environment().get_template(template).render(**context)


def render_macro(name: str, *args: Any) -> str:
    """HTML of a single macro of ``macros.html``, for instance one chart."""
    return str(getattr(_environment().get_template("macros.html").module, name)(*args))
