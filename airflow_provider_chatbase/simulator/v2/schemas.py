"""Schemas of the request bodies of API v2."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.simulator.v2.models import SETTABLE, TRANSCRIBERS, VOICES
from airflow_provider_chatbase.simulator.validation import Schema, compile_schema

STRING: Schema = {"type": "string"}
FILLED: Schema = {"type": "string", "minLength": 1}
BOOLEAN: Schema = {"type": "boolean"}
NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
BOOLEAN_OR_NULL: Schema = {"type": ["boolean", "null"]}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
POSITIVE_OR_NULL: Schema = {"type": ["integer", "null"], "exclusiveMinimum": 0}
STRINGS: Schema = {"type": "array", "items": STRING}
COLOR: Schema = {"type": "string", "pattern": "^#([0-9A-Fa-f]{3}){1,2}$"}
THEME: Schema = {"enum": ["light", "dark"]}
USER_ID = r"^[a-zA-Z0-9._-]+\Z"
URL: Schema = {"type": "string", "pattern": r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/]+\S*$"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 100}


def text_or_null(longest: int) -> Schema:
    """Return the schema of a text that may be null."""
    return {"type": ["string", "null"], "maxLength": longest}


def record(
    properties: dict[str, Any], *required: str, nullable: bool = False, closed: bool = False
) -> Schema:
    """Return the schema of an object."""
    schema: dict[str, Any] = {"type": ["object", "null"] if nullable else "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    if closed:
        schema["additionalProperties"] = False
    return schema


def switched(value_name: str, value: Schema) -> Schema:
    """Return the schema of a setting that has a switch and a value."""
    return record({"enabled": BOOLEAN, value_name: value}, "enabled", value_name)


_ICON = {"type": ["string", "null"]}
_SUGGESTED_MESSAGE: Schema = {
    "anyOf": [
        record(
            {"text": FILLED, "type": {"enum": ["single"]}, "order": {"type": "number"}, "icon": _ICON},
            "text",
            "type",
            "order",
        ),
        record(
            {
                "name": FILLED,
                "type": {"enum": ["nested"]},
                "order": {"type": "number"},
                "icon": _ICON,
                "items": {
                    "type": "array",
                    "items": record(
                        {"text": FILLED, "order": {"type": "number"}, "icon": _ICON}, "text", "order"
                    ),
                    "minItems": 1,
                    "maxItems": 20,
                },
            },
            "name",
            "type",
            "order",
            "items",
        ),
    ]
}
SUGGESTED_MESSAGES: Schema = {"type": ["array", "null"], "items": _SUGGESTED_MESSAGE}

_CHANNEL_NAMES = """
    chat_widget help_page center_stage side_panel slack whatsapp messenger instagram salesforce zendesk
    zendesk_messaging api email android_sdk ios_sdk phone search
