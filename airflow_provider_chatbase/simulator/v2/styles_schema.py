"""Schema of the body that changes an agent's looks."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.simulator.v2.schemas import (
    BOOLEAN,
    BOOLEAN_OR_NULL,
    COLOR,
    NUMBER_OR_NULL,
    STRINGS,
    SUGGESTED_MESSAGES,
    THEME,
    record,
    switched,
    text_or_null,
)
from airflow_provider_chatbase.simulator.validation import compile_schema

_MOBILE = record(
    {
        "initialMessages": {"anyOf": [{"type": "null"}, switched("value", STRINGS)]},
        "autoOpenChatWindowAfter": {"anyOf": [{"type": "null"}, switched("value", {"type": "number"})]},
        "showAutoOpen": BOOLEAN_OR_NULL,
    }
)
_SHARED: dict[str, Any] = {
    "theme": THEME,
    "headerColor": COLOR,
    "userMessageColor": COLOR,
    "displayName": text_or_null(100),
    "messagePlaceholder": text_or_null(200),
    "footer": text_or_null(500),
    "dismissableNotice": text_or_null(500),
    "showFeedback": BOOLEAN,
    "showCopyButton": BOOLEAN,
    "showDictation": BOOLEAN,
    "showAttachments": BOOLEAN,
    "showVoiceMode": BOOLEAN,
}
_CHAT = {
    **_SHARED,
    "buttonColor": {"anyOf": [COLOR, {"enum": ["transparent"]}]},
    "autoOpenChatWindowAfter": NUMBER_OR_NULL,
    "mobile": _MOBILE,
    "alignChatButton": {"enum": ["left", "right"]},
}
_HUE = {"type": "number", "minimum": 0, "maximum": 360}
_TEN = {"type": "number", "minimum": 0, "maximum": 10}
_TINT = {"enabled": BOOLEAN, "hue": _HUE, "tint": _TEN, "shade": _TEN}
_SURFACE = {"enabled": BOOLEAN, "background": COLOR, "foreground": COLOR}
_TYPE = {
    "fontFamily": {"enum": ["Inter", "System", "Arial", "Helvetica", "Georgia"]},
    "fontSize": {"enum": ["12px", "14px", "16px", "18px", "20px"]},
}
_CENTER_STAGE = {
    **_SHARED,
    "enabled": BOOLEAN,
    "welcomeMessage": text_or_null(500),
    "suggestedMessages": SUGGESTED_MESSAGES,
    "showChatBubble": BOOLEAN,
    "showDataSource": BOOLEAN,
    "buttonColor": COLOR,
    "tintedGrayscale": record(_TINT, *_TINT),
    "accentColor": switched("color", COLOR),
    "customSurfaceColors": record(_SURFACE, *_SURFACE),
    "typography": record(_TYPE, *_TYPE),
    "width": {"enum": ["small", "medium", "large"]},
    "closeOnOutsideClick": BOOLEAN,
    "notificationIndicator": switched("number", {"type": "integer", "minimum": 0, "maximum": 99}),
    "notificationMessage": switched("text", {"type": "string", "maxLength": 200}),
}

STYLES = compile_schema(
    record({"styles": record({"chat": record(_CHAT), "centerStage": record(_CENTER_STAGE)})}, "styles")
)
