"""The page of `serve`: one file, everything inside, allowed to load nothing and to ask nobody but its own server."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from markupsafe import Markup

from thawline.formatting import counted
from thawline.report.band import SNOWFLAKE
from thawline.report.html import environment, packaged
from thawline.serving.answers import Answers


def page(answers: Answers, *, title: str, report: bool) -> str:
    """HTML; all names are escaped. `report`: whether there is one to link to."""
    size = answers.classifier.preprocessing.image_size
    return (
        environment("thawline.serving")
        .get_template("serve.html.j2")
        .render(
            title=title,
            about=f"{counted(len(answers.classifier.classes), 'class', 'classes')}, {size} x {size} pixels",
            report=report,
            can_explain=answers.can_explain,
            snowflake=SNOWFLAKE,
            style=Markup(_STYLE),
            script=Markup(_SCRIPT),
        )
    )


def _own(name: str) -> str:
    return resources.files("thawline.serving").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE = packaged("figures.css") + packaged("report.css") + _own("serve.css")
_SCRIPT = _own("serve.js")
PAGE_POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; img-src blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts allow-forms; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""report.html has one of its own, too, by the digest of its script; the sandbox keeps a foreign one off this page."""