"""
_CHANNELS = _CHANNEL_NAMES.split()
_CHANNEL_INSTRUCTION = {"anyOf": [STRING, record({"chat": STRING, "voice": STRING})]}
_EMAIL = {"type": "string", "pattern": r"^\w+([+.-]?\w+)*@\w+([.-]?\w+)*(\.\w{2,})+$"}
_DAILY = record(
    {"active": BOOLEAN, "emails": {"type": "array", "items": _EMAIL, "maxItems": 10}}, "active", "emails"
)
_IP_RATE_LIMITS = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 200},
    "timeframe": {"type": "integer", "minimum": 1, "maximum": 3600},
    "message": STRING,
}
_VOICE = record(
    {
        "voiceName": {"enum": list(VOICES)},
        "speed": {"type": "number", "minimum": 0.7, "maximum": 1.2},
        "stability": SHARE,
        "similarity": SHARE,
        "instructions": {"type": "string", "maxLength": 500},
    },
    "voiceName",
)
_TRANSCRIBER_FIELDS = {
    "model": {"enum": list(TRANSCRIBERS)},
    "language": STRING,
    "minSilenceDuration": {"type": "number", "minimum": 0.1, "maximum": 3},
    "activationThreshold": SHARE,
}
_VOICE_SETTINGS = record(
    {
        "voice": _VOICE,
        "transcriber": record(_TRANSCRIBER_FIELDS, *_TRANSCRIBER_FIELDS),
        "recordings": record(
            {"enabled": BOOLEAN, "retentionDays": {"type": "integer", "minimum": 0}},
            "enabled",
            "retentionDays",
        ),
        "maxConcurrentSessions": POSITIVE_OR_NULL,
        "maxCallDurationSeconds": POSITIVE_OR_NULL,
        "maxDailyCallsPerUser": POSITIVE_OR_NULL,
        "model": {"enum": list(SETTABLE)},
        "temperature": SHARE,
        "allowInterruptions": BOOLEAN,
        "allowTextInput": BOOLEAN,
        "endConversationAfterSilenceSeconds": {"type": ["integer", "null"], "minimum": 10},
        "initialMessage": {"type": "string", "maxLength": 500},
        "errorMessage": {"type": "string", "maxLength": 500},
    },
    nullable=True,
)

_AGENT_FIELDS: dict[str, Any] = {
    "name": NAME,
    "instructions": STRING,
    "model": {"enum": list(SETTABLE)},
    "temp": SHARE,
    "visibility": {"enum": ["public", "private"]},
}
_AGENT_UPDATE_FIELDS: dict[str, Any] = {
    **_AGENT_FIELDS,
    "channelInstructions": record(dict.fromkeys(_CHANNELS, _CHANNEL_INSTRUCTION), nullable=True),
    "allowedDomains": {"type": ["array", "null"], "items": STRING},
    "suggestedMessages": SUGGESTED_MESSAGES,
    "initialMessages": STRINGS,
    "creditLimit": {"type": ["integer", "null"]},
    "notificationsSettings": record(
        {"dailyLeadsCollected": _DAILY, "dailyConversations": _DAILY}, nullable=True
    ),
    "ipRateLimits": record(_IP_RATE_LIMITS, nullable=True),
    "spamSettings": record(
        {"enabled": BOOLEAN, "prompt": {"type": "string", "maxLength": 2000}},
        "enabled",
        "prompt",
        nullable=True,
    ),
    "voiceSettings": _VOICE_SETTINGS,
    "blockedCountries": {
        "type": ["array", "null"],
        "items": {"type": "string", "minLength": 2, "maxLength": 2},
        "maxItems": 300,
    },
}
UPDATABLE = tuple(_AGENT_UPDATE_FIELDS)

CREATE_AGENT = compile_schema(record({**_AGENT_FIELDS, "url": URL}, "name"))
UPDATE_AGENT = compile_schema(record(_AGENT_UPDATE_FIELDS))
AUTO_RETRAIN = compile_schema(record({"enabled": BOOLEAN}, "enabled"))

CHAT = compile_schema(
    record(
        {
            "message": FILLED,
            "conversationId": STRING,
            "stream": BOOLEAN,
            "userId": {"type": "string", "maxLength": 128, "pattern": USER_ID},
        }
    )
)
RETRY = compile_schema(record({"messageId": FILLED, "stream": BOOLEAN}, "messageId"))
TOOL_RESULT = compile_schema(record({"toolCallId": FILLED, "output": {}}, "toolCallId", closed=True))
UPDATE_CONVERSATION = compile_schema(record({"paused": BOOLEAN}, "paused", closed=True))
FEEDBACK = compile_schema(
    record({"feedback": {"enum": ["positive", "negative", None]}}, "feedback", closed=True)
)

_CONTENT = {"type": "string", "minLength": 1, "maxLength": 1_048_576}
_QUESTIONS = {"type": "array", "items": FILLED, "minItems": 1, "maxItems": 50}
_LINK_OPTIONS = {"excludePaths": STRINGS, "includeOnlyPaths": STRINGS, "slowScraping": BOOLEAN}

SOURCE_TYPE = compile_schema(record({"type": {"enum": ["text", "qna", "link"]}}, "type"))
CREATE_SOURCE = {
    "text": compile_schema(record({"name": NAME, "content": _CONTENT}, "name", "content")),
    "qna": compile_schema(
        record({"name": FILLED, "questions": _QUESTIONS, "answer": FILLED}, "name", "questions", "answer")
    ),
    "link": compile_schema(
        record(
            {"url": URL, "linkType": {"enum": ["individual", "sitemap", "crawl"]}, **_LINK_OPTIONS},
            "url",
            "linkType",
        )
    ),
}
UPDATE_SOURCE = {
    "text": compile_schema(record({"name": NAME, "content": _CONTENT})),
    "qna": compile_schema(record({"name": FILLED, "questions": _QUESTIONS, "answer": FILLED})),
    "link": compile_schema(record(_LINK_OPTIONS)),
}
