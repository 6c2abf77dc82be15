"""The frame of a page that stands alone: nothing is fetched, and no text of the data can become code.

What every page of ours can share: the look (`sheet.css`, light and dark), the policy and the order of the parts. A
policy in the head forbids the browser any network, and any script but the one whose hash it names.
"""

import base64
import gzip
import hashlib
import json
from html import escape
from importlib.resources import files
from typing import Any

ASSETS = files("md_workflows.page") / "assets"


def asset(name: str) -> str:
    """The text of a file that comes with this package."""
    return (ASSETS / name).read_text(encoding="utf-8")


def head(title: str, style: str, script: str = "") -> str:
    """From the doctype to the start of the body, with `title` escaped.

    The policy allows the inline `script` alone, by its hash, which has to stand in the page as `code_block` writes it.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{asset('sheet.css')}{style}</style>\n</head>\n<body>\n"
    )


def code_block(script: str) -> str:
    """The script of the page; its text is that whose hash the policy names."""
    assert "</script" not in script.lower(), "the script would end early"
    return f"<script>{script}</script>\n"


def data_block(kind: str, data: bytes) -> str:
    """Bytes that the page's script reads, compressed: base64 holds no character that HTML could take for its own."""
    text = base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode()
    return f'<script type="text/plain" data-kind="{kind}">{text}</script>\n'


def json_bytes(content: Any) -> bytes:
    """`content` as JSON; NaN and infinities have no form in JSON and are the caller's to replace."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
