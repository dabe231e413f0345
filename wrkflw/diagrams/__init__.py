"""Pictures of a workflow, made from its graph: as text for Mermaid, as SVG, as data.

:func:`outline_of` says what there is to draw; :func:`to_mermaid`, :func:`to_svg` and :func:`to_json` draw it.
Nothing of the workflow is called.
"""

from __future__ import annotations

from .data import to_json
from .mermaid import to_mermaid
from .outline import outline_of
from .svg import to_svg

__all__ = ["outline_of", "to_json", "to_mermaid", "to_svg"]
